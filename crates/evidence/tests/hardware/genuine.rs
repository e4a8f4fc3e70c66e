//! Genuine evidence becomes the right claims, or is refused for what it is.

use std::collections::BTreeSet;

use adytum_evidence::{
    claims::{Measured, TcbStatus, TdConfiguration, TeeKind},
    measurement::{FeatureMask, MrEnclave, SgxType, TdxMeasurement},
    policy::Policy,
    trust::Vendor,
    verifier::{TrustRoot, parse_dcap},
};
use adytum_testkit::recorded::Sample;

#[test]
fn sgx_quote_becomes_claims() {
    let sample = Sample::sgx();
    let claims = sample.verifier().verify_with(&sample.evidence(), &sample.collateral).unwrap();
    assert_eq!(claims.vendor, Vendor::Intel);
    assert_eq!(claims.root_key_id, TrustRoot::intel().root_key_id());
    assert_eq!(claims.tee(), TeeKind::Sgx);
    assert!(!claims.debug);
    assert_eq!(claims.tcb_status, Some(TcbStatus::ConfigurationAndSWHardeningNeeded));
    assert_eq!(
        claims.advisory_ids,
        BTreeSet::from(["INTEL-SA-00289".to_owned(), "INTEL-SA-00615".to_owned()])
    );
    assert_eq!(claims.platform.fmspc.unwrap().to_string(), "00a067110000");
    assert_eq!(claims.platform.id.len(), 32);
    assert!(claims.report_data.0.starts_with(b"Hello, world!"));
    // MRENCLAVE and MRSIGNER lie at bytes 64 and 128 of the report.
    let bytes = |at: usize| <[u8; 32]>::try_from(&sample.quote[48 + at..][..32]).unwrap();
    let Measured::Sgx { mr_enclave, mr_signer, enclave, .. } = claims.measured else { panic!("{claims:?}") };
    assert_eq!((mr_enclave.0, mr_signer.0), (bytes(64), bytes(128)));
    // CONFIGID lies at byte 192, XFRM at 56.
    assert_eq!(enclave.config_id.0, sample.quote[48 + 192..][..64]);
    assert_eq!(enclave.xfrm.0.to_le_bytes(), sample.quote[48 + 56..][..8]);
    // The Processor CA certifies how memory is protected, and nothing else.
    let platform = claims.platform.sgx.unwrap();
    assert_eq!((platform.sgx_type, platform.smt), (Some(SgxType::Standard), None));
}

#[test]
fn tdx_quotes_become_claims() {
    // The TD report follows the header, in version 5 after a descriptor.
    for (sample, body) in [(Sample::tdx_v4(), 48), (Sample::tdx_v5(), 54)] {
        let claims = sample.verifier().verify_with(&sample.evidence(), &sample.collateral).unwrap();
        assert_eq!(claims.tee(), TeeKind::Tdx);
        assert_eq!(claims.vendor, Vendor::Intel);
        assert!(!claims.debug);
        assert_eq!(claims.report_data.0, sample.quote[body + 520..][..64]);
        let field = |at: usize| TdxMeasurement::try_from(&sample.quote[body + at..][..48]).unwrap();
        let mask =
            |at: usize| FeatureMask(u64::from_le_bytes(sample.quote[body + at..][..8].try_into().unwrap()));
        assert_eq!(
            claims.measured,
            Measured::Tdx {
                mr_td: field(136),
                mr_config_id: field(184),
                rtmr: [field(328), field(376), field(424), field(472)],
                td: TdConfiguration { attributes: mask(120), xfam: mask(128) },
            }
        );
        // Servers with several packages: Intel's certificate says how they are configured.
        let platform = claims.platform.sgx.unwrap();
        assert!(platform.sgx_type.is_some() && platform.smt.is_some(), "{platform:?}");
        assert!(platform.dynamic_platform.is_some() && platform.cached_keys.is_some(), "{platform:?}");
    }
}

#[test]
fn a_platform_older_than_every_level_is_named_so() {
    let sample = Sample::tdx_v5_outdated();
    let error = sample.verifier().verify_with(&sample.evidence(), &sample.collateral).unwrap_err();
    assert_eq!(error.code(), "tcb-not-matched", "{error}");
    assert!(error.to_string().contains("No matching TCB level"), "{error}");
    assert!(!error.retry());
}

#[test]
fn every_byte_of_a_quote_belongs_to_a_structure() {
    for sample in [Sample::sgx(), Sample::tdx_v4(), Sample::tdx_v5(), Sample::tdx_v5_outdated()] {
        let mut end = 0;
        for (what, range) in parse_dcap(&sample.quote).unwrap().structures {
            assert_eq!(range.start, end, "{what}");
            end = range.end;
        }
        assert_eq!(end, sample.quote.len());
    }
}

#[test]
fn genuine_hardware_is_not_enough_for_the_policy() {
    let sample = Sample::sgx();
    let claims = sample.verifier().verify_with(&sample.evidence(), &sample.collateral).unwrap();
    let Measured::Sgx { mr_enclave, .. } = claims.measured else { panic!("{claims:?}") };

    let mut policy = Policy::for_identity(
        Vendor::Intel,
        TeeKind::Sgx,
        adytum_evidence::measurement::WorkloadIdentity(mr_enclave.0),
    );
    let refusal = policy.judge(&claims).unwrap_err();
    assert_eq!(refusal.to_string(), "tcb_status: wanted UpToDate, got ConfigurationAndSWHardeningNeeded");
    policy.tcb_status.insert(TcbStatus::ConfigurationAndSWHardeningNeeded);
    policy.judge(&claims).unwrap();
    policy.mr_enclave.insert(MrEnclave([1; 32]));
    assert_eq!(policy.judge(&claims).unwrap_err().failures[0].rule, "mr_enclave");
}
