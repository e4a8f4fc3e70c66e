//! Genesis documents: printing and reading again keeps document and digest.

#![no_main]

use adytum_governance::genesis::Genesis;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(genesis) = Genesis::parse(text) {
        let again = Genesis::parse(&genesis.to_toml()).expect("what is printed is read");
        assert_eq!(again, genesis);
        assert_eq!(again.digest(), genesis.digest());
        assert!((1..=genesis.owners().len()).contains(&genesis.threshold()));
    }
});
