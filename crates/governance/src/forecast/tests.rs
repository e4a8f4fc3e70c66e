use adytum_evidence::{
    claims::{Measured, Platform, TcbStatus},
    measurement::{MrEnclave, MrSigner, ReportData, RootKeyId},
    trust::Vendor,
};

use super::*;
use crate::{genesis::Genesis, manifest::Manifest};

const DAY: u64 = 86_400;

fn day(text: &str) -> UnixSeconds {
    text.parse::<Day>().unwrap().start()
}

fn claims(status: TcbStatus, advisories: &[&str]) -> Claims {
    Claims {
        vendor: Vendor::Intel,
        root_key_id: RootKeyId([1; 48]),
        debug: false,
        tcb_status: Some(status),
        advisory_ids: advisories.iter().map(|id| (*id).to_owned()).collect(),
        platform: Platform { id: "ab".to_owned(), fmspc: None, sgx: None },
        report_data: ReportData([0; 64]),
        measured: Measured::Sgx {
            mr_enclave: MrEnclave([0x5a; 32]),
            mr_signer: MrSigner([2; 32]),
            isv_prod_id: 0,
            isv_svn: 0,
            config_svn: 0,
            enclave: Default::default(),
        },
        collateral: None,
        announced: None,
    }
}

fn parse(grace: &str) -> Result<Workload, crate::manifest::ManifestError> {
    let key = adytum_signing::OwnerSigningKey::generate().unwrap().public_key();
    let genesis = Genesis::create([key], 1).unwrap().digest();
    let text = format!(
        "format = \"adytum manifest v1\"\ngenesis = \"{genesis}\"\nversion = 1\n[trust]\nvendors = [\"intel\"]\n\
         [[workload]]\nname = \"serving\"\n[workload.policy]\nvendors = [\"intel\"]\ntee = [\"sgx\"]\nmr_enclave = \
         [\"{}\"]\n{grace}",
        "5a".repeat(32)
    );
    Ok(Manifest::parse(&text)?.workloads.into_values().next().unwrap())
}

const GRACE: &str = "[workload.tcb_grace]\nfrom = \"2026-11-01\"\nuntil = \"2027-01-31\"\nadvisories = [\"INTEL-SA-01153\"]\n";

fn name() -> WorkloadName {
    "serving".parse().unwrap()
}

fn evaluation() -> NewerEvaluation {
    NewerEvaluation { number: 21, disclosed: day("2026-11-10") }
}

