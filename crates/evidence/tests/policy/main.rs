//! Policies: how they are read, and which claims they accept.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics fails")]

mod platforms;

use std::collections::BTreeSet;

use adytum_evidence::{
    claims::{Claims, Measured, Platform, SnpGuestClaims, TcbStatus, TeeKind},
    measurement::{
        ConfigId, Endorser, FeatureMask, HostData, MrEnclave, MrSigner, SnpKeyDigest, SnpMeasurement,
        SnpPlatformInfo, SnpTcb, TdxMeasurement, WorkloadIdentity,
    },
    policy::*,
    trust::Vendor,
};
use adytum_testkit::claims::{self as claims_of, RUNTIME_REGISTERS, SNP_TCB, checked_for_aliases};
use proptest::prelude::*;

fn sgx() -> Claims {
    with_platform(Measured::Sgx {
        mr_enclave: MrEnclave([1; 32]),
        mr_signer: MrSigner([2; 32]),
        isv_prod_id: 3,
        isv_svn: 4,
        config_svn: 0,
        enclave: Default::default(),
    })
}

fn tdx() -> Claims {
    with_platform(claims_of::tdx_guest([5; 48], IDENTITY))
}

fn snp() -> Claims {
    with_platform(claims_of::snp_guest([10; 48], IDENTITY))
}

/// On the machine that [`full`] pins.
fn with_platform(measured: Measured) -> Claims {
    let platform = Platform { id: "ab".repeat(16), fmspc: None, sgx: None };
    Claims { platform, ..claims_of::of(measured) }
}

const IDENTITY: WorkloadIdentity = WorkloadIdentity([1; 32]);

/// Pins everything that the three claims above have.
fn full() -> Policy {
    Policy {
        vendors: BTreeSet::from([Vendor::Intel, Vendor::Amd]),
        tee: BTreeSet::from([TeeKind::Sgx, TeeKind::Tdx, TeeKind::Snp]),
        mr_enclave: BTreeSet::from([MrEnclave([1; 32])]),
        mr_signer: BTreeSet::from([MrSigner([2; 32])]),
        isv_prod_id: Some(3),
        minimum_isv_svn: Some(4),
        mr_td: BTreeSet::from([TdxMeasurement([5; 48])]),
        rtmr: Some(RUNTIME_REGISTERS.map(|register| BTreeSet::from([register]))),
        snp_measurement: BTreeSet::from([SnpMeasurement([10; 48])]),
        host_data: BTreeSet::from([HostData([1; 32])]),
        minimum_snp_tcb: Some(SNP_TCB),
        platforms: BTreeSet::from(["ab".repeat(16)]),
        ..Policy::for_identity(Vendor::Intel, TeeKind::Sgx, IDENTITY)
    }
    .validated()
    .unwrap()
}

fn rules(policy: &Policy, claims: &Claims) -> Vec<String> {
    let rules: Vec<String> = match policy.judge(claims) {
        Ok(()) => Vec::new(),
        Err(refusal) => {
            assert!(!refusal.failures.is_empty());
            refusal.failures.into_iter().map(|failure| failure.rule).collect()
        }
    };
    // To count and to describe is one judgement.
    assert_eq!(policy.count_failures(claims), rules.len());
    rules
}

#[test]
fn what_is_pinned_passes() {
    for claims in [sgx(), tdx(), snp()] {
        assert_eq!(full().judge(&claims), Ok(()));
    }
}

#[test]
fn every_rule_that_fails_is_named_in_order_with_wanted_and_got() {
    let claims = Claims {
        vendor: Vendor::Simulation,
        debug: true,
        tcb_status: Some(TcbStatus::OutOfDate),
        platform: Platform { id: "cd".repeat(16), fmspc: None, sgx: None },
        measured: Measured::Sgx {
            mr_enclave: MrEnclave([21; 32]),
            mr_signer: MrSigner([22; 32]),
            isv_prod_id: 23,
            isv_svn: 3,
            config_svn: 0,
            enclave: Default::default(),
        },
        ..sgx()
    };
    let policy = Policy { tee: BTreeSet::from([TeeKind::Tdx]), ..full() };
    let refusal = policy.judge(&claims).unwrap_err();
    let expected = [
        ("vendors", "one of intel, amd".to_owned(), "simulation".to_owned()),
        ("tee", "tdx".to_owned(), "sgx".to_owned()),
        ("identity", "01".repeat(32), format!("mr_enclave {}", "15".repeat(32))),
        ("mr_enclave", "01".repeat(32), "15".repeat(32)),
        ("mr_signer", "02".repeat(32), "16".repeat(32)),
        ("isv_prod_id", "3".to_owned(), "23".to_owned()),
        ("minimum_isv_svn", "at least 4".to_owned(), "3".to_owned()),
        ("tcb_status", "UpToDate".to_owned(), "OutOfDate".to_owned()),
        ("allow_debug", "a program that no debugger can read".to_owned(), "debug".to_owned()),
        ("platforms", "ab".repeat(16), "cd".repeat(16)),
    ]
    .map(|(rule, wanted, got)| Failure { rule: rule.to_owned(), wanted, got });
    assert_eq!(refusal.failures, expected);
    assert!(refusal.to_string().starts_with("vendors: wanted one of intel, amd, got simulation; tee:"));
    assert_eq!(refusal.code(), "policy-refused");
}

