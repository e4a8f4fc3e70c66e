//! W3C Trace Context (the field `traceparent`): which request of somebody else's
//! a request belongs to, so that logs can be put side by side. It decides
//! nothing; a malformed context is not logged.

use std::fmt;

use tonic::codegen::http::HeaderMap;

/// The field's name.
pub const TRACEPARENT: &str = "traceparent";

/// A parsed `traceparent`: <https://www.w3.org/TR/trace-context/#traceparent-header>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: [u8; 16],
    parent: [u8; 8],
    flags: u8,
}

impl TraceParent {
    /// The one of a request. `None` without one, with several, and with one that is
    /// malformed.
    pub fn of(fields: &HeaderMap) -> Option<Self> {
        let mut values = fields.get_all(TRACEPARENT).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        Self::parse(value.as_bytes())
    }

    /// Parses `version-trace-parent-flags` in lower-case hexadecimal. Of a later
    /// version, what this one defines is read, as the specification says.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        const LENGTH: usize = 55;
        let (known, rest) = bytes.split_at_checked(LENGTH)?;
        let parts: Vec<&[u8]> = known.split(|byte| *byte == b'-').collect();
        let [version, trace, parent, flags] = parts[..] else { return None };
        let [version]: [u8; 1] = hexadecimal(version)?;
        let later = rest.first() == Some(&b'-');
        match version {
            0 if rest.is_empty() => {}
            1..=0xfe if rest.is_empty() || later => {}
            _ => return None,
        }
        let trace: [u8; 16] = hexadecimal(trace)?;
        let parent: [u8; 8] = hexadecimal(parent)?;
        let [flags]: [u8; 1] = hexadecimal(flags)?;
        if trace == [0; 16] || parent == [0; 8] {
            return None;
        }
        // Only the first bit has a meaning here; the others are not passed on.
        Some(Self { trace, parent, flags: flags & 1 })
    }

    /// The trace's id in hexadecimal.
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace)
    }

    /// The id of the span that the request came from, in hexadecimal.
    pub fn parent_id(&self) -> String {
        hex::encode(self.parent)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id(), self.parent_id(), self.flags)
    }
}

fn hexadecimal<const LENGTH: usize>(digits: &[u8]) -> Option<[u8; LENGTH]> {
    if digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut bytes = [0; LENGTH];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(text: &str) -> Option<TraceParent> {
        TraceParent::parse(text.as_bytes())
    }

    #[test]
    fn the_specifications_example_is_read() {
        let parsed = parse(EXAMPLE).unwrap();
        assert_eq!(parsed.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parsed.parent_id(), "00f067aa0ba902b7");
        assert_eq!(parsed.to_string(), EXAMPLE);
        for later in ["01", "cc", "fe"] {
            assert_eq!(parse(&EXAMPLE.replacen("00", later, 1)), Some(parsed));
            assert_eq!(parse(&format!("{}-what-comes", EXAMPLE.replacen("00", later, 1))), Some(parsed));
        }
    }

    #[test]
    fn what_is_malformed_is_none() {
        for malformed in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
        ] {
            assert_eq!(parse(malformed), None, "{malformed:?}");
        }
    }

    #[test]
    fn two_are_as_good_as_none() {
        let mut fields = HeaderMap::new();
        fields.append(TRACEPARENT, EXAMPLE.parse().unwrap());
        assert!(TraceParent::of(&fields).is_some());
        fields.append(TRACEPARENT, EXAMPLE.parse().unwrap());
        assert_eq!(TraceParent::of(&fields), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = TraceParent::parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read_again(trace in any::<[u8; 16]>(), parent in any::<[u8; 8]>(), sampled in any::<bool>()) {
            prop_assume!(trace != [0; 16] && parent != [0; 8]);
            let written = TraceParent { trace, parent, flags: sampled.into() };
            prop_assert_eq!(parse(&written.to_string()), Some(written));
        }
    }
}
