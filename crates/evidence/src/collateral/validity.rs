//! From when until when the parts of collateral are valid.

use dcap_qvl::{QeIdentity, TcbInfo};
use x509_parser::prelude::{ASN1Time, CertificateRevocationList, FromDer, X509Certificate};

use super::{QuoteCollateralV3, SnpCollateral};
use crate::{clock::UnixSeconds, verifier::parse_issuer_chain};

/// A dated part of collateral.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its name.
    pub(crate) what: &'static str,
    /// First moment.
    pub(crate) from: UnixSeconds,
    /// Last moment.
    pub(crate) until: UnixSeconds,
}

/// A part that can't be read, and why.
pub(crate) type Unreadable = (&'static str, String);

/// Every dated part: TCB info, QE identity, both CRLs, and the certificates
/// that signed them. Nothing is verified.
pub(crate) fn parts(collateral: &QuoteCollateralV3) -> Result<Vec<Part>, Unreadable> {
    let mut parts = vec![
        tcb_info(&collateral.tcb_info)?,
        qe_identity(&collateral.qe_identity)?,
        crl("root CA CRL", &collateral.root_ca_crl)?,
        crl("PCK CRL", &collateral.pck_crl)?,
    ];
    for (what, text) in [
        ("TCB info issuer chain", &collateral.tcb_info_issuer_chain),
        ("QE identity issuer chain", &collateral.qe_identity_issuer_chain),
        ("PCK CRL issuer chain", &collateral.pck_crl_issuer_chain),
    ] {
        let [issuer, _root] = parse_issuer_chain(text).map_err(|reason| (what, reason))?;
        parts.push(certificate(what, &issuer)?);
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

/// Every dated part of AMD's: the CRL, and the certificates. Nothing is verified.
pub(crate) fn snp_parts(collateral: &SnpCollateral) -> Result<Vec<Part>, Unreadable> {
    Ok(vec![
        crl("AMD CRL", &collateral.crl)?,
        certificate("AMD issuer certificate", &collateral.issuer)?,
        certificate("AMD root certificate", &collateral.root)?,
    ])
}

/// When AMD's CRL was issued.
pub(crate) fn crl_issued(der: &[u8]) -> Result<UnixSeconds, Unreadable> {
    Ok(crl("AMD CRL", der)?.from)
}

/// When the signed TCB info and QE identity were issued: the later of the two.
pub(crate) fn issued(collateral: &QuoteCollateralV3) -> Result<UnixSeconds, Unreadable> {
    let (tcb_info, identity) = (tcb_info(&collateral.tcb_info)?, qe_identity(&collateral.qe_identity)?);
    Ok(tcb_info.from.max(identity.from))
}

fn tcb_info(text: &str) -> Result<Part, Unreadable> {
    let what = "TCB info";
    let info: TcbInfo = serde_json::from_str(text).map_err(|error| (what, error.to_string()))?;
    dated(what, &info.issue_date, &info.next_update)
}

fn qe_identity(text: &str) -> Result<Part, Unreadable> {
    let what = "QE identity";
    let identity: QeIdentity = serde_json::from_str(text).map_err(|error| (what, error.to_string()))?;
    dated(what, &identity.issue_date, &identity.next_update)
}

fn dated(what: &'static str, issued: &str, next_update: &str) -> Result<Part, Unreadable> {
    let date = |text: &str| {
        UnixSeconds::parse_rfc3339(text).ok_or_else(|| (what, format!("{text:?} is no date in UTC")))
    };
    Ok(Part { what, from: date(issued)?, until: date(next_update)? })
}

fn crl(what: &'static str, der: &[u8]) -> Result<Part, Unreadable> {
    match CertificateRevocationList::from_der(der) {
        Ok(([], crl)) => {
            let until = crl.next_update().ok_or_else(|| (what, "it has no nextUpdate".to_owned()))?;
            Ok(Part { what, from: seconds(crl.last_update()), until: seconds(until) })
        }
        Ok((rest, _)) => Err((what, format!("{} bytes follow it", rest.len()))),
        Err(error) => Err((what, format!("not a CRL in DER: {error}"))),
    }
}

/// The validity of a certificate in DER.
pub(crate) fn certificate(what: &'static str, der: &[u8]) -> Result<Part, Unreadable> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| (what, format!("not a certificate: {error}")))?;
    let validity = certificate.validity();
    Ok(Part { what, from: seconds(validity.not_before), until: seconds(validity.not_after) })
}

/// Times before 1970 count as 1970.
fn seconds(time: ASN1Time) -> UnixSeconds {
    UnixSeconds(u64::try_from(time.timestamp()).unwrap_or(0))
}
