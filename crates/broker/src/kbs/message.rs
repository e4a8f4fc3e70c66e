//! Requests of the KBS protocol, from JSON to types.

use std::fmt;

use adytum_evidence::{claims::TeeKind, measurement::ReportData};
use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    VERSION,
    error::KbsError,
    key::{Jwk, TeePublicKey},
};

/// The longest text of a stranger's that is repeated, in characters.
const MAXIMUM_REPEATED: usize = 256;

/// The hash that binds runtime data into evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// The best first. The first is what clients use without a choice.
    pub const ALL: [Self; 3] = [Self::Sha384, Self::Sha512, Self::Sha256];

    fn digest(self, bytes: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        };
        digest::digest(algorithm, bytes)
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        })
    }
}

/// `POST /kbs/v0/auth`: a client asks for a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthRequest {
    /// The TEE that its evidence will be of.
    pub tee: TeeKind,
    /// The hash algorithm, if the client offered a choice.
    pub chosen: Option<HashAlgorithm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct AuthMessage {
    version: String,
    tee: String,
    #[serde(default)]
    extra_params: Value,
}

impl AuthRequest {
    /// Reads the body of a request.
    pub fn parse(body: &[u8]) -> Result<Self, KbsError> {
        let AuthMessage { version, tee, extra_params } = read(body)?;
        if version != VERSION {
            return Err(KbsError::Version { found: repeated(&version) });
        }
        let tee = match tee.as_str() {
            "sgx" => TeeKind::Sgx,
            "tdx" => TeeKind::Tdx,
            "snp" => TeeKind::Snp,
            other => return Err(KbsError::Tee { found: repeated(other) }),
        };
        let chosen = extra_params.get("supported-hash-algorithms").map(choose).transpose()?;
        Ok(Self { tee, chosen })
    }

    /// The hash that the client's evidence binds.
    pub fn algorithm(&self) -> HashAlgorithm {
        self.chosen.unwrap_or(HashAlgorithm::ALL[0])
    }
}

fn choose(offered: &Value) -> Result<HashAlgorithm, KbsError> {
    let none = || KbsError::HashAlgorithm { found: repeated(&offered.to_string()) };
    let names: Vec<&str> = offered.as_array().ok_or_else(none)?.iter().filter_map(Value::as_str).collect();
    let is_offered = |algorithm: &HashAlgorithm| {
        names.iter().any(|name| name.eq_ignore_ascii_case(&algorithm.to_string()))
    };
    HashAlgorithm::ALL.into_iter().find(is_offered).ok_or_else(none)
}

/// `POST /kbs/v0/attest`: a client shows its evidence.
#[derive(Clone, Debug)]
pub struct AttestRequest {
    /// The nonce that it had from the broker.
    pub nonce: String,
    /// The key that secrets are encrypted to.
    pub key: TeePublicKey,
    /// The evidence of its TEE, in the JSON of that TEE.
    pub evidence: Value,
    jwk: Jwk,
    additional: String,
}

/// `init-data` is what the host started the guest with. Evidence has its digest as a measurement,
/// and a policy names that; so the text itself is not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct AttestMessage {
    #[serde(default, rename = "init-data")]
    _init_data: Option<IgnoredAny>,
    runtime_data: RuntimeData,
    tee_evidence: CompositeEvidence,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RuntimeData {
    nonce: String,
    tee_pubkey: Jwk,
}

#[derive(Deserialize)]
struct CompositeEvidence {
    primary_evidence: Value,
    #[serde(default)]
    additional_evidence: String,
}

/// What evidence is bound to, in canonical JSON (RFC 8785): without spaces, and each object's
/// members in the order of their names. Texts are written as serde_json does, which escapes
/// exactly what that RFC has escaped.
#[derive(Serialize)]
struct BoundData<'a> {
    #[serde(rename = "additional-evidence")]
    additional_evidence: &'a str,
    nonce: &'a str,
    #[serde(rename = "tee-pubkey")]
    tee_pubkey: &'a Jwk,
}

impl AttestRequest {
    /// Reads the body of a request.
    pub fn parse(body: &[u8]) -> Result<Self, KbsError> {
        let AttestMessage { runtime_data, tee_evidence, .. } = read(body)?;
        let RuntimeData { nonce, tee_pubkey: jwk } = runtime_data;
        let CompositeEvidence { primary_evidence: evidence, additional_evidence: additional } = tee_evidence;
        let key = TeePublicKey::parse(&jwk)?;
        Ok(Self { nonce, key, evidence, jwk, additional })
    }

