//! Early collateral: what the vendor has published and does not apply yet.

use super::kinds::Collateral;
use crate::{clock::UnixSeconds, dcap};

/// An evaluation of Intel's that is newer than the one that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewerEvaluation {
    /// Its number, as Intel counts its evaluations.
    pub number: u32,
    /// About when its advisories were disclosed (`tcbDate` of its best level).
    pub disclosed: UnixSeconds,
}

/// The number of Intel's evaluation that this collateral is of; `None` for other
/// collateral, and for what can't be read. Nothing is verified.
pub fn evaluation_number(collateral: &Collateral) -> Option<u32> {
    let Collateral::Dcap(collateral) = collateral else { return None };
    dcap::evaluation_number(collateral).ok()
}

/// The evaluation that early collateral is of, if the standard collateral is of an older
/// one. `None` where both are of the same: a service that does not know the parameter
/// answers so too, so that nothing is known. The error says what can't be read.
pub fn newer_evaluation(
    standard: &Collateral,
    early: &Collateral,
) -> Result<Option<NewerEvaluation>, String> {
    let (Collateral::Dcap(standard), Collateral::Dcap(early)) = (standard, early) else { return Ok(None) };
    let read = || {
        if !dcap::early_differs(standard, early)? {
            return Ok(None);
        }
        let (number, disclosed) = dcap::newest_evaluation(early)?;
        Ok(Some(NewerEvaluation { number, disclosed }))
    };
    read().map_err(|(what, reason): crate::certificate::validity::Unreadable| format!("{what}: {reason}"))
}
