//! What Intel publishes about a platform, for a simulated one: TCB information,
//! the quoting enclave's identity, revocation lists.

use std::time::Duration;

use adytum_evidence::{clock::UnixSeconds, collateral::QuoteCollateralV3};
use serde::{Deserialize, Serialize};

use crate::{
    certificates::{Chain, Validity},
    dates::parse_rfc3339,
    documents::{Evaluation, QeIdentity, TcbInfo},
    error::SimError,
    faults::Faults,
    hardware::Hardware,
};

/// How long collateral is valid, as Intel's is.
pub const COLLATERAL_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Collateral is renewed when less than this is left of it.
pub const RENEWAL_MARGIN: Duration = Duration::from_secs(10 * 24 * 60 * 60);

/// Collateral is dated back by this much, so that a verifier whose clock is a
/// little behind does not find it issued in the future.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// Issues the collateral of a platform.
pub(crate) fn issue(
    chain: &Chain,
    hardware: &Hardware,
    faults: Faults,
    now: UnixSeconds,
) -> Result<(QuoteCollateralV3, Validity), SimError> {
    let age = if faults.collateral_expired { 2 * COLLATERAL_LIFETIME } else { BACKDATED };
    let issued = UnixSeconds(now.0.saturating_sub(age.as_secs()));
    let validity = Validity { issued, next_update: issued.plus(COLLATERAL_LIFETIME) };

    let collateral = of_evaluation(chain, hardware, faults, validity, Evaluation::standard(&faults))?;
    Ok((collateral, validity))
}

/// Issues the collateral of the evaluation that does not count yet, if there is one.
pub(crate) fn issue_early(
    chain: &Chain,
    hardware: &Hardware,
    faults: Faults,
    validity: Validity,
) -> Result<Option<QuoteCollateralV3>, SimError> {
    let Some(early) = faults.early else { return Ok(None) };
    let faults = Faults { tcb_status: early.tcb_status, ..faults };
    of_evaluation(chain, hardware, faults, validity, Evaluation::early(&early)).map(Some)
}

fn of_evaluation(
    chain: &Chain,
    hardware: &Hardware,
    faults: Faults,
    validity: Validity,
    evaluation: Evaluation,
) -> Result<QuoteCollateralV3, SimError> {
    let tcb_info = json(&TcbInfo::new(hardware, faults.tcb_status, validity, evaluation))?;
    let qe_identity = json(&QeIdentity::new(faults.qe_status, validity, evaluation))?;
    let signer = &chain.tcb_signer.key;
    Ok(QuoteCollateralV3 {
        pck_crl_issuer_chain: chain.pck_crl_issuer_chain_pem(),
        root_ca_crl: chain.root_crl(validity, faults.pck_ca_revoked)?,
        pck_crl: chain.pck_crl(hardware, validity, faults.pck_revoked)?,
        tcb_info_issuer_chain: chain.tcb_signer_chain_pem(),
        tcb_info_signature: signer.sign(tcb_info.as_bytes())?.to_vec(),
        tcb_info,
        qe_identity_issuer_chain: chain.tcb_signer_chain_pem(),
        qe_identity_signature: signer.sign(qe_identity.as_bytes())?.to_vec(),
        qe_identity,
        // The quote carries it.
        pck_certificate_chain: None,
    })
}

/// When the collateral was issued and is due, from its TCB information; `None`
/// where that says neither.
pub(crate) fn validity_of(collateral: &QuoteCollateralV3) -> Option<Validity> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Dates {
        issue_date: String,
        next_update: String,
    }
    let dates: Dates = serde_json::from_str(&collateral.tcb_info).ok()?;
    Some(Validity {
        issued: parse_rfc3339(&dates.issue_date)?,
        next_update: parse_rfc3339(&dates.next_update)?,
    })
}

fn json(document: &impl Serialize) -> Result<String, SimError> {
    serde_json::to_string(document).map_err(|error| SimError::cryptography("write collateral", error))
}
