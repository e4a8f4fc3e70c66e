//! Rules about the age of collateral, and certificates that do not say what is asked.

use adytum_evidence::{
    claims::{CollateralClaims, SgxPlatform},
    clock::{Day, UnixSeconds},
};

use super::*;

fn of(number: Option<u32>, issued: &str, claims: Claims) -> Claims {
    let issued = issued.parse::<Day>().unwrap().start();
    Claims { collateral: Some(CollateralClaims { tcb_evaluation_data_number: number, issued }), ..claims }
}

#[test]
fn collateral_of_an_older_evaluation_is_refused_where_the_vendor_numbers_them() {
    let policy = Policy { minimum_tcb_evaluation_data_number: Some(20), ..full() };
    for claims in [sgx(), tdx()] {
        for (number, failed) in [(19, true), (20, false), (21, false)] {
            let claims = of(Some(number), "2026-10-08", claims.clone());
            assert_eq!(!rules(&policy, &claims).is_empty(), failed, "{number}");
        }
        let refusal = policy.judge(&of(Some(17), "2025-06-19", claims.clone())).unwrap_err();
        let text = refusal.to_string();
        assert_eq!(
            text,
            "minimum_tcb_evaluation_data_number: wanted at least 20, got 17, in collateral issued 2025-06-19"
        );
        assert_eq!(rules(&policy, &claims), ["minimum_tcb_evaluation_data_number"], "unknown is not enough");
    }
    assert_eq!(rules(&policy, &of(None, "2025-06-19", snp())), [""; 0], "the number is Intel's");
}

#[test]
fn collateral_from_before_the_day_is_refused_for_every_tee() {
    let policy = Policy { collateral_not_before: Some("2026-10-08".parse().unwrap()), ..full() };
    for claims in [sgx(), tdx(), snp()] {
        assert_eq!(rules(&policy, &of(None, "2026-10-08", claims.clone())), [""; 0]);
        let mut before = of(None, "2026-10-08", claims.clone());
        if let Some(collateral) = &mut before.collateral {
            collateral.issued = UnixSeconds(collateral.issued.0 - 1);
        }
        assert_eq!(rules(&policy, &before), ["collateral_not_before"]);
        assert_eq!(rules(&policy, &claims), ["collateral_not_before"], "unknown is not enough");
    }
}

#[test]
fn the_rules_are_read_as_they_are_written() {
    let policy = Policy {
        minimum_tcb_evaluation_data_number: Some(20),
        collateral_not_before: Some("2026-10-08".parse().unwrap()),
        ..full()
    };
    let text = toml::to_string(&policy).unwrap();
    assert!(text.contains("collateral_not_before = \"2026-10-08\""), "{text}");
    assert_eq!(toml::from_str::<Policy>(&text).unwrap(), policy);
    for bad in ["2026-10-32", "2026-10-08T00:00:00Z", "yesterday"] {
        assert!(toml::from_str::<Policy>(&text.replace("2026-10-08", bad)).is_err(), "{bad}");
    }
}

#[test]
fn a_rule_that_a_certificate_for_one_package_cannot_meet_says_so() {
    let sgx_platform = SgxPlatformRules {
        dynamic_platform: Some(false),
        cached_keys: Some(false),
        smt: Some(false),
        ..SgxPlatformRules::default()
    };
    let policy = Policy { sgx_platform, ..full() };
    // As the Processor CA's certificates are read.
    let by_nature = Some(false);
    let platform =
        SgxPlatform { dynamic_platform: by_nature, cached_keys: by_nature, ..SgxPlatform::default() };
    let mut claims = sgx();
    claims.platform.sgx = Some(platform);
    let refusal = policy.judge(&claims).unwrap_err();
    assert_eq!(refusal.failures.len(), 1, "{refusal}");
    assert!(refusal.to_string().contains("Processor CA"), "{refusal}");
}
