//! Rules about values that pin nothing, about platforms and about how guests are started.

use adytum_evidence::{
    claims::{SgxPlatform, SnpEndorsement},
    measurement::{SgxType, SnpGuestPolicy},
};

use super::*;

#[test]
fn zeros_are_no_measurement() {
    let zero = || BTreeSet::from([TdxMeasurement([0; 48])]);
    let with_register = |number: usize| {
        let mut policy = full();
        policy.rtmr.as_mut().unwrap()[number] = zero();
        policy
    };
    let key = || BTreeSet::from([SnpKeyDigest([0; 48])]);
    let no_level = SnpTcb { fmc: None, bootloader: 0, tee: 0, snp: 0, microcode: 0 };
    for (rule, policy) in [
        ("identity", Policy { identity: BTreeSet::from([WorkloadIdentity([0; 32])]), ..full() }),
        ("mr_enclave", Policy { mr_enclave: BTreeSet::from([MrEnclave([0; 32])]), ..full() }),
        ("mr_signer", Policy { mr_signer: BTreeSet::from([MrSigner([0; 32])]), ..full() }),
        ("mr_td", Policy { mr_td: zero(), ..full() }),
        ("rtmr[0]", with_register(0)),
        ("rtmr[1]", with_register(1)),
        ("rtmr[2]", with_register(2)),
        ("snp_measurement", Policy { snp_measurement: BTreeSet::from([SnpMeasurement([0; 48])]), ..full() }),
        ("host_data", Policy { host_data: BTreeSet::from([HostData([0; 32])]), ..full() }),
        ("minimum_snp_tcb", Policy { minimum_snp_tcb: Some(no_level), ..full() }),
        ("minimum_snp_tcb", Policy { minimum_snp_tcb: Some(SnpTcb { fmc: Some(0), ..no_level }), ..full() }),
        ("id_key_digest", Policy { id_key_digest: key(), ..full() }),
        ("author_key_digest", Policy { author_key_digest: key(), ..full() }),
    ] {
        assert_eq!(policy.clone().validated(), Err(PolicyError::Zeros { rule }));
        let error = toml::from_str::<Policy>(&toml::to_string(&policy).unwrap()).unwrap_err().to_string();
        assert!(error.contains(&format!("{rule} is all zeros")), "{error}");
    }
    // One zero among others is one too many; a guest that measures nothing later has one.
    let mut among_others = full();
    among_others.mr_td.insert(TdxMeasurement([0; 48]));
    assert_eq!(among_others.validated(), Err(PolicyError::Zeros { rule: "mr_td" }));
    with_register(3).validated().unwrap();
}

#[test]
fn memory_that_was_not_checked_for_aliases_passes_only_by_name() {
    let mut claims = snp();
    if let Measured::Snp { guest, .. } = &mut claims.measured {
        guest.platform.alias_check_complete = false;
    }
    assert_eq!(rules(&full(), &claims), ["snp_platform.allow_unchecked_aliases"]);
    let snp_platform = SnpPlatformRules { allow_unchecked_aliases: true, ..Default::default() };
    assert_eq!(rules(&Policy { snp_platform, ..full() }, &claims), [""; 0]);
}

#[test]
fn a_vlek_passes_only_by_name_and_has_no_machine() {
    let of = |csp_id: &str| {
        let mut claims = snp();
        if let Measured::Snp { guest, .. } = &mut claims.measured {
            guest.endorsement = SnpEndorsement::Vlek { csp_id: csp_id.to_owned() };
        }
        claims
    };
    let any_machine = Policy { platforms: BTreeSet::new(), ..full() };
    assert_eq!(rules(&any_machine, &of("cloud")), ["endorser"]);
    // A host of the cloud's writes the chip id that the owner wants to see.
    assert_eq!(rules(&full(), &of("cloud")), ["endorser", "platforms"]);
    let endorser = BTreeSet::from([Endorser::Vcek, Endorser::Vlek]);
    let both = Policy { endorser: endorser.clone(), ..full() };
    assert_eq!(rules(&both, &of("cloud")), ["platforms"]);
    assert_eq!(both.validated(), Err(PolicyError::PlatformsUnderVlek));

    let csp_id = BTreeSet::from(["cloud".to_owned()]);
    let of_cloud = Policy { endorser, csp_id: csp_id.clone(), ..any_machine.clone() }.validated().unwrap();
    assert_eq!(rules(&of_cloud, &of("cloud")), [""; 0]);
    assert_eq!(rules(&of_cloud, &of("another")), ["csp_id"]);
    assert_eq!(rules(&of_cloud, &snp()), [""; 0]);
    let only_vlek = Policy { endorser: BTreeSet::from([Endorser::Vlek]), ..of_cloud };
    assert_eq!(rules(&only_vlek, &snp()), ["endorser"]);
    let without = Policy { csp_id, ..any_machine };
    assert_eq!(without.validated(), Err(PolicyError::ProviderWithoutVlek));
    let none = Policy { endorser: BTreeSet::new(), ..full() };
    assert_eq!(none.validated(), Err(PolicyError::Empty { rule: "endorser" }));
}

