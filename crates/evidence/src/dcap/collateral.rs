//! What Intel publishes so that DCAP quotes can be verified.

use std::fmt;

pub use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::{QeIdentity, TcbInfo};
use serde::Deserialize;

use crate::{
    certificate::{
        chain,
        validity::{self, Part, Unreadable},
    },
    claims::{CollateralClaims, TeeKind},
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

/// How old it is. Nothing is verified.
pub(super) fn claims(collateral: &QuoteCollateralV3) -> Result<CollateralClaims, Unreadable> {
    let tcb_info = Dated::read("TCB info", &collateral.tcb_info)?;
    let identity = Dated::read("QE identity", &collateral.qe_identity)?;
    let crl = validity::crl("PCK CRL", &collateral.pck_crl)?;
    let issued = tcb_info.issued("TCB info")?.min(identity.issued("QE identity")?).min(crl.from);
    let number = tcb_info.tcb_evaluation_data_number.min(identity.tcb_evaluation_data_number);
    Ok(CollateralClaims { tcb_evaluation_data_number: Some(number), issued })
}

/// What both documents begin with; the levels are not read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dated {
    issue_date: String,
    tcb_evaluation_data_number: u32,
}

impl Dated {
    fn read(what: &'static str, text: &str) -> Result<Self, Unreadable> {
        serde_json::from_str(text).map_err(|error| (what, error.to_string()))
    }

    fn issued(&self, what: &'static str) -> Result<UnixSeconds, Unreadable> {
        let date = UnixSeconds::parse_rfc3339(&self.issue_date);
        date.ok_or_else(|| (what, format!("{:?} is no date in UTC", self.issue_date)))
    }
}

/// The numbers of the evaluation in TCB info and QE identity. Nothing is verified.
fn numbers(collateral: &QuoteCollateralV3) -> Result<[u32; 2], Unreadable> {
    let tcb_info = Dated::read("TCB info", &collateral.tcb_info)?;
    let identity = Dated::read("QE identity", &collateral.qe_identity)?;
    Ok([tcb_info.tcb_evaluation_data_number, identity.tcb_evaluation_data_number])
}

/// The lower one of both numbers. Nothing is verified.
pub(crate) fn evaluation_number(collateral: &QuoteCollateralV3) -> Result<u32, Unreadable> {
    Ok(numbers(collateral)?.into_iter().min().unwrap_or_default())
}

/// Does early collateral say anything that the standard one does not? Only then is it of a
/// newer evaluation.
pub(crate) fn early_differs(
    standard: &QuoteCollateralV3,
    early: &QuoteCollateralV3,
) -> Result<bool, Unreadable> {
    let (standard, early) = (numbers(standard)?, numbers(early)?);
    Ok(early.iter().zip(&standard).any(|(early, standard)| early > standard))
}

/// The number of the newest evaluation in it, and the day since when its best level
/// counts: about that of the disclosure (Intel PCS API, `tcbDate`). Nothing is verified.
pub(crate) fn newest_evaluation(collateral: &QuoteCollateralV3) -> Result<(u32, UnixSeconds), Unreadable> {
    let what = "TCB info";
    let info: TcbInfo =
        serde_json::from_str(&collateral.tcb_info).map_err(|error| (what, error.to_string()))?;
    let dates = info.tcb_levels.iter().filter_map(|level| UnixSeconds::parse_rfc3339(&level.tcb_date));
    let newest = dates.max().ok_or_else(|| (what, "none of its levels has a date".to_owned()))?;
    Ok((numbers(collateral)?.into_iter().max().unwrap_or_default(), newest))
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
