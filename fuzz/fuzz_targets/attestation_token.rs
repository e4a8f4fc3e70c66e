//! Tokens of attestation services, and the keys that sign them: nothing is verified without a
//! pinned key.

#![no_main]

use adytum_evidence::{
    clock::UnixSeconds,
    jwt::{Algorithm, Token, TokenKeys},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Keys and a token, with a line feed between them.
    let (keys, token) = text.split_once('\n').unwrap_or((text, text));
    let keys = TokenKeys::parse(keys.as_bytes());
    let Ok(token) = Token::parse(token) else { return };
    let issuer =
        token.unverified().get("iss").and_then(|issuer| issuer.as_str()).unwrap_or_default().to_owned();
    let Ok(keys) = keys else { return };
    if let Ok(claims) = token.verify(&issuer, &keys, &Algorithm::ALL, UnixSeconds(0)) {
        assert_eq!(claims.issuer(), issuer);
        assert!(claims.expires() > UnixSeconds(0));
    }
});
