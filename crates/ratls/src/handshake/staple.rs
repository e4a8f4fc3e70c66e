//! Collateral that a server sends along with its evidence, so that clients need no source of
//! their own. Its vendor has signed it: whoever carries it can leave it out or send an older
//! issue, and a policy says how old one may be.

use std::{sync::Arc, time::Duration};

use adytum_api::session as wire;
use adytum_evidence::{
    collateral::{Collateral, CollateralSource, QuoteCollateralV3, SnpCollateral},
    evidence::Evidence,
    verifier::collateral_request,
};
use prost::Message;

/// The largest collateral that is sent or read, in bytes as it is encoded.
pub const MAXIMUM_COLLATERAL_LENGTH: usize = 64 * 1024;

/// A source that has nothing at hand must not hold up a handshake: without collateral a
/// client uses its own source, if it has one.
const SOURCE_LIMIT: Duration = Duration::from_secs(2);

/// What this evidence is verified with, from this source; `None` if the source has none now.
pub(crate) async fn for_evidence(
    source: &Arc<dyn CollateralSource>,
    evidence: &Evidence,
) -> Option<wire::Collateral> {
    let request = collateral_request(evidence)
        .inspect_err(|error| tracing::warn!(code = error.code(), %error, "no collateral is sent along"))
        .ok()?;
    let collateral = match tokio::time::timeout(SOURCE_LIMIT, source.collateral(&request)).await {
        Ok(Ok(collateral)) => collateral,
        Ok(Err(error)) => {
            tracing::warn!(%request, code = error.code(), %error, "no collateral is sent along");
            return None;
        }
        Err(_) => {
            tracing::warn!(%request, limit = ?SOURCE_LIMIT, "no collateral is sent along: its source did not answer in time");
            return None;
        }
    };
    let message = to_wire(&collateral)?;
    let length = message.encoded_len();
    if length > MAXIMUM_COLLATERAL_LENGTH {
        tracing::warn!(%request, length, "no collateral is sent along: it is longer than any that is read");
        return None;
    }
    Some(message)
}

/// Collateral as it is sent; `None` for what verifies no evidence.
pub fn to_wire(collateral: &Collateral) -> Option<wire::Collateral> {
    match collateral {
        Collateral::Dcap(collateral) => {
            let dcap = serde_json::to_vec(collateral.as_ref()).ok()?;
            Some(wire::Collateral { dcap, snp: None })
        }
        Collateral::Snp(collateral) => {
            let SnpCollateral { issuer, root, crl } = collateral.as_ref().clone();
            let snp = Some(wire::SnpCollateral { issuer, root, crl });
            Some(wire::Collateral { dcap: Vec::new(), snp })
        }
        _ => None,
    }
}

/// Reads collateral of a peer's; nothing in it is verified.
pub(crate) fn from_wire(message: wire::Collateral) -> Result<Collateral, String> {
    let length = message.encoded_len();
    if length > MAXIMUM_COLLATERAL_LENGTH {
        return Err(format!(
            "expected at most {MAXIMUM_COLLATERAL_LENGTH} bytes of collateral, found {length}"
        ));
    }
    match (message.dcap.as_slice(), message.snp) {
        ([], Some(wire::SnpCollateral { issuer, root, crl })) => {
            Ok(Collateral::Snp(Arc::new(SnpCollateral { issuer, root, crl })))
        }
        (json, None) if !json.is_empty() => {
            let collateral: QuoteCollateralV3 =
                serde_json::from_slice(json).map_err(|error| format!("the collateral: {error}"))?;
            Ok(Collateral::Dcap(Arc::new(collateral)))
        }
        _ => Err("expected collateral of one kind, found none or two".to_owned()),
    }
}
