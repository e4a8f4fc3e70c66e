//! `traceparent` of W3C Trace Context.

#![no_main]

use adytum_broker::server::trace_context::TraceParent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(parsed) = TraceParent::parse(bytes) {
        let written = parsed.to_string();
        assert_eq!(TraceParent::parse(written.as_bytes()), Some(parsed));
        // Ids are taken as they stand.
        assert_eq!(bytes.get(3..52), written.as_bytes().get(3..52));
    }
});
