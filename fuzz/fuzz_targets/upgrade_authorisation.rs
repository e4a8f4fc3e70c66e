//! Files of upgrade authorisations, and the documents in them.

#![no_main]

use adytum_broker::{genesis::Genesis, succession::authorisation::SignedAuthorisation};
use adytum_sealed::signing::OwnerPublicKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let genesis = Genesis::found([OwnerPublicKey([1; 32])], 1).expect("one owner found a broker");
    if let Ok(signed) = SignedAuthorisation::from_file(text) {
        let file = signed.to_file().expect("what was read prints");
        assert_eq!(SignedAuthorisation::from_file(&file).expect("what is printed is read"), signed);
        assert!(signed.approved_by(&genesis).is_err());
    }
    let _ = SignedAuthorisation::unsigned(text).read(genesis.digest());
});