    /// The report data that evidence of this request has: the hash of nonce, key and additional
    /// evidence, then zeros.
    pub fn report_data(&self, algorithm: HashAlgorithm) -> ReportData {
        let bound =
            BoundData { additional_evidence: &self.additional, nonce: &self.nonce, tee_pubkey: &self.jwk };
        // Texts under text keys always have a JSON form.
        let canonical = serde_json::to_vec(&bound).unwrap_or_default();
        let digest = algorithm.digest(&canonical);
        let mut data = [0; 64];
        data.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        ReportData(data)
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, KbsError> {
    serde_json::from_slice(body).map_err(|error| KbsError::Malformed { reason: repeated(&error.to_string()) })
}

fn repeated(text: &str) -> String {
    text.chars().take(MAXIMUM_REPEATED).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn auth(message: Value) -> Result<AuthRequest, &'static str> {
        AuthRequest::parse(message.to_string().as_bytes()).map_err(|error| error.code())
    }

    #[test]
    fn a_challenge_is_asked_for_with_one_version_and_three_tees() {
        let ask = |version: &str, tee: &str, extra: Value| {
            auth(json!({ "version": version, "tee": tee, "extra-params": extra }))
        };
        let chosen = |chosen| Ok(AuthRequest { tee: TeeKind::Sgx, chosen });
        let offer = |names: &[&str]| json!({ "supported-hash-algorithms": names });
        assert_eq!(ask("0.4.0", "sgx", json!("")), chosen(None));
        assert_eq!(ask("0.4.0", "sgx", json!({})).unwrap().algorithm(), HashAlgorithm::Sha384);
        assert_eq!(auth(json!({ "version": "0.4.0", "tee": "sgx" })), chosen(None));
        for (offered, wanted) in [
            (&["sha256", "sha384", "sha512", "sm3"][..], HashAlgorithm::Sha384),
            (&["SHA256", "Sha512"], HashAlgorithm::Sha512),
            (&["sm3", "sha256"], HashAlgorithm::Sha256),
        ] {
            assert_eq!(ask("0.4.0", "sgx", offer(offered)), chosen(Some(wanted)));
        }
        for names in [json!([]), json!(["sm3"]), json!(["md5", 1]), json!("sha256"), json!(null)] {
            let extra = json!({ "supported-hash-algorithms": names });
            assert_eq!(ask("0.4.0", "sgx", extra), Err("kbs-hash-algorithm"), "{names}");
        }
        for version in ["0.3.0", "0.4.1", "0.4", "=0.4.0", " 0.4.0", "0.4.0-rc", ""] {
            assert_eq!(ask(version, "sgx", json!("")), Err("kbs-version"), "{version}");
        }
        for tee in ["sample", "SGX", "nvidia", "az-snp-vtpm", "se", ""] {
            assert_eq!(ask("0.4.0", tee, json!("")), Err("kbs-tee-unsupported"), "{tee}");
        }
        assert_eq!(auth(json!([])), Err("kbs-message-malformed"));
    }

    fn attest(additional: &str) -> AttestRequest {
        let x = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
        let message = json!({
            "init-data": { "format": "toml", "body": "version = \"0.1.0\"" },
            "runtime-data": {
                "nonce": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
                "tee-pubkey": { "y": x, "x": x, "kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW" },
            },
            "tee-evidence": { "primary_evidence": { "quote": "AAAA" }, "additional_evidence": additional },
        });
        AttestRequest::parse(message.to_string().as_bytes()).unwrap()
    }

    /// Made with Python: hashlib over json.dumps(sort_keys=True, separators=(",", ":"),
    /// ensure_ascii=False).
    #[test]
    fn report_data_are_those_of_another_implementation() {
        for (additional, algorithm, wanted) in [
            (
                "",
                HashAlgorithm::Sha384,
                "27515acb7bc935ff1de66df5e0f4a03426136ed64fea99ede6d6ad77a760b7fb665a405dbf144401f6d822bf2780080a",
            ),
            ("", HashAlgorithm::Sha256, "68d0eb6207bf34f1036289be0b7430d82bf0176d418d5700d3ae66f631957579"),
            (
                "{\"nvidia\":\"ü\\n\u{1f}\"}",
                HashAlgorithm::Sha512,
                "2cbe66ea2ec0efaa6f9c27541907ca149f68a43181174ebbb0abb8cd77802d6a85de5a4d8a0b3fbc2e7d9e909457f14380a88e91b1e45c9be11b3c605bda7d9d",
            ),
        ] {
            let data = hex::encode(attest(additional).report_data(algorithm).0);
            assert_eq!(data, format!("{wanted:0<128}"));
        }
    }

    #[test]
    fn whatever_is_attested_is_in_the_report_data() {
        let algorithm = HashAlgorithm::Sha384;
        let base = attest("").report_data(algorithm);
        let other_nonce = AttestRequest { nonce: "other".to_owned(), ..attest("") };
        let mut other_key = attest("");
        other_key.jwk.insert("x".to_owned(), "other".to_owned());
        for other in [other_nonce, other_key, attest("{}")] {
            assert_ne!(other.report_data(algorithm), base);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = AuthRequest::parse(&body);
            let _ = AttestRequest::parse(&body);
        }

        /// serde_json's own maps sort by name.
        #[test]
        fn the_canonical_form_is_sorted(nonce in ".*", additional in ".*", x in ".*") {
            let jwk = Jwk::from([("kty".to_owned(), "EC".to_owned()), ("x".to_owned(), x)]);
            let bound = BoundData { additional_evidence: &additional, nonce: &nonce, tee_pubkey: &jwk };
            let value: std::collections::BTreeMap<String, Value> =
                serde_json::from_slice(&serde_json::to_vec(&bound).unwrap()).unwrap();
            prop_assert_eq!(serde_json::to_vec(&bound).unwrap(), serde_json::to_vec(&value).unwrap());
        }
    }
}
