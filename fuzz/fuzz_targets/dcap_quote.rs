//! DCAP quotes: a quote that is taken apart is taken apart wholly.

#![no_main]

use adytum_evidence::{evidence::Evidence, unverified, verifier::parse_dcap};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let said = unverified::says(&Evidence::dcap_quote(bytes.to_vec()));
    let Ok(quote) = parse_dcap(bytes) else { return assert!(said.is_err()) };
    // No byte belongs to no structure, none to two.
    let mut position = 0;
    for (what, range) in &quote.structures {
        assert_eq!(range.start, position, "{what}");
        assert!(range.end > position, "{what}");
        position = range.end;
    }
    assert_eq!(position, bytes.len());
    assert!(quote.report_data(bytes).is_some());
});
