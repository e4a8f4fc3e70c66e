//! What is turned away before anybody looks at it, and why.

/// Which limit a connection or a request is beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overload {
    /// Requests in progress.
    Requests,
    /// Open sessions.
    Sessions,
    /// Open sessions of peers that gave no evidence.
    Unattested,
    /// Handshakes in progress.
    Handshakes,
    /// Handshakes of one address in progress.
    PeerHandshakes,
    /// Handshakes of one address a second.
    PeerRate,
}

impl Overload {
    /// What peers and the audit log see.
    pub(super) fn code(self) -> &'static str {
        "overloaded"
    }

    /// What metrics tell apart.
    pub(super) fn limit(self) -> &'static str {
        match self {
            Self::Requests => "overloaded",
            Self::Sessions => "overloaded-sessions",
            Self::Unattested => "overloaded-unattested",
            Self::Handshakes => "overloaded-handshakes",
            Self::PeerHandshakes => "overloaded-peer-handshakes",
            Self::PeerRate => "overloaded-peer-rate",
        }
    }
}

/// What gRPC itself refuses of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransportFault {
    /// The body did not come in time.
    BodyLate,
    /// The message is longer than allowed.
    MessageTooLong,
    /// There is no such method.
    MethodUnknown,
    /// The message can't be read.
    MessageMalformed,
}

impl TransportFault {
    /// Stable code for answers and metrics.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::BodyLate => "body-late",
            Self::MessageTooLong => "message-too-long",
            Self::MethodUnknown => "method-unknown",
            Self::MessageMalformed => "message-malformed",
        }
    }

    /// May the same request pass later?
    pub(super) fn retry(self) -> bool {
        self == Self::BodyLate
    }
}
