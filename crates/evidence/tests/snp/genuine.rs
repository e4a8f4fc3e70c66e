//! Genuine reports are accepted, with the claims that they make.

use std::collections::BTreeSet;

use adytum_evidence::{
    claims::{Measured, TeeKind},
    measurement::WorkloadIdentity,
    policy::Policy,
    snp::{Endorser, SnpProduct, SnpTcb},
    trust::Vendor,
};
use adytum_sim::snp::{SnpGuest, SnpPlatform};

use crate::chip::{HOST_DATA, MEASUREMENT, REPORT_DATA, evidence, guest, milan, verifier};

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
                let Measured::Snp { measurement, host_data, vmpl, tcb } = claims.measured else {
                    panic!("{claims:?}")
                };
                assert_eq!((measurement, host_data, vmpl), (MEASUREMENT, HOST_DATA, 0));
                assert_eq!(tcb.fmc.is_some(), product == SnpProduct::Turin);
                assert!(claims.carries(WorkloadIdentity(HOST_DATA.0)));
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
        // The host may ask for reports itself.
        (SnpGuest { vmpl: u32::MAX, ..guest() }, MINIMUM, "vmpl"),
        (SnpGuest { policy: guest().policy | debug, ..guest() }, MINIMUM, "allow_debug"),
        (guest(), SnpTcb { microcode: 211, ..MINIMUM }, "minimum_snp_tcb"),
        // Launched under older firmware than runs now.
        (SnpGuest { launch_tcb: Some([2, 0, 8, 4, 0, 0, 8, 210]), ..guest() }, MINIMUM, "minimum_snp_tcb"),
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
