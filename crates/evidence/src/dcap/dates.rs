//! How old collateral is, remembered: it is read once for each issue, not for each quote.

use std::sync::{Mutex, PoisonError};

use super::collateral::{self, QuoteCollateralV3};
use crate::{certificate::validity::Unreadable, claims::CollateralClaims};

/// Issues remembered, one for each platform family. A fleet has a handful.
const MAXIMUM_ENTRIES: usize = 16;

#[derive(Default)]
pub(super) struct KnownDates(Mutex<Vec<Known>>);

/// The documents that the dates are read from, by their signatures; the CRL is short.
struct Known {
    tcb_info_signature: Vec<u8>,
    qe_identity_signature: Vec<u8>,
    pck_crl: Vec<u8>,
    claims: CollateralClaims,
}

impl Known {
    fn is_of(&self, collateral: &QuoteCollateralV3) -> bool {
        self.tcb_info_signature == collateral.tcb_info_signature
            && self.qe_identity_signature == collateral.qe_identity_signature
            && self.pck_crl == collateral.pck_crl
    }
}

impl KnownDates {
    /// How old this collateral is, which has verified: its signatures stand for the
    /// documents that they are over.
    pub(super) fn of(&self, collateral: &QuoteCollateralV3) -> Result<CollateralClaims, Unreadable> {
        // Nothing in here is left half-changed by a panic.
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().iter().find(|known| known.is_of(collateral)) {
            return Ok(known.claims);
        }
        let claims = collateral::claims(collateral)?;
        let mut known = lock();
        if known.len() >= MAXIMUM_ENTRIES {
            known.remove(0);
        }
        known.push(Known {
            tcb_info_signature: collateral.tcb_info_signature.clone(),
            qe_identity_signature: collateral.qe_identity_signature.clone(),
            pck_crl: collateral.pck_crl.clone(),
            claims,
        });
        Ok(claims)
    }
}
