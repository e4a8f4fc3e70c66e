//! Which tokens count, whatever they claim.

use adytum_evidence::{
    clock::UnixSeconds,
    jwt::{Algorithm, MAXIMUM_TOKEN_LENGTH, SignedClaims, Token, TokenError, TokenKeys},
};
use adytum_testkit::recorded::vector;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixture::{
    ISSUER, KID, NOW, base64url, ec_jwk, ed_jwk, keys, parse, payload, pinned, rsa_jwk, sign,
    sign_as_another, signed, unsigned, with_signature,
};

fn verify(text: &str) -> Result<SignedClaims, TokenError> {
    Token::parse(text)?.verify(ISSUER, &pinned(), &Algorithm::ALL, NOW)
}

#[track_caller]
fn refused(text: &str) -> &'static str {
    verify(text).unwrap_err().code()
}

#[test]
fn each_kind_of_key_verifies_its_own_signatures() {
    for (algorithm, kid) in [("RS256", KID), ("RS384", KID), ("PS256", KID), ("ES256", "ec"), ("EdDSA", "ed")]
    {
        let claims = verify(&signed(algorithm, kid, &payload())).unwrap();
        assert_eq!((claims.issuer(), claims.expires()), (ISSUER, UnixSeconds(NOW.0 + 3600)));
        assert_eq!(claims.issued(), Some(UnixSeconds(NOW.0 - 10)));
    }
}

#[test]
fn algorithms_without_a_key_pair_are_unknown() {
    // With the public key as the shared secret, and with no signature at all.
    for algorithm in ["HS256", "none"] {
        assert_eq!(refused(&signed(algorithm, KID, &payload())), "token-algorithm");
    }
    for algorithm in ["None", "NONE", "rs256", "RS1", ""] {
        let unsigned = unsigned(&json!({ "alg": algorithm, "kid": KID }), &payload());
        let signature = sign("RS256", unsigned.as_bytes());
        assert_eq!(refused(&with_signature(&unsigned, &signature)), "token-algorithm", "{algorithm}");
    }
    let token = parse(&signed("PS256", KID, &payload()));
    let error = token.verify(ISSUER, &pinned(), &[Algorithm::Rs256], NOW).unwrap_err();
    assert_eq!(error.code(), "token-algorithm");
}

#[test]
fn a_key_verifies_only_algorithms_of_its_kind() {
    for (algorithm, kid) in [("RS256", "ec"), ("ES256", KID), ("EdDSA", "ec"), ("ES256", "ed")] {
        assert_eq!(refused(&signed(algorithm, kid, &payload())), "token-key-unfit", "{algorithm} {kid}");
    }
}

#[test]
fn the_header_brings_no_key() {
    let header = json!({
        "alg": "RS256", "kid": "mine", "jku": "https://attacker.example.com/certs",
        "jwk": rsa_jwk("mine"), "x5u": "https://attacker.example.com", "x5c": ["AAAA"],
    });
    let unsigned = unsigned(&header, &payload());
    let token = with_signature(&unsigned, &sign_as_another(unsigned.as_bytes()));
    assert_eq!(refused(&token), "token-key-unknown");
    // The name of a pinned key, and another key's signature.
    let unsigned = crate::fixture::unsigned(&json!({ "alg": "RS256", "kid": KID }), &payload());
    let token = with_signature(&unsigned, &sign_as_another(unsigned.as_bytes()));
    assert_eq!(refused(&token), "token-signature-invalid");
}

#[test]
fn a_token_without_a_name_is_of_the_only_key() {
    let unsigned = unsigned(&json!({ "alg": "RS256" }), &payload());
    let token = with_signature(&unsigned, &sign("RS256", unsigned.as_bytes()));
    assert_eq!(refused(&token), "token-no-key-id");
    parse(&token).verify(ISSUER, &keys(&[rsa_jwk("any")]), &Algorithm::ALL, NOW).unwrap();
}

#[test]
fn nothing_in_a_token_can_be_changed() {
    let sound = signed("RS256", KID, &payload());
    let [header, body, signature] = sound.split('.').collect::<Vec<_>>().try_into().unwrap();
    let other = base64url(json!({ "iss": ISSUER, "exp": NOW.0 + 9999 }).to_string());
    assert_eq!(refused(&format!("{header}.{other}.{signature}")), "token-signature-invalid");
    let other = base64url(json!({ "alg": "RS256", "kid": KID, "typ": "jwt" }).to_string());
    assert_eq!(refused(&format!("{other}.{body}.{signature}")), "token-signature-invalid");
    assert_eq!(refused(&format!("{header}.{body}.")), "token-signature-invalid");
    for malformed in [
        String::new(),
        "..".to_owned(),
        format!("{header}.{body}"),
        format!("{sound}.{signature}"),
        format!("{sound}="),
        format!(" {sound}"),
        format!("{header}.{body}.*"),
        format!("{}.{body}.{signature}", base64url("[]")),
        format!("{header}.{}.{signature}", base64url("[]")),
        format!("{header}.{}.{signature}", base64url("{")),
        format!(
            "{}.{body}.{signature}",
            base64url(json!({ "alg": "RS256", "kid": KID, "crit": ["b64"] }).to_string())
        ),
        "a".repeat(MAXIMUM_TOKEN_LENGTH + 1),
    ] {
        assert_eq!(refused(&malformed), "token-malformed", "{malformed:.80}");
    }
}

