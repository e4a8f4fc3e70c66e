//! Trust: from a manifest's `[trust]` to the verifier's roots.

use adytum_evidence::{claims::Claims, trust::Vendor, verifier::TrustRoot};

use crate::manifest::{ManifestError, Trust};

/// The roots that evidence may chain to under this trust.
pub fn roots(trust: &Trust) -> Result<Vec<TrustRoot>, ManifestError> {
    let mut roots = Vec::new();
    for vendor in &trust.vendors {
        match vendor {
            Vendor::Simulation => roots.extend(simulation_roots(trust)?),
            Vendor::Azure => {
                let services = trust.azure.iter();
                roots.extend(
                    services.flat_map(|service| {
                        TrustRoot::azure(&service.trust.issuer, service.trust.keys.clone())
                    }),
                );
            }
            known => roots.extend(TrustRoot::of_vendor(*known)),
        }
    }
    Ok(roots)
}

/// Does this evidence chain to one of these roots? Sessions outlive manifests,
/// so this is checked again for each request.
pub fn accepts(roots: &[TrustRoot], claims: &Claims) -> bool {
    roots.iter().any(|root| root.vendor() == claims.vendor && root.root_key_id() == claims.root_key_id)
}

#[cfg(feature = "simulation")]
fn simulation_roots(trust: &Trust) -> Result<Vec<TrustRoot>, ManifestError> {
    trust
        .simulation_roots
        .iter()
        .map(|der| {
            TrustRoot::simulation(der).map_err(|error| ManifestError::Syntax { reason: error.to_string() })
        })
        .collect()
}

#[cfg(not(feature = "simulation"))]
fn simulation_roots(_trust: &Trust) -> Result<Vec<TrustRoot>, ManifestError> {
    Err(ManifestError::Simulation)
}