#[test]
fn each_rule_alone_refuses() {
    let altered = |change: fn(&mut Claims)| {
        let mut claims = sgx();
        change(&mut claims);
        rules(&full(), &claims)
    };
    assert_eq!(altered(|claims| claims.debug = true), ["allow_debug"]);
    assert_eq!(altered(|claims| claims.tcb_status = Some(TcbStatus::SWHardeningNeeded)), ["tcb_status"]);
    assert_eq!(altered(|claims| claims.platform.id = String::new()), ["platforms"]);
    assert_eq!(altered(|claims| claims.vendor = Vendor::Simulation), ["vendors"]);

    let altered = |change: fn(&mut [TdxMeasurement; 4], &mut TdxMeasurement)| {
        let mut claims = tdx();
        if let Measured::Tdx { rtmr, mr_td, .. } = &mut claims.measured {
            change(rtmr, mr_td);
        }
        rules(&full(), &claims)
    };
    assert_eq!(altered(|_, mr_td| mr_td.0[47] ^= 1), ["mr_td"]);
    assert_eq!(altered(|rtmr, _| rtmr[0].0[0] ^= 1), ["rtmr[0]"]);
    assert_eq!(altered(|rtmr, _| rtmr.swap(2, 3)), ["rtmr[2]", "rtmr[3]"]);

    let mut claims = snp();
    claims.measured = Measured::Snp {
        measurement: SnpMeasurement([0; 48]),
        host_data: HostData([0; 32]),
        vmpl: 2,
        tcb: SnpTcb { snp: 7, ..SNP_TCB },
        guest: checked_for_aliases(),
    };
    assert_eq!(
        rules(&full(), &claims),
        ["identity", "snp_measurement", "host_data", "minimum_snp_tcb", "vmpl"]
    );
}

#[test]
fn rules_of_one_tee_are_not_applied_to_another() {
    // A TDX guest has no MRENCLAVE; the policy says so for SGX only.
    let policy = Policy { identity: BTreeSet::new(), ..full() };
    assert_eq!(rules(&policy, &tdx()), [""; 0]);
    assert_eq!(rules(&policy, &snp()), [""; 0]);
}

#[test]
fn an_identity_must_be_carried_whole() {
    let mut claims = tdx();
    if let Measured::Tdx { mr_config_id, .. } = &mut claims.measured {
        mr_config_id.0[47] = 1;
    }
    assert_eq!(rules(&full(), &claims), ["identity"]);
}

#[test]
fn debug_passes_only_by_name() {
    let claims = Claims { debug: true, ..sgx() };
    assert_eq!(rules(&full(), &claims), ["allow_debug"]);
    assert_eq!(rules(&Policy { allow_debug: true, ..full() }, &claims), [""; 0]);
}

#[test]
fn any_firmware_of_amds_does_not_validate_and_is_refused() {
    let policy = Policy { minimum_snp_tcb: None, ..full() };
    assert_eq!(rules(&policy, &snp()), ["minimum_snp_tcb"]);
    assert_eq!(policy.validated(), Err(PolicyError::AnySnpTcb));
    // Intel's word on its own platforms is no rule for AMD's.
    let snp = Claims { tcb_status: None, ..snp() };
    assert_eq!(rules(&full(), &snp), [""; 0]);
}

