//! Real quotes of other collections, without collateral: they are read, their
//! chains end in Intel's root, and what they need is known.

use adytum_evidence::{
    claims::{Measured, TeeKind},
    collateral::PckCa,
    evidence::Evidence,
    measurement::WorkloadIdentity,
    policy::Policy,
    trust::Vendor,
    verifier::parse_dcap,
};

use adytum_testkit::recorded::{JUNE_2025, Sample, vector, verifier_at};

#[tokio::test]
async fn real_quotes_are_read_and_found_to_chain_to_intel() {
    for (name, tee, version) in [
        ("sgx/occlum_sgx_quote_v3.dat", TeeKind::Sgx, 3),
        ("sgx/automata_solana_sgx_quote_v3.bin", TeeKind::Sgx, 3),
        ("sgx/automata_quote_v3.hex", TeeKind::Sgx, 3),
        ("tdx/coco_tdx_quote_v4.dat", TeeKind::Tdx, 4),
        ("tdx/coco_tdx_quote_v5.dat", TeeKind::Tdx, 5),
        ("tdx/google_tdx_quote_v5.dat", TeeKind::Tdx, 5),
        ("tdx/automata_alibaba_tdx_quote_v5.dat", TeeKind::Tdx, 5),
    ] {
        let Some(mut bytes) = vector(name) else { continue };
        if name.ends_with(".hex") {
            bytes = hex::decode(bytes.trim_ascii()).unwrap();
        }
        let quote = parse_dcap(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((quote.tee, quote.version), (tee, version), "{name}");
        assert!(matches!(quote.request.ca, PckCa::Processor | PckCa::Platform));
        // The chain holds, so collateral is asked for, and there is none.
        let error = verifier_at(JUNE_2025).verify(&Evidence::dcap_quote(bytes.clone())).await.unwrap_err();
        assert_eq!(error.code(), "collateral-missing", "{name}: {error}");
    }
}

#[test]
fn a_real_debug_enclave_is_claimed_as_one_and_refused_by_the_policy() {
    // Made on the same kind of machine as the sample, whose collateral serves.
    let Some(quote) = vector("sgx/automata_solana_sgx_quote_v3.bin") else { return };
    let sample = Sample { quote, ..Sample::sgx() };
    let claims = sample.verifier().verify_with(&sample.evidence(), &sample.collateral).unwrap();
    assert!(claims.debug);
    let Measured::Sgx { mr_enclave, .. } = claims.measured else { panic!("{claims:?}") };
    let mut policy = Policy::for_identity(Vendor::Intel, TeeKind::Sgx, WorkloadIdentity(mr_enclave.0));
    policy.tcb_status.insert(claims.tcb_status.unwrap());
    assert_eq!(policy.judge(&claims).unwrap_err().failures[0].rule, "allow_debug");
    policy.allow_debug = true;
    policy.judge(&claims).unwrap();
}

#[test]
fn text_after_a_quote_is_refused() {
    let Some(bytes) = vector("tdx/google_tdx_prod_quote_SPR_E4.dat") else { return };
    let error = parse_dcap(&bytes).unwrap_err();
    assert_eq!(error.code(), "evidence-malformed");
    assert!(error.to_string().contains("39 bytes follow"), "{error}");
    parse_dcap(&bytes[..bytes.len() - 39]).unwrap();
}

#[test]
fn the_vectors_are_the_samples() {
    for (name, sample) in
        [("sgx/dcapqvl_sgx_quote_v3.bin", Sample::sgx()), ("tdx/dcapqvl_tdx_quote_v4.bin", Sample::tdx_v4())]
    {
        let Some(bytes) = vector(name) else { continue };
        assert_eq!(bytes, sample.quote, "{name}");
    }
}
