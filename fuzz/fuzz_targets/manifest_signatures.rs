//! Files of a manifest's signatures.

#![no_main]

use adytum_governance::manifest::SignedManifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(signed) = SignedManifest::from_texts("manifest", text) {
        let again = SignedManifest::from_texts("manifest", &signed.signatures_to_text());
        assert_eq!(again.as_ref(), Ok(&signed));
    }
});