#[test]
fn each_rule_about_a_snp_guest_refuses_what_it_does_not_want() {
    let minimum_abi = "1.55".parse().unwrap();
    let strict = Policy {
        id_key_digest: BTreeSet::from([SnpKeyDigest([1; 48])]),
        author_key_digest: BTreeSet::from([SnpKeyDigest([2; 48])]),
        minimum_guest_svn: Some(3),
        snp_guest_policy: SnpGuestPolicyRules {
            smt: Some(false),
            single_socket: Some(true),
            cxl: Some(false),
            minimum_abi: Some(minimum_abi),
        },
        snp_platform: SnpPlatformRules {
            allow_unchecked_aliases: false,
            smt: Some(false),
            ciphertext_hiding: Some(true),
            rapl_disabled: Some(true),
            tio: Some(false),
        },
        ..full()
    };
    let sound = SnpGuestClaims {
        endorsement: SnpEndorsement::Vcek,
        platform: SnpPlatformInfo::read(0b11_1000),
        policy: SnpGuestPolicy { minimum_abi, smt: false, single_socket: true, cxl: false },
        guest_svn: 3,
        id_key_digest: Some(SnpKeyDigest([1; 48])),
        author_key_digest: Some(SnpKeyDigest([2; 48])),
    };
    let judged = |change: fn(&mut SnpGuestClaims)| {
        let mut claims = snp();
        if let Measured::Snp { guest, .. } = &mut claims.measured {
            *guest = sound.clone();
            change(guest);
        }
        rules(&strict, &claims)
    };
    assert_eq!(judged(|_| ()), [""; 0]);
    assert_eq!(judged(|guest| guest.id_key_digest = None), ["id_key_digest"]);
    assert_eq!(judged(|guest| guest.id_key_digest = guest.author_key_digest), ["id_key_digest"]);
    assert_eq!(judged(|guest| guest.author_key_digest = None), ["author_key_digest"]);
    assert_eq!(judged(|guest| guest.guest_svn = 2), ["minimum_guest_svn"]);
    assert_eq!(judged(|guest| guest.policy.smt = true), ["snp_guest_policy.smt"]);
    assert_eq!(judged(|guest| guest.policy.single_socket = false), ["snp_guest_policy.single_socket"]);
    assert_eq!(judged(|guest| guest.policy.cxl = true), ["snp_guest_policy.cxl"]);
    assert_eq!(
        judged(|guest| guest.policy.minimum_abi = "1.54".parse().unwrap()),
        ["snp_guest_policy.minimum_abi"]
    );
    assert_eq!(judged(|guest| guest.platform.smt = true), ["snp_platform.smt"]);
    assert_eq!(judged(|guest| guest.platform.ciphertext_hiding = false), ["snp_platform.ciphertext_hiding"]);
    assert_eq!(judged(|guest| guest.platform.rapl_disabled = false), ["snp_platform.rapl_disabled"]);
    assert_eq!(judged(|guest| guest.platform.tio = true), ["snp_platform.tio"]);
    let text = toml::to_string(&strict).unwrap();
    assert_eq!(toml::from_str::<Policy>(&text).unwrap(), strict, "{text}");
}

