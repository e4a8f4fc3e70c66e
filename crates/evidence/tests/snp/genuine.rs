//! Genuine reports are accepted, with the claims that they make.

use std::collections::BTreeSet;

use adytum_evidence::{
    claims::{Measured, SnpEndorsement, TeeKind},
    measurement::{SnpKeyDigest, WorkloadIdentity},
    policy::Policy,
    snp::{Endorser, SnpProduct, SnpTcb},
    trust::Vendor,
};
use adytum_sim::snp::{SnpGuest, SnpPlatform};

use crate::fixture::{HOST_DATA, MEASUREMENT, REPORT_DATA, evidence, guest, milan, verifier};

fn policy(minimum: SnpTcb) -> Policy {
    Policy {
        snp_measurement: BTreeSet::from([MEASUREMENT]),
        minimum_snp_tcb: Some(minimum),
        ..Policy::for_identity(Vendor::Simulation, TeeKind::Snp, WorkloadIdentity(HOST_DATA.0))
    }
    .validated()
    .unwrap()
}

const MINIMUM: SnpTcb = SnpTcb { fmc: None, bootloader: 3, tee: 0, snp: 8, microcode: 210 };

#[tokio::test]
async fn every_processor_and_every_kind_of_key_verifies() {
    for product in SnpProduct::ALL {
        for endorser in [Endorser::Vcek, Endorser::Vlek] {
            let platform = SnpPlatform::ephemeral(product, endorser).unwrap();
            for version in [2, 3, 5] {
                let evidence = platform.evidence(&SnpGuest { version, ..guest() }, REPORT_DATA).unwrap();
                let claims = verifier(&platform).verify(&evidence).await.unwrap();
                assert_eq!((claims.vendor, claims.debug), (Vendor::Simulation, false));
                assert_eq!(claims.report_data, REPORT_DATA);
                assert_eq!(claims.platform.id, hex::encode(platform.chip_id()));
                assert_eq!(claims.tcb_status, None, "AMD publishes none");
                assert!(claims.carries(WorkloadIdentity(HOST_DATA.0)));
                let Measured::Snp { measurement, host_data, vmpl, tcb, guest } = claims.measured else {
                    panic!("{claims:?}")
                };
                assert_eq!(guest.endorsement.endorser(), endorser);
                assert!(guest.platform.smt && guest.platform.alias_check_complete);
                assert_eq!((measurement, host_data, vmpl), (MEASUREMENT, HOST_DATA, 0));
                assert_eq!(tcb.fmc.is_some(), product == SnpProduct::Turin);
            }
        }
    }
}

#[tokio::test]
async fn verified_with_collateral_at_hand_it_says_the_same() {
    let platform = milan();
    let (verifier, evidence) = (verifier(&platform), evidence(&platform));
    let claims = verifier.verify(&evidence).await.unwrap();
    assert_eq!(verifier.verify_with(&evidence, &*platform.published()).unwrap(), claims);
}

#[tokio::test]
async fn what_the_policy_pins_passes_and_all_else_is_named() {
    let platform = milan();
    let verifier = verifier(&platform);
    let judged = async |guest: SnpGuest, minimum: SnpTcb| {
        let evidence = platform.evidence(&guest, REPORT_DATA).unwrap();
        policy(minimum).judge(&verifier.verify(&evidence).await.unwrap())
    };
    judged(guest(), MINIMUM).await.unwrap();
    let debug = 1 << 19;
    for (changed, minimum, rule) in [
        (
            SnpGuest { measurement: [9; 48].as_slice().try_into().unwrap(), ..guest() },
            MINIMUM,
            "snp_measurement",
        ),
        // Another image, command or environment: the same guest, with other host data.
        (SnpGuest { host_data: [9; 32].as_slice().try_into().unwrap(), ..guest() }, MINIMUM, "identity"),
        (SnpGuest { vmpl: 1, ..guest() }, MINIMUM, "vmpl"),
        // A memory module that lies about its size (BadRAM), or firmware that does not look.
        (SnpGuest { platform_info: 1, ..guest() }, MINIMUM, "snp_platform.allow_unchecked_aliases"),
        // The host may ask for reports itself.
        (SnpGuest { vmpl: u32::MAX, ..guest() }, MINIMUM, "vmpl"),
        (SnpGuest { policy: guest().policy | debug, ..guest() }, MINIMUM, "allow_debug"),
        (guest(), SnpTcb { microcode: 211, ..MINIMUM }, "minimum_snp_tcb"),
        // Launched under older firmware than runs now.
        (SnpGuest { launch_tcb: Some([2, 0, 0, 0, 0, 0, 8, 210]), ..guest() }, MINIMUM, "minimum_snp_tcb"),
    ] {
        let refusal = judged(changed, minimum).await.unwrap_err();
        let rules: Vec<_> = refusal.failures.iter().map(|failure| failure.rule.as_str()).collect();
        assert_eq!(rules, [rule], "{refusal}");
    }
}

