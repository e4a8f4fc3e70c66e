//! Keys as texts: owners' and models'.

#![no_main]

use adytum_sealed::keys::{ModelIdentity, ModelRecipient};
use adytum_signing::{OwnerPublicKey, OwnerSigningKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(identity) = text.parse::<ModelIdentity>() {
        let again: ModelIdentity = identity.to_text().parse().expect("what is printed is read");
        assert_eq!(again.recipient(), identity.recipient());
        // A secret is never taken for a recipient.
        assert!(identity.to_text().parse::<ModelRecipient>().is_err());
    }
    if let Ok(recipient) = text.parse::<ModelRecipient>() {
        assert_eq!(recipient.to_string().parse().as_ref(), Ok(&recipient));
    }
    if let Ok(key) = text.parse::<OwnerPublicKey>() {
        assert_eq!(key.to_string().parse().as_ref(), Ok(&key));
    }
    if let Ok(key) = OwnerSigningKey::from_pem(text) {
        let pem = key.to_pem().expect("a key prints");
        let again = OwnerSigningKey::from_pem(&pem).expect("what is printed is read");
        assert_eq!(again.public_key(), key.public_key());
    }
});