#[test]
fn each_rule_about_intels_platforms_and_programs_refuses_what_it_does_not_want() {
    let mask = |bits| BTreeSet::from([FeatureMask(bits)]);
    let strict = Policy {
        config_id: BTreeSet::from([ConfigId([1; 64])]),
        xfrm: mask(7),
        td_attributes: mask(1 << 28),
        xfam: mask(0x602e7),
        advisories: Some(BTreeSet::from(["INTEL-SA-00289".to_owned()])),
        sgx_platform: SgxPlatformRules {
            sgx_type: BTreeSet::from([SgxType::Standard]),
            dynamic_platform: Some(false),
            cached_keys: Some(false),
            smt: Some(false),
        },
        ..full()
    };
    let no = Some(false);
    let platform =
        SgxPlatform { sgx_type: Some(SgxType::Standard), dynamic_platform: no, cached_keys: no, smt: no };
    let sound = |mut claims: Claims| {
        claims.platform.sgx = Some(platform);
        match &mut claims.measured {
            Measured::Sgx { enclave, .. } => {
                (enclave.config_id, enclave.xfrm) = (ConfigId([1; 64]), FeatureMask(7));
            }
            Measured::Tdx { td, .. } => {
                (td.attributes, td.xfam) = (FeatureMask(1 << 28), FeatureMask(0x602e7));
            }
            Measured::Snp { .. } => {}
        }
        claims
    };
    let judged = |change: fn(&mut Claims)| {
        let mut claims = sound(sgx());
        change(&mut claims);
        rules(&strict, &claims)
    };
    let platform = |change: fn(&mut SgxPlatform)| {
        let mut claims = sound(tdx());
        change(claims.platform.sgx.as_mut().unwrap());
        rules(&strict, &claims)
    };
    assert_eq!(judged(|_| ()), [""; 0]);
    assert_eq!(platform(|_| ()), [""; 0]);
    assert_eq!(rules(&strict, &snp()), [""; 0]);
    assert_eq!(
        judged(|claims| {
            claims.advisory_ids = ["INTEL-SA-00289", "INTEL-SA-00615"].map(str::to_owned).into();
        }),
        ["advisories"]
    );
    assert_eq!(judged(|claims| claims.advisory_ids = ["INTEL-SA-00289".to_owned()].into()), [""; 0]);
    assert_eq!(platform(|platform| platform.sgx_type = Some(SgxType::Scalable)), ["sgx_platform.sgx_type"]);
    assert_eq!(platform(|it| it.dynamic_platform = Some(true)), ["sgx_platform.dynamic_platform"]);
    assert_eq!(platform(|it| it.cached_keys = Some(true)), ["sgx_platform.cached_keys"]);
    assert_eq!(platform(|it| it.smt = Some(true)), ["sgx_platform.smt"]);
    // A certificate that does not say is no certificate that says what is wanted.
    let four =
        ["sgx_type", "dynamic_platform", "cached_keys", "smt"].map(|rule| format!("sgx_platform.{rule}"));
    assert_eq!(platform(|it| *it = SgxPlatform::default()), four);
    assert_eq!(judged(|claims| claims.platform.sgx = None), four);

    let enclave = |change: fn(&mut Measured)| {
        let mut claims = sound(sgx());
        change(&mut claims.measured);
        rules(&strict, &claims)
    };
    let set = |it: &mut Measured| {
        if let Measured::Sgx { enclave, .. } = it {
            (enclave.config_id, enclave.xfrm) = (ConfigId([0; 64]), FeatureMask(3));
        }
    };
    assert_eq!(enclave(set), ["config_id", "xfrm"]);
    let mut claims = sound(tdx());
    if let Measured::Tdx { td, .. } = &mut claims.measured {
        // Performance counters, and a state that the owner has not thought of.
        (td.attributes.0, td.xfam.0) = (td.attributes.0 | 1 << 63, td.xfam.0 | 1 << 9 << 10);
    }
    assert_eq!(rules(&strict, &claims), ["td_attributes", "xfam"]);
    let text = toml::to_string(&strict).unwrap();
    assert_eq!(toml::from_str::<Policy>(&text).unwrap(), strict, "{text}");
}
