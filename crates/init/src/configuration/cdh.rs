//! `[[cdh]]`: the resources that init serves to the guest, and the secrets that they are.

use std::collections::BTreeMap;

use adytum_api::{names::SecretName, resource::ResourcePath};
use serde::Deserialize;

use super::{ConfigurationError, SecretRule, error::invalid};

/// The most resources that a configuration may name.
const MAXIMUM_RESOURCES: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CdhTable {
    resource: ResourcePath,
    secret: SecretName,
}

pub(super) fn resources(
    tables: Vec<CdhTable>,
    secrets: &BTreeMap<SecretName, SecretRule>,
) -> Result<BTreeMap<ResourcePath, SecretName>, ConfigurationError> {
    if tables.len() > MAXIMUM_RESOURCES {
        return Err(invalid("cdh", format!("at most {MAXIMUM_RESOURCES} resources may be named")));
    }
    let mut resources = BTreeMap::new();
    for CdhTable { resource, secret } in tables {
        let field = format!("cdh {resource}");
        if !secrets.contains_key(&secret) {
            return Err(invalid(
                field,
                format!("no [[secret]] is named {secret}; correct the name or add it"),
            ));
        }
        if resources.insert(resource, secret).is_some() {
            return Err(invalid(field, "it is listed twice"));
        }
    }
    Ok(resources)
}
