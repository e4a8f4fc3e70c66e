//! What bytes are: evidence, a certificate or a token, in any of their encodings.

use adytum_evidence::{
    claims::TeeKind,
    evidence::{Evidence, EvidenceFormat},
    jwt::Token,
    kbs_evidence,
    snp::parse_report,
    verifier::{VerificationError, parse_dcap},
};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::Value;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::error::VerifyError;

/// How often something may lie in something else: a string in JSON that is base64 of a quote.
const MAXIMUM_DEPTH: usize = 4;
/// Before quotes that Open Enclave gives: version 1, kind 2, and the quote's length.
const OPEN_ENCLAVE_HEADER: [u8; 8] = [1, 0, 0, 0, 2, 0, 0, 0];

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A thing that can be verified.
#[derive(Debug)]
pub(crate) enum Thing {
    /// Evidence, and what it is in words.
    Evidence { form: String, evidence: Evidence },
    /// A certificate in DER or PEM.
    Certificate(Vec<u8>),
    /// A token of an attestation service.
    Token(Box<Token>),
}

/// Reads bytes, whatever they are.
pub(crate) fn recognise(bytes: &[u8]) -> anyhow::Result<Thing> {
    nested(bytes, MAXIMUM_DEPTH)
}

fn nested(bytes: &[u8], depth: usize) -> anyhow::Result<Thing> {
    let unknown = |found: &str| VerifyError::UnknownForm { found: found.to_owned() };
    let Some(depth) = depth.checked_sub(1) else {
        return Err(unknown("too many encodings in each other").into());
    };
    if bytes.is_empty() {
        return Err(unknown("nothing").into());
    }
    match std::str::from_utf8(bytes.trim_ascii()) {
        Ok(text) if text.chars().all(|letter| !letter.is_control() || letter.is_whitespace()) => {
            of_text(text, depth)
        }
        _ => of_binary(bytes),
    }
}

fn of_text(text: &str, depth: usize) -> anyhow::Result<Thing> {
    let unknown = |found: String| VerifyError::UnknownForm { found };
    if text.starts_with("-----BEGIN CERTIFICATE-----") {
        return Ok(Thing::Certificate(text.as_bytes().to_vec()));
    }
    if let Some(label) = text.strip_prefix("-----BEGIN ") {
        let label = label.split("-----").next().unwrap_or_default();
        return Err(unknown(format!("text in PEM that is labelled {label:.40?}")).into());
    }
    if text.starts_with(['{', '"']) {
        let json =
            serde_json::from_str(text).map_err(|error| unknown(format!("text that is not JSON: {error}")))?;
        return of_json(&json, depth);
    }
    if Token::recognise(text) {
        return Ok(Thing::Token(Box::new(Token::parse(text)?)));
    }
    match decoded(text) {
        Some(bytes) => nested(&bytes, depth),
        None => {
            Err(unknown("a text that is none of hexadecimal, base64, JSON, PEM and a token".to_owned())
                .into())
        }
    }
}

fn of_json(json: &Value, depth: usize) -> anyhow::Result<Thing> {
    let unknown = |found: &str| VerifyError::UnknownForm { found: found.to_owned() };
    let Some(depth) = depth.checked_sub(1) else {
        return Err(unknown("too many encodings in each other").into());
    };
    if let Value::String(text) = json {
        return of_text(text.trim(), depth);
    }
    // A message of the KBS protocol, an attestation service's answer, and evidence in them.
    if let Some(inner) = ["tee-evidence", "primary_evidence", "token"].iter().find_map(|name| json.get(*name))
    {
        return of_json(inner, depth);
    }
    if json.get("attestation_report").is_some() {
        let evidence = kbs_evidence::read(json)?;
        return Ok(Thing::Evidence {
            form: "a SEV-SNP report, in the JSON of the KBS protocol".to_owned(),
            evidence,
        });
    }
    // Azure's samples have it under the other names.
    match ["quote", "Quote", "QuoteHex"].iter().find_map(|name| json.get(*name)).map(Value::as_str) {
        Some(Some(text)) => {
            let bytes =
                decoded(text).ok_or_else(|| unknown("JSON whose quote is neither hexadecimal nor base64"))?;
            match of_binary(&bytes)? {
                Thing::Evidence { form, evidence } => {
                    Ok(Thing::Evidence { form: format!("{form}, in JSON"), evidence })
                }
                _ => Err(unknown("JSON whose quote is none").into()),
            }
        }
        Some(None) => Err(unknown("JSON whose quote is no text").into()),
        None if json.get("iss").is_some() || json.get("exp").is_some() => {
            Err(unknown("the claims of a token without its signature, which prove nothing").into())
        }
        None => Err(unknown("JSON without a quote, a report or a token").into()),
    }
}