#[test]
fn a_policy_that_pins_no_code_refuses_everything_and_does_not_validate() {
    for (tee, claims) in [(TeeKind::Sgx, sgx()), (TeeKind::Tdx, tdx()), (TeeKind::Snp, snp())] {
        let open = Policy {
            vendors: BTreeSet::from([Vendor::Intel, Vendor::Amd]),
            identity: BTreeSet::new(),
            ..Policy::for_identity(Vendor::Intel, tee, IDENTITY)
        };
        assert_eq!(rules(&open, &claims)[0], "identity", "{tee}");
        assert_eq!(open.validated(), Err(PolicyError::PinsNothing { tee }));
    }
    // What the host passes in pins no guest.
    for (tee, claims) in [(TeeKind::Tdx, tdx()), (TeeKind::Snp, snp())] {
        let vendor = claims.vendor;
        let policy = Policy::for_identity(vendor, tee, IDENTITY);
        assert_eq!(rules(&policy, &claims)[0], "identity", "{tee}");
        assert_eq!(policy.validated(), Err(PolicyError::PinsNothing { tee }));
    }
    Policy::for_identity(Vendor::Intel, TeeKind::Sgx, IDENTITY).validated().unwrap();
}

#[test]
fn a_signer_alone_pins_code_only_by_name() {
    let signer = Policy {
        identity: BTreeSet::new(),
        mr_signer: BTreeSet::from([MrSigner([2; 32])]),
        ..Policy::for_identity(Vendor::Intel, TeeKind::Sgx, IDENTITY)
    };
    assert_eq!(rules(&signer, &sgx()), ["identity"]);
    assert_eq!(signer.clone().validated(), Err(PolicyError::PinsNothing { tee: TeeKind::Sgx }));
    let by_name = Policy { allow_any_program: true, ..signer }.validated().unwrap();
    assert_eq!(by_name.judge(&sgx()), Ok(()));
    let anyone = Policy { mr_signer: BTreeSet::new(), ..by_name };
    assert_eq!(anyone.validated(), Err(PolicyError::AnyProgramOfAnyone));
}

const WRITTEN: &str = r#"
vendors = ["intel"]
tee = ["sgx"]
mr_enclave = ["0101010101010101010101010101010101010101010101010101010101010101"]
minimum_isv_svn = 3
tcb_status = ["UpToDate", "SWHardeningNeeded"]
platforms = ["ABABABABABABABABABABABABABABABAB"]
"#;

#[test]
fn toml_and_json_read_back() {
    let policy: Policy = toml::from_str(WRITTEN).unwrap();
    assert_eq!(policy.judge(&sgx()), Ok(()));
    for policy in [policy, full(), Policy::for_identity(Vendor::Simulation, TeeKind::Sgx, IDENTITY)] {
        let text = toml::to_string(&policy).unwrap();
        assert_eq!(toml::from_str::<Policy>(&text).unwrap(), policy, "{text}");
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy, "{text}");
    }
}