#[test]
fn a_platform_that_the_next_evaluation_calls_out_of_date_is_foreseen_for_six_weeks_after_the_disclosure() {
    let workload = parse("").unwrap();
    let (good, old) = (claims(TcbStatus::UpToDate, &[]), claims(TcbStatus::OutOfDate, &["INTEL-SA-01153"]));
    let outlook = |claims| Outlook { evaluation: evaluation(), claims: Ok(claims) };
    let now = day("2026-11-11");
    let foreseen = foresee(&name(), &workload, &good, Some(&outlook(&old)), now).unwrap();
    assert_eq!(foreseen.from, day("2026-12-22"));
    assert!(foreseen.from.0 - now.0 >= 28 * DAY, "four weeks at least");
    assert_eq!(foreseen.cause, Cause::TcbRecovery { number: 21 });
    let text = foreseen.to_string();
    for part in [
        "serving",
        "platform ab",
        "about 2026-12-22",
        "tcb_status",
        "OutOfDate",
        "INTEL-SA-01153",
        "tcb_grace",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Where that date has passed, it may be any day.
    let late = day("2027-03-01");
    assert_eq!(foresee(&name(), &workload, &good, Some(&outlook(&old)), late).unwrap().from, late);
    assert_eq!(foresee(&name(), &workload, &good, Some(&outlook(&good)), now), None);
    assert_eq!(foresee(&name(), &workload, &good, None, now), None);
    // Evidence that will not even verify.
    let revoked = Outlook { evaluation: evaluation(), claims: Err("the TCB is revoked".to_owned()) };
    let foreseen = foresee(&name(), &workload, &good, Some(&revoked), now).unwrap();
    assert!(foreseen.reason.contains("revoked"), "{foreseen}");
    // Nobody is warned of a peer that is not accepted now.
    assert_eq!(foresee(&name(), &workload, &old, Some(&outlook(&old)), now), None);
}

#[test]
fn a_grace_moves_the_refusal_to_its_end_and_no_further() {
    let workload = parse(GRACE).unwrap();
    let (good, old) = (claims(TcbStatus::UpToDate, &[]), claims(TcbStatus::OutOfDate, &["INTEL-SA-01153"]));
    let outlook = Outlook { evaluation: evaluation(), claims: Ok(&old) };
    let now = day("2026-11-11");
    let foreseen = foresee(&name(), &workload, &good, Some(&outlook), now).unwrap();
    assert_eq!((foreseen.cause, foreseen.from), (Cause::GraceEnds, day("2027-02-01")));
    assert!(foreseen.to_string().contains("from 2027-02-01 on"), "{foreseen}");
    // The same once that evaluation counts.
    let applied = foresee(&name(), &workload, &old, None, day("2026-12-24")).unwrap();
    assert_eq!((applied.cause, applied.from), (Cause::GraceEnds, day("2027-02-01")));
    // An advisory that the owners did not accept.
    let other = claims(TcbStatus::OutOfDate, &["INTEL-SA-01153", "INTEL-SA-01245"]);
    let outlook = Outlook { evaluation: evaluation(), claims: Ok(&other) };
    let foreseen = foresee(&name(), &workload, &good, Some(&outlook), now).unwrap();
    assert_eq!(foreseen.cause, Cause::TcbRecovery { number: 21 });
}

#[test]
fn a_grace_accepts_what_it_lists_while_it_lasts_and_nothing_else() {
    let workload = parse(GRACE).unwrap();
    let old = claims(TcbStatus::OutOfDate, &["INTEL-SA-01153"]);
    let first = day("2026-11-01");
    let end = day("2027-02-01");
    let until = "2027-01-31".parse().unwrap();
    for (time, admitted) in [
        (UnixSeconds(first.0 - 1), None),
        (first, Some(Admission::InGrace { until })),
        (UnixSeconds(end.0 - 1), Some(Admission::InGrace { until })),
        (end, None),
    ] {
        assert_eq!(workload.admits(&old, time), admitted, "{time}");
        let failures = workload.failures(&old, time);
        let rules: Vec<&str> = failures.iter().map(|failure| failure.rule.as_str()).collect();
        assert_eq!(rules.is_empty(), admitted.is_some());
        assert!(rules.is_empty() || rules == ["tcb_status", "tcb_grace"], "{failures:?}");
    }
    assert_eq!(workload.admits(&claims(TcbStatus::UpToDate, &[]), end), Some(Admission::ByPolicy));
    let others = [
        claims(TcbStatus::OutOfDateConfigurationNeeded, &["INTEL-SA-01153"]),
        claims(TcbStatus::OutOfDate, &["INTEL-SA-01245"]),
        Claims { debug: true, ..old.clone() },
        Claims { vendor: Vendor::Simulation, ..old },
    ];
    for other in others {
        assert_eq!(workload.admits(&other, first), None, "{other:?}");
    }
}

#[test]
fn a_grace_that_makes_no_sense_is_refused_with_its_field() {
    let edit = |from: &str, to: &str| parse(&GRACE.replace(from, to)).unwrap_err();
    for (error, field) in [
        (edit("2027-01-31", "2026-10-31"), "tcb_grace.until"),
        (edit("2027-01-31", "2028-01-31"), "tcb_grace.until"),
        (edit("[\"INTEL-SA-01153\"]", "[]"), "tcb_grace.advisories"),
        (edit("advisories", "tcb_status = [\"UpToDate\"]\nadvisories"), "tcb_grace.tcb_status"),
    ] {
        assert_eq!(error.code(), "manifest-value", "{error}");
        assert!(error.to_string().contains(field), "{error}");
    }
    assert_eq!(edit("2027-01-31", "2027-01-32").code(), "manifest-syntax");
}
