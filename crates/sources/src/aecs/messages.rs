//! The JSON texts inside the messages, as protobuf's JSON printer writes them: `bytes` as
//! standard base64, 64-bit numbers as strings, default values left out. Names are in camel
//! case, except those of reports, which keep their underscores (`json_name`).

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use zeroize::Zeroizing;

/// The arguments of `TaGetSecret`. No field is ever empty here, so none is left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetSecretRequest<'a> {
    pub(super) service_name: &'a str,
    pub(super) secret_name: &'a str,
    pub(super) nonce: &'a str,
}

/// The answer of `TaGetSecret`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetSecretResponse {
    pub(super) secret_enc: DigitalEnvelope,
    /// Left out where it is empty.
    #[serde(default)]
    pub(super) nonce: String,
}

/// A secret that is encrypted to a key, and the signature over its hash.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DigitalEnvelope {
    pub(super) aes_cipher: SymmetricCipher,
    #[serde(deserialize_with = "base64")]
    pub(super) encrypted_key: Vec<u8>,
    /// SHA-256 in hexadecimal, as text.
    #[serde(default, deserialize_with = "base64")]
    pub(super) plain_hash: Vec<u8>,
    #[serde(default, deserialize_with = "base64")]
    pub(super) plain_hash_sig: Vec<u8>,
}

/// AES-256-GCM.
#[derive(Deserialize)]
pub(super) struct SymmetricCipher {
    #[serde(deserialize_with = "base64")]
    pub(super) cipher: Vec<u8>,
    #[serde(deserialize_with = "base64")]
    pub(super) mac: Vec<u8>,
    #[serde(default, deserialize_with = "base64")]
    pub(super) aad: Vec<u8>,
    #[serde(deserialize_with = "base64")]
    pub(super) iv: Vec<u8>,
}

/// The content of an envelope.
#[derive(Deserialize)]
pub(super) struct EnclaveSecret {
    #[serde(default)]
    pub(super) spec: EnclaveSecretSpec,
    #[serde(default, deserialize_with = "zeroizing")]
    pub(super) data: Zeroizing<String>,
}

/// Which secret it is.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EnclaveSecretSpec {
    pub(super) secret_name: String,
    pub(super) service_name: String,
}

/// `json_report` on DCAP platforms.
#[derive(Serialize, Deserialize)]
pub(super) struct DcapReport {
    pub(super) b64_quote: String,
    /// JSON text: [`QveCollateral`]. Only in a passport.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) json_collateral: String,
}

/// `json_collateral`: what a PCCS answers, as it answers it.
#[derive(Serialize, Deserialize)]
pub(super) struct QveCollateral {
    /// A number, written as a string.
    #[serde(default)]
    pub(super) version: String,
    pub(super) pck_crl_issuer_chain: String,
    /// The root's CRL: DER in hexadecimal, as a PCCS of version 3 answers.
    pub(super) root_ca_crl: String,
    /// The CRL of the PCK CA, in the same form.
    pub(super) pck_crl: String,
    pub(super) tcb_info_issuer_chain: String,
    /// JSON text: the TCB info and its signature.
    pub(super) tcb_info: String,
    pub(super) qe_identity_issuer_chain: String,
    /// JSON text: the QE identity and its signature.
    pub(super) qe_identity: String,
}

fn base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(|error| D::Error::custom(format!("no base64: {error}")))
}

fn zeroizing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command};

    use super::*;

    const REQUEST: &str = r#"{"serviceName":"service1","secretName":"image_key","nonce":"00ff"}"#;
    const COLLATERAL: &str = concat!(
        r#"{"version":"3","pck_crl_issuer_chain":"a\n","root_ca_crl":"30","pck_crl":"31","#,
        r#""tcb_info_issuer_chain":"b","tcb_info":"{\"tcbInfo\":{}}","#,
        r#""qe_identity_issuer_chain":"c","qe_identity":"{}"}"#
    );
    const REPORT: &str = r#"{"b64_quote":"AA=="}"#;
    const ANSWER: &str = concat!(
        r#"{"secretEnc":{"aesCipher":{"cipher":"AQI=","mac":"Aw==","aad":"RW5jbGF2ZQ==","iv":"BA=="},"#,
        r#""encryptedKey":"BQ==","plainHash":"Ng==","plainHashSig":"Bw=="},"nonce":"00ff"}"#
    );

    /// The same texts by protobuf's own printer, where its Python is installed.
    #[test]
    fn protobuf_prints_these_texts() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let python = root.join("target/protocol-clients/bin/python");
        if !python.exists() {
            println!("SKIPPED: no protobuf; tests/protocol_clients/install.sh installs it");
            return;
        }
        let printed = Command::new(python).arg(root.join("tests/protobuf_json/aecs.py")).output().unwrap();
        assert!(printed.status.success(), "{printed:?}");
        let text = String::from_utf8(printed.stdout).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>(), [REQUEST, COLLATERAL, REPORT, ANSWER]);
    }

    #[test]
    fn texts_are_written_as_protobuf_writes_them() {
        let request = GetSecretRequest { service_name: "service1", secret_name: "image_key", nonce: "00ff" };
        assert_eq!(serde_json::to_string(&request).unwrap(), REQUEST);
        let collateral = QveCollateral {
            version: "3".to_owned(),
            pck_crl_issuer_chain: "a\n".to_owned(),
            root_ca_crl: "30".to_owned(),
            pck_crl: "31".to_owned(),
            tcb_info_issuer_chain: "b".to_owned(),
            tcb_info: r#"{"tcbInfo":{}}"#.to_owned(),
            qe_identity_issuer_chain: "c".to_owned(),
            qe_identity: "{}".to_owned(),
        };
        assert_eq!(serde_json::to_string(&collateral).unwrap(), COLLATERAL);
        let report = DcapReport { b64_quote: "AA==".to_owned(), json_collateral: String::new() };
        assert_eq!(serde_json::to_string(&report).unwrap(), REPORT);
    }

    #[test]
    fn answers_are_read_as_protobuf_writes_them() {
        let answer: GetSecretResponse = serde_json::from_str(ANSWER).unwrap();
        assert_eq!((answer.nonce.as_str(), &*answer.secret_enc.aes_cipher.aad), ("00ff", &b"Enclave"[..]));
        let without: GetSecretResponse =
            serde_json::from_str(&ANSWER.replace(r#","nonce":"00ff""#, "")).unwrap();
        assert_eq!(without.nonce, "");
        for wrong in [ANSWER.replace("secretEnc", "secret_enc"), ANSWER.replace("AQI=", "A")] {
            assert!(serde_json::from_str::<GetSecretResponse>(&wrong).is_err(), "{wrong}");
        }
    }
}
