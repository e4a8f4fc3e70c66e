//! `[owners]`: the owners, their threshold, and the auditors.

use super::{distinct, places::Places};
use crate::{
    manifest::{ManifestError, document::OwnersTable},
    roles::{MAXIMUM_AUDITORS, Owners, RolesRule},
};

pub(super) fn roles(places: &Places<'_>, table: OwnersTable) -> Result<RolesRule, ManifestError> {
    let OwnersTable { threshold, keys, auditors } = table;
    let place = |field| places.of_table("owners", field);
    let owners = match (threshold, keys.is_empty()) {
        (None, true) => None,
        (Some(threshold), _) => {
            let owners = Owners::new(keys, threshold);
            Some(owners.map_err(|source| ManifestError::Owners { place: place("keys"), source })?)
        }
        (None, false) => {
            let reason = "how many of these owners must agree to a change? Give a threshold".to_owned();
            return Err(ManifestError::Value { place: place("threshold"), reason });
        }
    };
    if auditors.len() > MAXIMUM_AUDITORS {
        let reason = format!("{} auditors are named; at most {MAXIMUM_AUDITORS} are allowed", auditors.len());
        return Err(ManifestError::Value { place: place("auditors"), reason });
    }
    let auditors = distinct(auditors, || place("auditors"))?;
    let both = owners.as_ref().and_then(|owners| owners.keys().intersection(&auditors).next());
    if let Some(both) = both {
        return Err(ManifestError::WithoutEffect {
            place: place("auditors"),
            reason: format!("{both} is an owner, who may read anyway"),
        });
    }
    Ok(RolesRule { owners, auditors })
}
