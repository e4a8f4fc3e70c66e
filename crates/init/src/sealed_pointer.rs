//! The text of a sealed secret: `sealed.HEADER.CONTENT.SIGNATURE`, where the last three are a JSON Web
//! Signature (RFC 7515) with ES256. Its content (version 0.1.0) has one of two types. A `vault` is a
//! pointer to a resource. An `envelope` has a value that a cloud's key service can decrypt.
//!
//! The host writes the text. Without signers, header and signature are placeholders and nothing is
//! verified: then the content is worth what a host says.

use adytum_api::resource::ResourcePath;
use adytum_evidence::jwt::{Algorithm, Token, TokenError, TokenKeys};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

/// The longest text, in bytes.
pub const MAXIMUM_LENGTH: usize = 64 * 1024;
const PREFIX: &str = "sealed.";
/// Header, content and signature.
const PARTS: usize = 3;
const VERSION: &str = "0.1.0";
/// The provider whose resources a pointer may name.
const KBS: &str = "kbs";
/// How the address of a resource begins. No server's name follows: the measured configuration has it.
const ADDRESS: &str = "kbs:///";

/// Why a text is not a sealed secret that can be opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PointerError {
    /// The text has another form.
    #[error("expected sealed.HEADER.CONTENT.SIGNATURE with JSON of the version {VERSION} in CONTENT: {0}")]
    Malformed(String),
    /// It is of a type, or of a provider, that is not opened.
    #[error("expected the type vault with the provider {KBS}, found {0}")]
    Unsupported(String),
    /// None of the signers has signed it.
    #[error("no signer that the measured configuration names has signed it: {0}")]
    Signature(TokenError),
}

#[derive(Deserialize)]
struct Content {
    version: String,
    #[serde(rename = "type")]
    kind: String,
    provider: String,
    #[serde(default)]
    name: String,
}

/// Does the text have the form of a sealed secret?
pub fn is_sealed(text: &[u8]) -> bool {
    let rest = text.strip_prefix(PREFIX.as_bytes());
    rest.is_some_and(|rest| rest.split(|byte| *byte == b'.').count() == PARTS)
}

/// Reads the text, verifies its signature if there are `signers`, and gives the resource that it points to.
pub fn read(text: &str, signers: Option<&TokenKeys>) -> Result<ResourcePath, PointerError> {
    let malformed = |reason: &str| PointerError::Malformed(reason.to_owned());
    if text.len() > MAXIMUM_LENGTH {
        return Err(malformed("it is longer than 64 KiB"));
    }
    // A file often ends with a line break.
    let rest =
        text.trim_ascii_end().strip_prefix(PREFIX).ok_or_else(|| malformed("it begins in another way"))?;
    let mut parts = rest.split('.');
    let (Some(_), Some(content), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed("it has another number of parts"));
    };
    if let Some(keys) = signers {
        let token = Token::parse(rest).map_err(PointerError::Signature)?;
        token.verify_signature(keys, &[Algorithm::Es256]).map_err(PointerError::Signature)?;
    }
    let content =
        URL_SAFE_NO_PAD.decode(content).map_err(|_| malformed("CONTENT is no base64url without padding"))?;
    let content: Content =
        serde_json::from_slice(&content).map_err(|error| PointerError::Malformed(without_values(&error)))?;
    if content.version != VERSION {
        return Err(malformed("it is of another version"));
    }
    match (content.kind.as_str(), content.provider.as_str()) {
        ("vault", KBS) => {}
        ("vault", _) => return Err(PointerError::Unsupported("a vault of another provider".to_owned())),
        ("envelope", _) => {
            return Err(PointerError::Unsupported(
                "an envelope, which a cloud's key service opens".to_owned(),
            ));
        }
        _ => return Err(PointerError::Unsupported("another type".to_owned())),
    }
    let path = content.name.strip_prefix(ADDRESS).ok_or_else(|| {
        PointerError::Unsupported("a name that is not kbs:/// and the path of a resource".to_owned())
    })?;
    path.parse().map_err(|error| PointerError::Malformed(format!("its name: {error}")))
}

