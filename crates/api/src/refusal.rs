//! What a refusal means to the one that is refused, and where a gRPC status says so.

use crate::session;

/// The metadata key of a refusal's stable code.
pub const CODE: &str = "adytum-code";
/// The metadata key that says "true" if the same request may pass later.
pub const RETRY: &str = "adytum-retry";
/// The metadata key that says after how many milliseconds the same request is worth trying
/// again: gRPC's own (proposal A6, "pushback").
pub const RETRY_AFTER: &str = "grpc-retry-pushback-ms";
/// The metadata key of a refusal's kind: see [`RefusalKind::as_str`].
pub const KIND: &str = "adytum-kind";

/// What a refusal is about. Whether the same request may pass later is another question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The peer itself was judged: what it has shown does not entitle it to what it wants.
    Verdict,
    /// The refusing side is in trouble or overloaded. This says nothing about the peer.
    Outage,
    /// The request or the message breaks the rules. This says nothing about what the peer may
    /// have.
    Request,
}

impl RefusalKind {
    /// As it is in a gRPC status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Outage => "outage",
            Self::Request => "request",
        }
    }

    /// Reads what [`Self::as_str`] writes; `None` for anything else.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Verdict, Self::Outage, Self::Request].into_iter().find(|kind| kind.as_str() == name)
    }

    /// As it is in a message; `None` for a number that is no kind.
    pub fn from_wire(kind: i32) -> Option<Self> {
        match session::RefusalKind::try_from(kind) {
            Ok(session::RefusalKind::Verdict) => Some(Self::Verdict),
            Ok(session::RefusalKind::Outage) => Some(Self::Outage),
            Ok(session::RefusalKind::Request) => Some(Self::Request),
            Ok(session::RefusalKind::Unspecified) | Err(_) => None,
        }
    }

    /// As it is in a message.
    pub fn to_wire(self) -> session::RefusalKind {
        match self {
            Self::Verdict => session::RefusalKind::Verdict,
            Self::Outage => session::RefusalKind::Outage,
            Self::Request => session::RefusalKind::Request,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_come_back_as_they_were() {
        for kind in [RefusalKind::Verdict, RefusalKind::Outage, RefusalKind::Request] {
            assert_eq!(RefusalKind::from_name(kind.as_str()), Some(kind));
            assert_eq!(RefusalKind::from_wire(kind.to_wire().into()), Some(kind));
        }
        for number in [-1, 0, 4] {
            assert_eq!(RefusalKind::from_wire(number), None);
        }
        assert_eq!(RefusalKind::from_name("Verdict"), None);
    }
}
