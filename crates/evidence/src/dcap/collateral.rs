//! What Intel publishes so that DCAP quotes can be verified.

use std::fmt;

pub use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::{QeIdentity, TcbInfo};

use crate::{
    certificate::{
        chain,
        validity::{self, Part, Unreadable},
    },
    claims::TeeKind,
    clock::UnixSeconds,
    measurement::Fmspc,
};

/// Which collateral a quote needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DcapRequest {
    pub tee: TeeKind,
    pub fmspc: Fmspc,
    /// Which CA issued the PCK certificate.
    pub ca: PckCa,
}

/// The two CAs that issue PCK certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PckCa {
    /// Single-package machines.
    Processor,
    /// Multi-package machines.
    Platform,
}

impl fmt::Display for PckCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Processor => "processor",
            Self::Platform => "platform",
        })
    }
}

impl fmt::Display for DcapRequest {
    /// As in `sgx-00a067110000-processor`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.tee, self.fmspc, self.ca)
    }
}

/// Every dated part: TCB info, QE identity, both CRLs, and the certificates
/// that signed them. Nothing is verified.
pub(crate) fn parts(collateral: &QuoteCollateralV3) -> Result<Vec<Part>, Unreadable> {
    let mut parts = vec![
        tcb_info(&collateral.tcb_info)?,
        qe_identity(&collateral.qe_identity)?,
        validity::crl("root CA CRL", &collateral.root_ca_crl)?,
        validity::crl("PCK CRL", &collateral.pck_crl)?,
    ];
    for (what, text) in [
        ("TCB info issuer chain", &collateral.tcb_info_issuer_chain),
        ("QE identity issuer chain", &collateral.qe_identity_issuer_chain),
        ("PCK CRL issuer chain", &collateral.pck_crl_issuer_chain),
    ] {
        let [issuer, _root] = chain::parse_issuer_chain(text).map_err(|reason| (what, reason))?;
        parts.push(validity::certificate(what, &issuer)?);
    }
    for (what, signature) in [
        ("TCB info signature", &collateral.tcb_info_signature),
        ("QE identity signature", &collateral.qe_identity_signature),
    ] {
        if signature.len() != 64 {
            return Err((what, format!("expected 64 bytes, found {}", signature.len())));
        }
    }
    Ok(parts)
}

/// When the signed TCB info and QE identity were issued: the later of the two.
pub(crate) fn issued(collateral: &QuoteCollateralV3) -> Result<UnixSeconds, Unreadable> {
    let (tcb_info, identity) = (tcb_info(&collateral.tcb_info)?, qe_identity(&collateral.qe_identity)?);
    Ok(tcb_info.from.max(identity.from))
}

fn tcb_info(text: &str) -> Result<Part, Unreadable> {
    let what = "TCB info";
    let info: TcbInfo = serde_json::from_str(text).map_err(|error| (what, error.to_string()))?;
    validity::dated(what, &info.issue_date, &info.next_update)
}

fn qe_identity(text: &str) -> Result<Part, Unreadable> {
    let what = "QE identity";
    let identity: QeIdentity = serde_json::from_str(text).map_err(|error| (what, error.to_string()))?;
    validity::dated(what, &identity.issue_date, &identity.next_update)
}
