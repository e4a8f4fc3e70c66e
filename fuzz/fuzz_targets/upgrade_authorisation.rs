//! Files of upgrade authorisations, and the documents in them.

#![no_main]

use adytum_governance::{authorisation::SignedAuthorisation, genesis::Genesis, roles::Owners};
use adytum_signing::OwnerPublicKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let key = OwnerPublicKey([1; 32]);
    let genesis = Genesis::create([key], 1).expect("one owner found a broker");
    let owners = Owners::new([key], 1).expect("one owner is enough");
    if let Ok(signed) = SignedAuthorisation::from_file(text) {
        let file = signed.to_file().expect("what was read prints");
        assert_eq!(SignedAuthorisation::from_file(&file).expect("what is printed is read"), signed);
        assert!(signed.approved_by(genesis.digest(), &owners).is_err());
    }
    let _ = SignedAuthorisation::unsigned(text).read(genesis.digest());
});