fn of_binary(bytes: &[u8]) -> anyhow::Result<Thing> {
    // An X.509 certificate is a SEQUENCE, and nothing else here is.
    if bytes.first() == Some(&0x30) && X509Certificate::from_der(bytes).is_ok() {
        return Ok(Thing::Certificate(bytes.to_vec()));
    }
    let evidence = Evidence::from_file(without_header(bytes).to_vec());
    let form = match evidence.format {
        EvidenceFormat::SnpReport => {
            let report = parse_report(&evidence.bytes).map_err(malformed)?;
            let table = if evidence.endorsements.is_empty() { "" } else { " with certificates" };
            format!("a SEV-SNP report of version {}{table}", report.version)
        }
        EvidenceFormat::DcapQuote => {
            // Version, kind of key and kind of TEE.
            let begins_as_quote =
                matches!(evidence.bytes.get(..8), Some([3..=5, 0, 2 | 3, 0, 0 | 0x81, 0, 0, 0]));
            if !begins_as_quote {
                let found = format!("{} bytes that begin neither as a quote nor as a report", bytes.len());
                return Err(VerifyError::UnknownForm { found }.into());
            }
            let quote = parse_dcap(&evidence.bytes).map_err(malformed)?;
            let tee = match quote.tee {
                TeeKind::Sgx => "an SGX",
                _ => "a TDX",
            };
            format!("{tee} quote of version {}", quote.version)
        }
        other => format!("a {other}"),
    };
    Ok(Thing::Evidence { form, evidence })
}

fn without_header(bytes: &[u8]) -> &[u8] {
    let rest = bytes.strip_prefix(&OPEN_ENCLAVE_HEADER).and_then(|rest| rest.split_at_checked(8));
    match rest {
        Some((length, quote))
            if u64::try_from(quote.len()).map(u64::to_le_bytes).is_ok_and(|found| found == *length) =>
        {
            quote
        }
        _ => bytes,
    }
}

fn malformed(error: VerificationError) -> VerifyError {
    VerifyError::Malformed { reason: error.to_string() }
}

/// Hexadecimal or base64, in lines or not.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let letters: String = text.split_whitespace().collect();
    let digits = letters.strip_prefix("0x").unwrap_or(&letters);
    if let Ok(bytes) = hex::decode(digits) {
        return Some(bytes);
    }
    STANDARD.decode(&letters).or_else(|_| URL_SAFE.decode(&letters)).ok()
}

#[cfg(test)]
mod tests {
    use adytum_evidence::evidence::SNP_REPORT_LENGTH;

    use super::*;

    fn refused(bytes: &[u8]) -> String {
        recognise(bytes).unwrap_err().to_string()
    }

    fn report() -> Vec<u8> {
        let mut report = vec![0; SNP_REPORT_LENGTH];
        report[0] = 2;
        // The algorithm of its signature.
        report[0x34] = 1;
        report
    }

    #[test]
    fn a_report_is_found_in_each_encoding() {
        let report = report();
        let base64 = STANDARD.encode(&report);
        for bytes in [
            report.clone(),
            hex::encode(&report).into_bytes(),
            format!("0x{}\n", hex::encode_upper(&report)).into_bytes(),
            base64.clone().into_bytes(),
            URL_SAFE.encode(&report).trim_end_matches('=').as_bytes().to_vec(),
            format!("\"{base64}\"").into_bytes(),
            base64.as_bytes().chunks(64).collect::<Vec<_>>().join(&b'\n'),
        ] {
            let Thing::Evidence { form, evidence } = recognise(&bytes).unwrap() else { panic!("{bytes:?}") };
            assert_eq!((form.as_str(), &evidence.bytes), ("a SEV-SNP report of version 2", &report));
        }
    }

    #[test]
    fn what_is_unknown_is_said() {
        for (bytes, said) in [
            (&b""[..], "nothing"),
            (b"\0\x01\x02", "neither as a quote nor as a report"),
            (b"hello, world", "none of hexadecimal"),
            (b"{", "not JSON"),
            (b"{}", "without a quote"),
            (b"{\"quote\": 1}", "no text"),
            (b"{\"iss\": \"https://example.com\", \"exp\": 1}", "prove nothing"),
            (b"-----BEGIN RSA PRIVATE KEY-----\n", "RSA PRIVATE KEY"),
        ] {
            let error = refused(bytes);
            assert!(error.contains(said) && error.contains("give a quote"), "{error}");
        }
        // A string in a string in a string.
        let deep = (0..MAXIMUM_DEPTH * 2).fold(report(), |bytes, _| STANDARD.encode(bytes).into_bytes());
        assert!(refused(&deep).contains("too many encodings"));
        let deep = format!("{}1{}", "{\"token\":".repeat(100), "}".repeat(100));
        assert!(refused(deep.as_bytes()).contains("too many encodings"));
    }
}
