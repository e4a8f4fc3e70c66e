//! The protocols of others over which workloads may fetch a secret, and the names that
//! secrets have there.

use std::collections::BTreeMap;

use adytum_api::{names::SecretName, resource::ResourcePath};

/// The protocols of others that one secret may be fetched over, besides our own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherProtocols {
    /// That of Occlum's own init (`ratls.GrSecret`). It binds a certificate only, and no
    /// nonce.
    pub occlum: bool,
    /// The path in the KBS protocol of Confidential Containers.
    pub kbs_resource: Option<ResourcePath>,
}

impl OtherProtocols {
    /// The first field that names one.
    pub(super) fn field(&self) -> Option<&'static str> {
        match self {
            Self { occlum: true, .. } => Some("occlum"),
            Self { kbs_resource: Some(_), .. } => Some("kbs_resource"),
            _ => None,
        }
    }
}

/// Secrets by the names that they have in the protocols of others. Each name is one secret's.
#[derive(Clone, Debug, Default)]
pub struct OtherNames {
    /// Occlum's names in lower case: there, case makes no difference.
    occlum: BTreeMap<String, SecretName>,
    kbs: BTreeMap<ResourcePath, SecretName>,
}

impl OtherNames {
    /// Adds the names of one secret. The error is the field and the name that another
    /// secret has already.
    pub(super) fn insert(
        &mut self,
        secret: &SecretName,
        protocols: &OtherProtocols,
    ) -> Result<(), (&'static str, String)> {
        if protocols.occlum {
            let lower = secret.as_str().to_ascii_lowercase();
            if let Some(other) = self.occlum.insert(lower, secret.clone()) {
                return Err(("occlum", other.to_string()));
            }
        }
        if let Some(path) = &protocols.kbs_resource
            && self.kbs.insert(path.clone(), secret.clone()).is_some()
        {
            return Err(("kbs_resource", path.to_string()));
        }
        Ok(())
    }

    /// The secret that Occlum's protocol has under this name.
    pub fn of_occlum(&self, name: &str) -> Option<&SecretName> {
        // Nothing longer is a name.
        let known = name.len() <= adytum_api::names::MAXIMUM_NAME_LENGTH;
        known.then(|| self.occlum.get(&name.to_ascii_lowercase())).flatten()
    }

    /// The secret that the KBS protocol has at this path.
    pub fn of_kbs(&self, path: &ResourcePath) -> Option<&SecretName> {
        self.kbs.get(path)
    }
}
