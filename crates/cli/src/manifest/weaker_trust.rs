//! The roots and services that a manifest trusts and the one before it did not.

use std::collections::BTreeSet;

use adytum_evidence::trust::Vendor;
use adytum_governance::manifest::{Trust, azure::AzureService};

/// The roots and services that are trusted now and were not.
pub(super) fn weaker_trust(old: &Trust, new: &Trust) -> Vec<String> {
    let mut reasons = Vec::new();
    if new.vendors.contains(&Vendor::Simulation) && !old.vendors.contains(&Vendor::Simulation) {
        reasons.push("simulated platforms are trusted, which protect nothing".to_owned());
    }
    for AzureService { trust, .. } in &new.azure {
        let before = old.azure.iter().find(|before| before.trust.issuer == trust.issuer);
        let Some(before) = before else {
            reasons.push(format!(
                "the attestation service {} verifies evidence in the broker's place",
                trust.issuer
            ));
            continue;
        };
        let known: BTreeSet<&str> = before.trust.keys.names().collect();
        let more: Vec<&str> = trust.keys.names().filter(|name| !known.contains(name)).collect();
        if !more.is_empty() {
            reasons.push(format!(
                "the attestation service {} has new keys: {}",
                trust.issuer,
                more.join(", ")
            ));
        } else if known.len() == trust.keys.names().count() && before.trust.keys != trust.keys {
            reasons.push(format!("keys of the attestation service {} are others than before", trust.issuer));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use adytum_evidence::{jwt::TokenKeys, maa::MaaTrust};
    use adytum_governance::manifest::document::AzureTable;

    use super::*;

    fn trust(issuer: &str, names: &[&str], exponent: &str) -> Trust {
        let key = |name: &&str| format!(r#"{{"kty":"RSA","kid":"{name}","n":"AQAB","e":"{exponent}"}}"#);
        let keys = format!(r#"{{"keys":[{}]}}"#, names.iter().map(key).collect::<Vec<_>>().join(","));
        let trust = MaaTrust { issuer: issuer.to_owned(), keys: TokenKeys::parse(keys.as_bytes()).unwrap() };
        let table = AzureTable { issuer: issuer.to_owned(), keys };
        Trust { azure: vec![AzureService { trust, table }], ..Trust::default() }
    }

    #[test]
    fn services_and_keys_that_are_new_are_named() {
        let old = trust("https://a.example.com", &["one", "two"], "AQAB");
        assert_eq!(weaker_trust(&old, &old), Vec::<String>::new());
        // One key fewer.
        assert_eq!(
            weaker_trust(&old, &trust("https://a.example.com", &["one"], "AQAB")),
            Vec::<String>::new()
        );
        let said = |new: &Trust| weaker_trust(&old, new).join("; ");
        assert!(said(&trust("https://b.example.com", &["one"], "AQAB")).contains("in the broker's place"));
        assert!(said(&trust("https://a.example.com", &["one", "three"], "AQAB")).contains("new keys: three"));
        let simulation = Trust { vendors: [Vendor::Simulation].into(), ..Trust::default() };
        assert!(said(&simulation).contains("protect nothing"));
    }
}
