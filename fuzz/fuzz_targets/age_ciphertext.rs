//! Ciphertexts of sealed models: whatever opens is the plaintext of the
//! statement. `seeds/age_ciphertext` has one that does.

#![no_main]

use std::sync::LazyLock;

use adytum_evidence::measurement::Sha256Digest;
use adytum_sealed::{
    keys::ModelIdentity,
    rule::{GenuineStatement, ModelRule},
    statement::{FileName, Statement},
    unseal::{open_in_memory, unseal_to_writer},
};
use adytum_signing::{OwnerPublicKey, OwnerSignature};
use libfuzzer_sys::fuzz_target;

/// Of no use but here: its 32 bytes are all 0x42.
const IDENTITY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
const PLAINTEXT: &[u8] = b"a model of a few bytes\n";

static IDENTITIES: LazyLock<[ModelIdentity; 1]> =
    LazyLock::new(|| [IDENTITY.parse().expect("an age identity")]);

static GENUINE: LazyLock<GenuineStatement> = LazyLock::new(|| {
    let name: adytum_api::names::ModelName = "fuzzed".parse().expect("a name");
    let sha256 = Sha256Digest::of_bytes(PLAINTEXT);
    let statement = Statement {
        model: name.clone(),
        version: 1,
        file_name: FileName::model_onnx(),
        size: PLAINTEXT.len() as u64,
        sha256,
        signer: OwnerPublicKey([0; 32]),
        signature: OwnerSignature([0; 64]),
    };
    let rule = ModelRule { name, signers: [].into(), minimum_version: 0, digests: [sha256].into() };
    rule.judge(&statement).expect("its digest is listed")
});

fuzz_target!(|ciphertext: &[u8]| {
    let in_memory = open_in_memory(ciphertext, &GENUINE, &*IDENTITIES, 1 << 20);
    if let Ok(plaintext) = &in_memory {
        assert_eq!(plaintext.as_slice(), PLAINTEXT);
    }
    let mut written = Vec::new();
    let to_writer = unseal_to_writer(ciphertext, &GENUINE, &*IDENTITIES, &mut written, &mut |_| {});
    assert_eq!(to_writer.is_ok(), in_memory.is_ok());
    assert!(written.len() <= PLAINTEXT.len());
});
