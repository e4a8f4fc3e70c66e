//! The collateral as Intel's provisioning certificate caching service serves it
//! (PCCS API v4): the paths, headers and encodings that real clients expect.

use std::{collections::HashMap, sync::Arc};

use adytum_evidence::{collateral::QuoteCollateralV3, measurement::Fmspc};
use axum::{
    Router,
    extract::{Query, State},
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{Service, refusal::Refusal};
use crate::hardware::CaKind;

const TCB_INFO_ISSUER_CHAIN: &str = "tcb-info-issuer-chain";
const QE_IDENTITY_ISSUER_CHAIN: &str = "sgx-enclave-identity-issuer-chain";
const PCK_CRL_ISSUER_CHAIN: &str = "sgx-pck-crl-issuer-chain";

type Parameters = Query<HashMap<String, String>>;

pub(super) fn router() -> Router<Service> {
    Router::new()
        .route("/tcb", get(tcb_info))
        .route("/qe/identity", get(qe_identity))
        .route("/pckcrl", get(pck_crl))
        .route("/rootcacrl", get(root_crl))
}

async fn tcb_info(
    State(service): State<Service>,
    Query(parameters): Parameters,
) -> Result<Response, Refusal> {
    let fmspc: Fmspc = parameter(&parameters, "fmspc")
        .map_err(Refusal::Fmspc)?
        .parse()
        .map_err(|error| Refusal::Fmspc(format!("fmspc: {error}")))?;
    if fmspc != service.platform.fmspc() {
        let have = service.platform.fmspc();
        let message = format!("no TCB information for family {fmspc}: this platform is of family {have}");
        return Err(Refusal::NoCollateral(message));
    }
    let collateral = evaluation(&service, &parameters)?;
    signed(
        ("tcbInfo", &collateral.tcb_info, &collateral.tcb_info_signature),
        (TCB_INFO_ISSUER_CHAIN, &collateral.tcb_info_issuer_chain),
    )
}

async fn qe_identity(
    State(service): State<Service>,
    Query(parameters): Parameters,
) -> Result<Response, Refusal> {
    let collateral = evaluation(&service, &parameters)?;
    signed(
        ("enclaveIdentity", &collateral.qe_identity, &collateral.qe_identity_signature),
        (QE_IDENTITY_ISSUER_CHAIN, &collateral.qe_identity_issuer_chain),
    )
}

/// The collateral of the evaluation that is asked for (parameter `update`). Outside a TCB
/// recovery both are the same, as at Intel's.
fn evaluation(
    service: &Service,
    parameters: &HashMap<String, String>,
) -> Result<Arc<QuoteCollateralV3>, Refusal> {
    match parameters.get("update").map(String::as_str) {
        None | Some("standard") => Ok(service.platform.collateral()),
        Some("early") => {
            let early = service.platform.early_collateral()?;
            Ok(early.map_or_else(|| service.platform.collateral(), Arc::new))
        }
        Some(found) => Err(Refusal::Update(found.to_owned())),
    }
}

async fn pck_crl(State(service): State<Service>, Query(parameters): Parameters) -> Result<Response, Refusal> {
    let ca = parameter(&parameters, "ca").map_err(Refusal::Ca)?;
    let have = CaKind::from(service.platform.pck_ca()).text();
    if ca != CaKind::Processor.text() && ca != CaKind::Platform.text() {
        let message = format!("ca: expected \"processor\" or \"platform\", found {ca:?}");
        return Err(Refusal::Ca(message));
    }
    if ca != have {
        let message = format!("no revocation list of the {ca} CA: this platform's CA is {have}");
        return Err(Refusal::NoCollateral(message));
    }
    let collateral = service.platform.collateral();
    let chain = issuer_chain((PCK_CRL_ISSUER_CHAIN, &collateral.pck_crl_issuer_chain))?;
    match parameters.get("encoding").map(String::as_str) {
        Some("der") => Ok((
            [(header::CONTENT_TYPE, HeaderValue::from_static("application/pkix-crl")), chain],
            collateral.pck_crl.clone(),
        )
            .into_response()),
        None | Some("pem") => Ok((
            [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-pem-file")), chain],
            pem("X509 CRL", &collateral.pck_crl),
        )
            .into_response()),
        Some(other) => Err(Refusal::Encoding(other.to_owned())),
    }
}

/// A PCCS answers with the list in hexadecimal.
async fn root_crl(State(service): State<Service>) -> Response {
    ([("content-type", "text/plain")], hex::encode(&service.platform.collateral().root_ca_crl))
        .into_response()
}

/// A query parameter, or a text that says that it is missing.
fn parameter<'a>(parameters: &'a HashMap<String, String>, name: &str) -> Result<&'a str, String> {
    let value = parameters.get(name).map(String::as_str);
    value.ok_or_else(|| format!("the query parameter {name} is missing"))
}

/// {"NAME": DOCUMENT, "signature": "HEX"}, the document byte for byte as signed.
fn signed(
    (name, document, signature): (&str, &str, &[u8]),
    issuer: (&'static str, &str),
) -> Result<Response, Refusal> {
    let body = format!(r#"{{"{name}":{document},"signature":"{}"}}"#, hex::encode(signature));
    let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(([json, issuer_chain(issuer)?], body).into_response())
}

fn issuer_chain((name, chain): (&'static str, &str)) -> Result<(HeaderName, HeaderValue), Refusal> {
    let value = HeaderValue::try_from(percent_encode(chain))
        .map_err(|error| Refusal::IssuerChain(error.to_string()))?;
    Ok((HeaderName::from_static(name), value))
}

/// RFC 3986: all but the unreserved characters become %XX.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn pem(label: &str, der: &[u8]) -> String {
    pem::encode_config(
        &pem::Pem::new(label, der),
        pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(percent_encode("aZ9-._~"), "aZ9-._~");
        assert_eq!(percent_encode("-----BEGIN A+/=\n"), "-----BEGIN%20A%2B%2F%3D%0A");
    }
}
