//! The header `traceparent` (W3C Trace Context, section 3.2).

use http::HeaderMap;
use opentelemetry::trace::{SpanId, TraceId};

/// The header.
const HEADER: &str = "traceparent";

/// The length of version 00, and of the part of later versions that is read: two, 32, 16 and two
/// digits, with a hyphen between them.
const LENGTH: usize = 55;

/// The span of a client that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// 16 bytes, not all zero.
    pub trace: TraceId,
    /// 8 bytes, not all zero.
    pub span: SpanId,
    /// Whether the client records its trace.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads a request's header; `None` without one, with several, or with one that is not well
    /// formed.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(HEADER).iter();
        match (all.next(), all.next()) {
            (Some(only), None) => Self::parse(only.as_bytes()),
            _ => None,
        }
    }

    /// Reads a header's value.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (read, more) = value.split_at_checked(LENGTH)?;
        let mut parts = read.split(|byte| *byte == b'-');
        let version = digits::<2>(parts.next()?)?;
        let trace = digits::<32>(parts.next()?)?;
        let span = digits::<16>(parts.next()?)?;
        let flags = digits::<2>(parts.next()?)?;
        // Later versions may have more after another hyphen.
        let ends = more.is_empty() || (version != "00" && more.first() == Some(&b'-'));
        if parts.next().is_some() || version == "ff" || !ends {
            return None;
        }
        let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
        if trace == TraceId::INVALID || span == SpanId::INVALID {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

/// `COUNT` lower-case hexadecimal digits.
fn digits<const COUNT: usize>(part: &[u8]) -> Option<&str> {
    let all = part.len() == COUNT && part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if all { std::str::from_utf8(part).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_specification_is_read() {
        let parent = TraceParent::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(parent.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span.to_string(), "00f067aa0ba902b7");
        assert!(parent.sampled);
        let not_sampled = EXAMPLE.replace("-01", "-02");
        assert!(!TraceParent::parse(not_sampled.as_bytes()).unwrap().sampled);
        let later = EXAMPLE.replace("00-4b", "cc-4b");
        assert_eq!(TraceParent::parse(later.as_bytes()), Some(parent));
        assert_eq!(TraceParent::parse(format!("{later}-what-the-future-will-be").as_bytes()), Some(parent));
    }

    #[test]
    fn what_is_not_well_formed_is_none() {
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn two_headers_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(HEADER, HeaderValue::from_static(EXAMPLE));
        assert!(TraceParent::of(&headers).is_some());
        headers.append(HEADER, HeaderValue::from_static(EXAMPLE));
        assert_eq!(TraceParent::of(&headers), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_none(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = TraceParent::parse(&value);
        }

        #[test]
        fn what_is_read_is_what_was_written(trace in "[0-9a-f]{31}[1-9a-f]", span in "[0-9a-f]{15}[1-9a-f]", flags in any::<u8>()) {
            let parent = TraceParent::parse(format!("00-{trace}-{span}-{flags:02x}").as_bytes()).unwrap();
            prop_assert_eq!((parent.trace.to_string(), parent.span.to_string()), (trace, span));
            prop_assert_eq!(parent.sampled, flags % 2 == 1);
        }
    }
}