/// Where the JSON is wrong, without the words that a host wrote there.
fn without_values(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "a field is missing or of another type",
        _ => "it is no JSON",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
    };
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn encoded(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    fn vault(name: &str) -> Value {
        json!({
            "version": "0.1.0", "type": "vault", "provider": "kbs", "name": name, "provider_settings": {}, "annotations": {}
        })
    }

    fn unsigned(content: &Value) -> String {
        format!("sealed.fakejwsheader.{}.fakesignature", encoded(content))
    }

    struct Signer(EcdsaKeyPair);

    impl Signer {
        fn new() -> Self {
            Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
        }

        fn keys(&self, kid: &str) -> TokenKeys {
            let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
            let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
            let set = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y }] });
            TokenKeys::parse(set.to_string().as_bytes()).unwrap()
        }

        fn sign(&self, header: &Value, content: &Value) -> String {
            let signed = format!("{}.{}", encoded(header), encoded(content));
            let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
            format!("sealed.{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        }
    }

    const KID: &str = "kbs:///default/signer/key";

    #[test]
    fn an_unsigned_pointer_is_read_where_nobody_has_to_sign() {
        let text = unsigned(&vault("kbs:///default/password/test"));
        assert!(is_sealed(text.as_bytes()));
        assert_eq!(read(&text, None).unwrap().as_str(), "default/password/test");
        assert_eq!(read(&(text + "\n"), None).unwrap().as_str(), "default/password/test");
    }

    #[test]
    fn other_forms_are_refused() {
        let content = |field: &str, value: Value| {
            let mut content = vault("kbs:///a/b/c");
            content[field] = value;
            unsigned(&content)
        };
        for (text, says) in [
            (String::new(), "begins"),
            ("sealed".to_owned(), "begins"),
            ("sealed.a.b".to_owned(), "parts"),
            ("sealed.a.b.c.d".to_owned(), "parts"),
            ("sealed.a.=.c".to_owned(), "base64url"),
            (unsigned(&json!("text")), "field"),
            (format!("sealed.a.{}.c", URL_SAFE_NO_PAD.encode("{")), "no JSON"),
            (content("version", "0.2.0".into()), "another version"),
            (content("name", json!(1)), "field"),
            (content("type", "envelope".into()), "envelope"),
            (content("type", "secret".into()), "another type"),
            (content("provider", "aliyun".into()), "another provider"),
            (content("name", "kbs://elsewhere/a/b/c".into()), "kbs:///"),
            (content("name", "a/b/c".into()), "kbs:///"),
            (content("name", "kbs:///a/b".into()), "repository/type/tag"),
            (content("name", "kbs:///a/../c".into()), "no dot"),
            (content("annotations", "x".repeat(MAXIMUM_LENGTH).into()), "64 KiB"),
        ] {
            let error = read(&text, None).unwrap_err().to_string();
            assert!(error.contains(says), "{text:.80}: {error}");
        }
    }

    #[test]
    fn a_signature_is_verified_where_somebody_has_to_sign() {
        let (signer, stranger) = (Signer::new(), Signer::new());
        let keys = signer.keys(KID);
        let header = json!({ "alg": "ES256", "kid": KID });
        let content = vault("kbs:///default/password/test");
        let genuine = signer.sign(&header, &content);
        assert_eq!(read(&genuine, Some(&keys)).unwrap().as_str(), "default/password/test");
        let parts: Vec<&str> = genuine.split('.').collect();
        let other_content = encoded(&vault("kbs:///default/password/other"));
        let forged = [
            unsigned(&content),
            stranger.sign(&header, &content),
            signer.sign(&json!({ "alg": "ES256", "kid": "another" }), &content),
            signer.sign(&json!({ "alg": "none", "kid": KID }), &content),
            signer.sign(&json!({ "alg": "HS256", "kid": KID }), &content),
            signer.sign(&json!({ "alg": "RS256", "kid": KID }), &content),
            signer.sign(&json!({ "alg": "ES384", "kid": KID }), &content),
            signer.sign(&json!({ "alg": "ES256", "kid": KID, "crit": ["x"] }), &content),
            [parts[0], parts[1], &other_content, parts[3]].join("."),
            [parts[0], parts[1], parts[2], ""].join("."),
        ];
        for text in forged {
            let error = read(&text, Some(&keys)).unwrap_err();
            assert!(matches!(error, PointerError::Signature(_)), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_fatal(text in "(sealed\\.)?[ -~]{0,60}", parts in prop::collection::vec("[A-Za-z0-9_=-]{0,20}", 0..5)) {
            let keys = Signer::new().keys(KID);
            for text in [text.clone(), format!("sealed.{}", parts.join("."))] {
                let _ = read(&text, None);
                prop_assert!(read(&text, Some(&keys)).is_err());
            }
        }

        /// Any byte of a signed text that changes makes it another one.
        #[test]
        fn every_byte_counts(at in 7_usize..200, replacement in "[A-Za-z0-9_.-]") {
            let signer = Signer::new();
            let text = signer.sign(&json!({ "alg": "ES256", "kid": KID }), &vault("kbs:///default/password/test"));
            let at = at.min(text.len() - 2);
            prop_assume!(text[at..=at] != replacement);
            let changed = format!("{}{replacement}{}", &text[..at], &text[at + 1..]);
            prop_assert!(read(&changed, Some(&signer.keys(KID))).is_err());
        }
    }
}