#[test]
fn dates_count_by_the_clock_at_hand() {
    let with = |change: &[(&str, Value)]| {
        let mut payload = payload();
        for (name, value) in change {
            payload[*name] = value.clone();
        }
        signed("RS256", KID, &payload)
    };
    for (change, code) in [
        (("exp", json!(NOW.0)), "token-expired"),
        (("exp", json!(0)), "token-expired"),
        (("nbf", json!(NOW.0 + 61)), "token-not-yet-valid"),
        (("iat", json!(NOW.0 + 61)), "token-not-yet-valid"),
        (("exp", Value::Null), "token-claim"),
        (("exp", json!("tomorrow")), "token-claim"),
        (("exp", json!(-1)), "token-claim"),
        (("exp", json!(1e300)), "token-claim"),
        (("nbf", json!("yesterday")), "token-claim"),
        (("iat", json!([])), "token-claim"),
    ] {
        assert_eq!(refused(&with(std::slice::from_ref(&change))), code, "{change:?}");
    }
    verify(&with(&[("exp", json!(NOW.0 + 1)), ("nbf", json!(NOW.0 + 60))])).unwrap();
    let mut endless = payload();
    endless.as_object_mut().unwrap().remove("exp");
    assert_eq!(refused(&signed("RS256", KID, &endless)), "token-claim");
}

#[test]
fn only_the_pinned_issuer_counts() {
    for other in [
        json!("https://attest.example.com/"),
        json!("https://attest.example.com.attacker.example.com"),
        json!("HTTPS://attest.example.com"),
        json!(""),
        json!(["https://attest.example.com"]),
        Value::Null,
    ] {
        let mut payload = payload();
        payload["iss"] = other.clone();
        assert_eq!(refused(&signed("RS256", KID, &payload)), "token-issuer", "{other}");
    }
}

#[test]
fn sets_of_keys_are_read_whole_or_not_at_all() {
    let parse = |json: Value| TokenKeys::parse(json.to_string().as_bytes());
    let sound = rsa_jwk(KID);
    for bad in [
        json!({}),
        json!({ "keys": [] }),
        json!({ "keys": [sound, sound] }),
        json!({ "keys": [{ "kty": "RSA" }] }),
        json!({ "keys": [{ "kty": "RSA", "kid": "" }] }),
        json!({ "keys": vec![sound.clone(); 101] }),
        json!([sound]),
    ] {
        assert_eq!(parse(bad).unwrap_err().code(), "token-keys-malformed");
    }
    assert_eq!(TokenKeys::parse(&[b' '; 600_000]).unwrap_err().code(), "token-keys-malformed");
    // One that can't be used does not stand in the way of another.
    let mut short = rsa_jwk("short");
    short["n"] = json!(base64url([0xff; 128]));
    let unusable = [
        short,
        json!({ "kty": "RSA", "kid": "empty" }),
        json!({ "kty": "oct", "kid": "shared", "k": "AAAA" }),
        json!({ "kty": "EC", "crv": "P-256", "kid": "half", "x": "AA", "y": "AA" }),
        json!({ "kty": "EC", "crv": "secp256k1", "kid": "coin" }),
        json!({ "kty": "RSA", "kid": "certificate", "x5c": ["AAAA"] }),
    ];
    let all = keys(&[&unusable[..], &[sound, ec_jwk("ec"), ed_jwk("ed")]].concat());
    token_of(KID).verify(ISSUER, &all, &Algorithm::ALL, NOW).unwrap();
    for key in &unusable {
        let error =
            token_of(key["kid"].as_str().unwrap()).verify(ISSUER, &all, &Algorithm::ALL, NOW).unwrap_err();
        assert_eq!(error.code(), "token-key-unfit", "{key}: {error}");
    }
}

fn token_of(kid: &str) -> Token {
    parse(&signed("RS256", kid, &payload()))
}

#[test]
fn a_recorded_token_of_azure_is_read_and_not_believed() {
    let Some(text) = vector("maa/sev-snp-jwt.txt") else { return };
    let text = String::from_utf8(text).unwrap();
    let token = Token::parse(text.trim()).unwrap();
    assert!(Token::recognise(text.trim()));
    assert_eq!(token.algorithm(), Algorithm::Rs256);
    let issuer = token.unverified()["iss"].as_str().unwrap().to_owned();
    let error = token.verify(&issuer, &pinned(), &Algorithm::ALL, UnixSeconds(1_744_090_000)).unwrap_err();
    assert_eq!(error.code(), "token-key-unknown", "{error}");
}

/// The keys of a service of 2020, in certificates. They have 1024 bits and verify nothing.
#[test]
fn recorded_keys_of_azure_are_read_from_their_certificates() {
    let Some(json) = vector("maa/get.certs.response.body.json") else { return };
    let recorded = TokenKeys::parse(&json).unwrap();
    let names: Vec<String> = recorded.names().map(str::to_owned).collect();
    assert!(names.len() > 1, "{names:?}");
    let error = token_of(&names[0]).verify(ISSUER, &recorded, &Algorithm::ALL, NOW).unwrap_err();
    assert!(error.to_string().contains("1024 bits"), "{error}");
}

#[test]
fn keys_in_certificates_verify() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, certificate.der());
    let pinned = keys(&[json!({ "kty": "RSA", "kid": "c", "x5c": [encoded] })]);
    let unsigned = unsigned(&json!({ "alg": "RS256", "kid": "c" }), &payload());
    let signature = rcgen::SigningKey::sign(&key, unsigned.as_bytes()).unwrap();
    let token = parse(&with_signature(&unsigned, &signature));
    token.verify(ISSUER, &pinned, &[Algorithm::Rs256], NOW).unwrap();
}

proptest! {
    #[test]
    fn nothing_panics(text in ".{0,300}", header in ".{0,60}", payload in ".{0,60}") {
        let _ = Token::parse(&text);
        let _ = Token::recognise(&text);
        let _ = TokenKeys::parse(text.as_bytes());
        let _ = Token::parse(&format!("{}.{}.", base64url(header), base64url(payload)));
    }
}
