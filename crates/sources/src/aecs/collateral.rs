//! Collateral as AECS's reports carry it: the answers of a PCCS, each as a text.

use adytum_evidence::collateral::QuoteCollateralV3;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::messages::QveCollateral;

/// CRLs in hexadecimal, as version 3 of a PCCS serves them.
const VERSION: &str = "3";

/// For a report of ours.
pub(super) fn write(collateral: &QuoteCollateralV3) -> QveCollateral {
    let signed = |name: &str, body: &str, signature: &[u8]| {
        format!(r#"{{"{name}":{body},"signature":"{}"}}"#, hex::encode(signature))
    };
    QveCollateral {
        version: VERSION.to_owned(),
        pck_crl_issuer_chain: collateral.pck_crl_issuer_chain.clone(),
        root_ca_crl: hex::encode(&collateral.root_ca_crl),
        pck_crl: hex::encode(&collateral.pck_crl),
        tcb_info_issuer_chain: collateral.tcb_info_issuer_chain.clone(),
        tcb_info: signed("tcbInfo", &collateral.tcb_info, &collateral.tcb_info_signature),
        qe_identity_issuer_chain: collateral.qe_identity_issuer_chain.clone(),
        qe_identity: signed("enclaveIdentity", &collateral.qe_identity, &collateral.qe_identity_signature),
    }
}

/// Of a server's report. It is signed by the vendor, and the verifier checks that.
pub(super) fn read(collateral: QveCollateral) -> Result<QuoteCollateralV3, String> {
    let tcb_info = Signed::read("tcb_info", &collateral.tcb_info)?;
    let qe_identity = Signed::read("qe_identity", &collateral.qe_identity)?;
    Ok(QuoteCollateralV3 {
        root_ca_crl: crl("root_ca_crl", &collateral.root_ca_crl)?,
        pck_crl: crl("pck_crl", &collateral.pck_crl)?,
        pck_crl_issuer_chain: collateral.pck_crl_issuer_chain,
        tcb_info_issuer_chain: collateral.tcb_info_issuer_chain,
        tcb_info: tcb_info.body,
        tcb_info_signature: tcb_info.signature,
        qe_identity_issuer_chain: collateral.qe_identity_issuer_chain,
        qe_identity: qe_identity.body,
        qe_identity_signature: qe_identity.signature,
        pck_certificate_chain: None,
    })
}

/// A signed document, its bytes exactly as signed.
struct Signed {
    body: String,
    signature: Vec<u8>,
}

impl Signed {
    fn read(what: &str, text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Document<'a> {
            #[serde(borrow, alias = "tcbInfo", alias = "enclaveIdentity")]
            body: &'a RawValue,
            signature: &'a str,
        }
        let document: Document<'_> =
            serde_json::from_str(text).map_err(|error| format!("{what}: {error}"))?;
        let signature =
            hex::decode(document.signature).map_err(|error| format!("{what}, signature: {error}"))?;
        Ok(Self { body: document.body.get().to_owned(), signature })
    }
}

/// DER in hexadecimal or in PEM, by the version of the PCCS.
fn crl(what: &str, text: &str) -> Result<Vec<u8>, String> {
    if let Ok(block) = pem::parse(text) {
        return Ok(block.into_contents());
    }
    hex::decode(text.trim()).map_err(|error| format!("{what}: neither PEM nor hexadecimal: {error}"))
}