#[test]
fn a_policy_must_say_which_firmware_is_too_old() {
    let text = format!(r#"{{"vendors": ["amd"], "tee": ["snp"], "snp_measurement": ["{MEASUREMENT}"]}}"#);
    let error = serde_json::from_str::<Policy>(&text).unwrap_err().to_string();
    assert!(error.contains("minimum_snp_tcb"), "{error}");
    let levels = r#", "minimum_snp_tcb": {"bootloader": 3, "tee": 0, "snp": 8, "microcode": 210}}"#;
    let policy: Policy = serde_json::from_str(&text.replace("]}", &format!("]{levels}"))).unwrap();
    assert_eq!(policy.minimum_snp_tcb, Some(MINIMUM));
}

#[tokio::test]
async fn a_clouds_key_is_told_apart_from_a_chips() {
    let platform = SnpPlatform::ephemeral(SnpProduct::Genoa, Endorser::Vlek).unwrap();
    let claims = verifier(&platform).verify(&evidence(&platform)).await.unwrap();
    let Measured::Snp { guest, .. } = &claims.measured else { panic!("{claims:?}") };
    let SnpEndorsement::Vlek { csp_id } = &guest.endorsement else { panic!("{guest:?}") };
    assert_eq!(csp_id, "CN=cc.simulated-cloud.example");

    let refusal = policy(MINIMUM).judge(&claims).unwrap_err();
    assert_eq!(refusal.to_string(), "endorser: wanted VCEK, got VLEK");
    let of = |csp_id: &str| Policy {
        endorser: BTreeSet::from([Endorser::Vlek]),
        csp_id: BTreeSet::from([csp_id.to_owned()]),
        ..policy(MINIMUM)
    };
    of(csp_id).judge(&claims).unwrap();
    assert_eq!(of("another cloud").judge(&claims).unwrap_err().failures[0].rule, "csp_id");
    // No certificate confirms the chip id in such a report.
    let machine = Policy { platforms: BTreeSet::from([claims.platform.id.clone()]), ..of(csp_id) };
    assert_eq!(machine.judge(&claims).unwrap_err().failures[0].rule, "platforms");
    assert_eq!(machine.validated().unwrap_err().code(), "policy-platforms-under-vlek");
}

#[tokio::test]
async fn who_signed_the_guest_and_its_version_are_claims() {
    let platform = milan();
    let signed = SnpGuest { guest_svn: 7, id_key_digest: [5; 48], author_key_digest: [6; 48], ..guest() };
    let claims = async |guest: &SnpGuest| {
        let evidence = platform.evidence(guest, REPORT_DATA).unwrap();
        verifier(&platform).verify(&evidence).await.unwrap()
    };
    let pinned = Policy {
        id_key_digest: BTreeSet::from([SnpKeyDigest([5; 48])]),
        author_key_digest: BTreeSet::from([SnpKeyDigest([6; 48])]),
        minimum_guest_svn: Some(7),
        ..policy(MINIMUM)
    };
    pinned.judge(&claims(&signed).await).unwrap();
    let refusal = pinned.judge(&claims(&guest()).await).unwrap_err();
    let rules: Vec<_> = refusal.failures.iter().map(|failure| failure.rule.as_str()).collect();
    assert_eq!(rules, ["id_key_digest", "author_key_digest", "minimum_guest_svn"]);
    let older = claims(&SnpGuest { guest_svn: 6, ..signed }).await;
    assert_eq!(pinned.judge(&older).unwrap_err().failures[0].rule, "minimum_guest_svn");
}
