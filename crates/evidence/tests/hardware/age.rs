//! The host chooses the clock and the source of collateral, and so the year: a platform
//! that is out of date today was up to date once.

use std::{collections::BTreeSet, sync::Arc};

use adytum_evidence::{
    claims::{Claims, Measured, TcbStatus},
    clock::{
        Clock, Day, FixedClock, UnixSeconds,
        floor::{FloorClock, SystemMonotonic},
    },
    collateral::DirectorySource,
    policy::Policy,
    trust::Vendor,
    verifier::{TrustRoot, Verifier},
};
use adytum_testkit::recorded::{Sample, verifier_at};

fn policy(claims: &Claims) -> Policy {
    let Measured::Tdx { mr_td, rtmr, .. } = &claims.measured else { panic!("{claims:?}") };
    let mut policy = Policy::without_code(Vendor::Intel, claims.tee());
    policy.mr_td.insert(*mr_td);
    policy.rtmr = Some(rtmr.map(|register| BTreeSet::from([register])));
    // The sample's guest measured nothing into some registers.
    (policy.allow_any_kernel, policy.allow_any_acpi) = (true, true);
    policy
}

#[test]
fn last_years_collateral_is_refused_by_a_policy_that_says_which_is_new_enough() {
    let sample = Sample::tdx_v4();
    let claims = sample.verifier().verify_with(&sample.evidence(), &sample.collateral).unwrap();
    assert_eq!(claims.tcb_status, Some(TcbStatus::UpToDate));
    let collateral = claims.collateral.unwrap();
    assert_eq!(collateral.tcb_evaluation_data_number, Some(17));
    assert_eq!(Day::of(collateral.issued).to_string(), "2025-06-19");
    let policy = policy(&claims);
    policy.judge(&claims).unwrap();
    for (rules, rule) in [
        (
            Policy { minimum_tcb_evaluation_data_number: Some(20), ..policy.clone() },
            "minimum_tcb_evaluation_data_number",
        ),
        (
            Policy { collateral_not_before: Some("2026-10-01".parse().unwrap()), ..policy },
            "collateral_not_before",
        ),
    ] {
        let refusal = rules.judge(&claims).unwrap_err();
        assert_eq!((refusal.failures.len(), refusal.failures[0].rule.as_str()), (1, rule), "{refusal}");
    }
}

/// Only dates that the vendor signed raise the floor of the clock.
#[test]
fn a_source_of_collateral_moves_the_floor_no_further_than_the_vendor_signed() {
    let sample = Sample::tdx_v4();
    let host = Arc::new(FixedClock::new(sample.time));
    let clock =
        Arc::new(FloorClock::with_monotonic(host, Arc::new(SystemMonotonic::default()), UnixSeconds(0)));
    let verifier =
        Verifier::new(vec![TrustRoot::intel()], Arc::new(DirectorySource::new("nowhere")), clock.clone());
    let mut lie = sample.collateral.clone();
    lie.tcb_info = lie.tcb_info.replace("\"issueDate\":\"2025", "\"issueDate\":\"2099");
    assert_ne!(lie.tcb_info, sample.collateral.tcb_info);
    verifier.verify_with(&sample.evidence(), &lie).unwrap_err();
    assert_eq!(clock.floor(), UnixSeconds(0));
    verifier.verify_with(&sample.evidence(), &sample.collateral).unwrap();
    assert_eq!(Day::of(clock.floor()).to_string(), "2025-06-19");
    assert!(clock.floor() < sample.time);
}

#[test]
fn the_same_quote_is_out_of_date_by_the_evaluation_of_the_next_year() {
    let (old, new) = (Sample::tdx_v4(), Sample::tdx_v5());
    let claims = match verifier_at(new.time).verify_with(&old.evidence(), &new.collateral) {
        Ok(claims) => claims,
        // The samples are of the same family of platforms as long as nobody replaces them.
        Err(error) => panic!("{error}"),
    };
    assert_eq!(claims.collateral.unwrap().tcb_evaluation_data_number, Some(20));
    assert_eq!(claims.tcb_status, Some(TcbStatus::OutOfDate));
    assert_eq!(claims.advisory_ids.len(), 4, "{:?}", claims.advisory_ids);
    let refusal = policy(&claims).judge(&claims).unwrap_err();
    assert_eq!(refusal.failures[0].rule, "tcb_status", "{refusal}");
}