#[test]
fn by_default_debug_is_forbidden_and_the_tcb_up_to_date() {
    let written = WRITTEN.replace(r#"tcb_status = ["UpToDate", "SWHardeningNeeded"]"#, "");
    let policy: Policy = toml::from_str(&written).unwrap();
    assert_eq!(policy.tcb_status, BTreeSet::from([TcbStatus::UpToDate]));
    assert!(!policy.allow_debug && !policy.allow_any_program && !policy.allow_any_kernel);
}

#[test]
fn what_is_wrong_with_a_policy_is_said() {
    for (from, to, reason) in [
        (r#"["intel"]"#, "[]", "vendors is empty"),
        (r#"["intel"]"#, r#"["acme"]"#, "acme"),
        (r#"["sgx"]"#, "[]", "tee is empty"),
        (r#"["sgx"]"#, r#"["sgx", "tdx"]"#, "pins no code for tdx: give mr_td, and rtmr with register 0"),
        ("mr_enclave", "mr_encalve", "mr_encalve"),
        (r#"mr_enclave = ["01"#, r#"mr_enclave = ["0x"#, "'x'"),
        (r#"["UpToDate", "SWHardeningNeeded"]"#, "[]", "tcb_status is empty"),
        (r#""UpToDate""#, r#""Revoked""#, "Revoked"),
        ("ABAB", "PPID", "expected a PPID or chip id"),
        ("minimum_isv_svn = 3", "allow_any_program = true", "needs mr_signer"),
        ("minimum_isv_svn = 3", "minimum_isv_svn = 70000", "70000"),
    ] {
        let error = toml::from_str::<Policy>(&WRITTEN.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(reason), "{to}: {error}");
    }
    let nothing =
        WRITTEN.lines().filter(|line| !line.starts_with("mr_enclave")).collect::<Vec<_>>().join("\n");
    let error = toml::from_str::<Policy>(&nothing).unwrap_err().to_string();
    assert!(error.contains("pins no code for sgx: give identity or mr_enclave"), "{error}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,300}") {
        let _ = toml::from_str::<Policy>(&text);
        let _ = serde_json::from_str::<Policy>(&text);
    }

    #[test]
    fn another_enclave_never_passes(bytes in any::<[u8; 32]>()) {
        prop_assume!(bytes != [1; 32]);
        let mut claims = sgx();
        if let Measured::Sgx { mr_enclave, .. } = &mut claims.measured {
            *mr_enclave = MrEnclave(bytes);
        }
        let policy = Policy::for_identity(Vendor::Intel, TeeKind::Sgx, IDENTITY);
        prop_assert_eq!(rules(&policy, &claims), ["identity"]);
    }
}

#[test]
fn firmware_alone_does_not_pin_a_tdx_guest() {
    let measurement = |byte| BTreeSet::from([TdxMeasurement([byte; 48])]);
    let firmware = Policy {
        mr_td: measurement(5),
        ..Policy::for_identity(Vendor::Intel, TeeKind::Tdx, WorkloadIdentity([1; 32]))
    };
    let with = |rtmr| Policy { rtmr: Some(rtmr), ..firmware.clone() }.validated();
    let nothing = BTreeSet::new;
    let pins_nothing = Err(PolicyError::PinsNothing { tee: TeeKind::Tdx });
    assert_eq!(firmware.clone().validated(), pins_nothing);
    // The host boots its own kernel on the genuine firmware, or gives it other words.
    assert_eq!(with([measurement(6), nothing(), measurement(8), measurement(9)]), pins_nothing);
    assert_eq!(with([measurement(6), measurement(7), nothing(), measurement(9)]), pins_nothing);
    assert!(with([measurement(6), measurement(7), measurement(8), nothing()]).is_ok());
    // The host gives the genuine kernel ACPI tables of its own, with code in them.
    let any_acpi = with([nothing(), measurement(7), measurement(8), nothing()]);
    assert_eq!(any_acpi, Err(PolicyError::AnyAcpi));
    let by_name = |acpi, kernel, rtmr| {
        Policy { allow_any_acpi: acpi, allow_any_kernel: kernel, rtmr, ..firmware.clone() }.validated()
    };
    assert!(by_name(true, false, Some([nothing(), measurement(7), measurement(8), nothing()])).is_ok());
    assert!(by_name(false, true, Some([measurement(6), nothing(), nothing(), nothing()])).is_ok());
    assert!(by_name(true, true, None).is_ok());
    // Neither name is good for the other.
    assert_eq!(by_name(false, true, None), Err(PolicyError::AnyAcpi));
    assert_eq!(by_name(true, false, None), pins_nothing);
    // A policy that is not valid accepts nothing either.
    let unchecked = Policy { allow_any_kernel: true, ..firmware.clone() };
    assert_eq!(rules(&unchecked, &tdx()), ["identity"]);
}

/// On SGX hardware MRENCLAVE is no workload identity: the enclave states it.
#[test]
fn the_word_of_code_that_is_pinned_counts_and_of_no_other() {
    let Measured::Sgx { mr_enclave, .. } = sgx().measured else { panic!() };
    let (own, other) = (WorkloadIdentity([0x51; 32]), WorkloadIdentity([0x52; 32]));
    let mut policy = Policy::for_identity(Vendor::Intel, TeeKind::Sgx, own);
    let rules = |policy: &Policy, announced| match policy.judge(&sgx().announcing(announced)) {
        Ok(()) => Vec::new(),
        Err(refusal) => refusal.failures.into_iter().map(|failure| failure.rule).collect(),
    };
    // Without a measurement next to it, any enclave that announces the identity would have it.
    assert!(rules(&policy, Some(own)).contains(&"identity".to_owned()));
    policy.mr_enclave = [mr_enclave].into();
    policy.tcb_status = [sgx().tcb_status.unwrap()].into();
    assert_eq!(rules(&policy, Some(own)), Vec::<String>::new());
    assert_eq!(rules(&policy, Some(other)), ["identity"]);
    assert_eq!(rules(&policy, None), ["identity"]);
    policy.mr_enclave = [MrEnclave([0xee; 32])].into();
    assert_eq!(rules(&policy, Some(own)), ["mr_enclave"]);
    // Guests carry it where the host's launch put it, and only that counts.
    for (tee, guest) in [(TeeKind::Tdx, tdx()), (TeeKind::Snp, snp())] {
        let policy = Policy { tee: [tee].into(), vendors: [guest.vendor].into(), ..full() };
        let wanted = *full().identity.first().unwrap();
        let elsewhere = Policy { identity: [own].into(), ..policy };
        assert!(!guest.carries(own) && wanted != own);
        assert!(elsewhere.judge(&guest.announcing(Some(own))).is_err());
    }
}
