//! Connections and requests that are refused before they are read, and the reasons.

/// The limit that a connection or a request is beyond.
///
/// See: `ScheduleError::Overloaded`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overload {
    /// Requests in progress.
    Requests,
    /// Open sessions of peers with evidence.
    Sessions,
    /// Open sessions of peers that gave no evidence.
    Unattested,
    /// Handshakes in progress.
    Handshakes,
    /// Handshakes a second of strangers from one address.
    Strangers,
}

impl Overload {
    /// The code that peers and the audit log see.
    pub(super) fn code(self) -> &'static str {
        "overloaded"
    }

    /// The code in metrics, one for each limit.
    pub(super) fn limit(self) -> &'static str {
        match self {
            Self::Requests => "overloaded",
            Self::Sessions => "overloaded-sessions",
            Self::Unattested => "overloaded-unattested",
            Self::Handshakes => "overloaded-handshakes",
            Self::Strangers => "overloaded-strangers",
        }
    }

    /// What this side's log says.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Requests => "as many requests are in progress as the broker takes",
            Self::Sessions => "all sessions of peers with evidence are in use (--max-sessions)",
            Self::Unattested => {
                "all sessions of peers without evidence are in use (--max-unattested-sessions)"
            }
            Self::Handshakes => "as many handshakes are in progress as the broker takes (--max-handshakes)",
            Self::Strangers => {
                "peers of this address that showed no accepted evidence connect too often (--peer-rate)"
            }
        }
    }
}

/// A fault of a request that gRPC itself refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransportFault {
    /// The body of the request did not arrive in time.
    ///
    /// Do: send the request again; if it is late again, check the network, or raise
    /// `--body-timeout` of the broker.
    ///
    /// Retry: yes
    BodyLate,
    /// A message has more bytes than its limit.
    ///
    /// Do: send less in one message; use a client of the broker's version.
    ///
    /// Retry: no
    MessageTooLong,
    /// The broker has no such method.
    ///
    /// Do: use a client of the broker's version.
    ///
    /// Retry: no
    MethodUnknown,
    /// A message is not encoded as its protocol says.
    ///
    /// Do: check that the address is the intended one, and use a client of the broker's version.
    ///
    /// Retry: no
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
