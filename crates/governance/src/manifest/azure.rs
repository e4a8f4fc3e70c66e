//! `[[trust.azure]]`: attestation services of Azure, pinned by their names and keys.

use std::collections::BTreeSet;

use adytum_evidence::{jwt::TokenKeys, maa::MaaTrust, trust::Vendor};

use super::document::AzureTable;

/// An attestation service of Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureService {
    pub trust: MaaTrust,
    /// As the owners wrote it.
    pub table: AzureTable,
}

/// More than any deployment has: one for each region of Azure.
const MAXIMUM_SERVICES: usize = 64;

/// Reads the services. There must be some exactly if the vendor is trusted.
pub(crate) fn services(
    vendors: &BTreeSet<Vendor>,
    tables: Vec<AzureTable>,
) -> Result<Vec<AzureService>, String> {
    match (vendors.contains(&Vendor::Azure), tables.len()) {
        (true, 0) => {
            return Err(
                "`vendors` names azure, so the attestation service and its keys must be here".to_owned()
            );
        }
        (false, 1..) => {
            return Err(
                "there is an attestation service of Azure, but `vendors` does not name azure".to_owned()
            );
        }
        (_, found) if found > MAXIMUM_SERVICES => {
            return Err(format!("expected at most {MAXIMUM_SERVICES} services, found {found}"));
        }
        _ => {}
    }
    let mut services: Vec<AzureService> = Vec::with_capacity(tables.len());
    for table in tables {
        let AzureTable { issuer, keys } = &table;
        if !issuer.starts_with("https://") || issuer.ends_with('/') || issuer.chars().any(char::is_whitespace)
        {
            return Err(format!(
                "issuer {issuer:?}: expected https://NAME.REGION.attest.azure.net, without a path"
            ));
        }
        if services.iter().any(|service| service.table.issuer == *issuer) {
            return Err(format!("issuer {issuer:?} is there twice"));
        }
        let keys =
            TokenKeys::parse(keys.as_bytes()).map_err(|error| format!("issuer {issuer:?}: {error}"))?;
        if !keys.verify_anything() {
            return Err(format!("issuer {issuer:?}: none of its keys can verify a token"));
        }
        services.push(AzureService { trust: MaaTrust { issuer: issuer.clone(), keys }, table });
    }
    Ok(services)
}
