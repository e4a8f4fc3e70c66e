//! Altered, foreign and swapped collateral is distinguished from altered evidence.

use adytum_evidence::collateral::QuoteCollateralV3;
use adytum_testkit::recorded::Sample;

/// The members of collateral, as bytes to alter.
const MEMBERS: [&str; 9] = [
    "pck_crl_issuer_chain",
    "root_ca_crl",
    "pck_crl",
    "tcb_info_issuer_chain",
    "tcb_info",
    "tcb_info_signature",
    "qe_identity_issuer_chain",
    "qe_identity",
    "qe_identity_signature",
];

fn alter(collateral: &QuoteCollateralV3, member: &str, change: impl Fn(&mut Vec<u8>)) -> QuoteCollateralV3 {
    let mut altered = collateral.clone();
    let text = |text: &mut String| {
        let mut bytes = std::mem::take(text).into_bytes();
        change(&mut bytes);
        // Bytes that are no text could not have been in this member.
        *text = String::from_utf8_lossy(&bytes).into_owned();
    };
    match member {
        "pck_crl_issuer_chain" => text(&mut altered.pck_crl_issuer_chain),
        "root_ca_crl" => change(&mut altered.root_ca_crl),
        "pck_crl" => change(&mut altered.pck_crl),
        "tcb_info_issuer_chain" => text(&mut altered.tcb_info_issuer_chain),
        "tcb_info" => text(&mut altered.tcb_info),
        "tcb_info_signature" => change(&mut altered.tcb_info_signature),
        "qe_identity_issuer_chain" => text(&mut altered.qe_identity_issuer_chain),
        "qe_identity" => text(&mut altered.qe_identity),
        "qe_identity_signature" => change(&mut altered.qe_identity_signature),
        _ => panic!("{member}"),
    }
    altered
}

fn length(collateral: &QuoteCollateralV3, member: &str) -> usize {
    let length = std::cell::Cell::new(0);
    alter(collateral, member, |bytes| length.set(bytes.len()));
    length.get()
}

#[test]
fn a_flipped_bit_in_any_member_is_refused_as_the_collaterals_fault() {
    for sample in [Sample::sgx(), Sample::tdx_v4()] {
        let verifier = sample.verifier();
        for member in MEMBERS {
            let length = length(&sample.collateral, member);
            for position in (0..length).step_by(length.div_ceil(80)).chain([length - 1]) {
                let altered =
                    alter(&sample.collateral, member, |bytes| bytes[position] ^= 1 << (position % 7));
                let outcome = verifier.verify_with(&sample.evidence(), &altered);
                let error = outcome.err().unwrap_or_else(|| panic!("{member}, byte {position} accepted"));
                assert!(error.code().starts_with("collateral-"), "{member}, byte {position}: {error}");
            }
        }
    }
}

#[test]
fn empty_and_cut_members_are_refused_as_the_collaterals_fault() {
    let sample = Sample::tdx_v4();
    let verifier = sample.verifier();
    for member in MEMBERS {
        let length = length(&sample.collateral, member);
        for keep in [0, 1, length / 2, length - 2] {
            let altered = alter(&sample.collateral, member, |bytes| bytes.truncate(keep));
            let error = verifier.verify_with(&sample.evidence(), &altered).unwrap_err();
            assert!(error.code().starts_with("collateral-"), "{member} cut to {keep}: {error}");
        }
    }
}

#[test]
fn the_chain_that_counts_is_the_quotes_own() {
    // Collateral may name a PCK chain; it is served for a whole platform family
    // and nothing of it is read.
    let sample = Sample::tdx_v5();
    assert!(sample.collateral.pck_certificate_chain.is_some());
    let expected = sample.verifier().verify_with(&sample.evidence(), &sample.collateral).unwrap();
    for chain in [None, Some("garbage".to_owned())] {
        let collateral = QuoteCollateralV3 { pck_certificate_chain: chain, ..sample.collateral.clone() };
        let claims = sample.verifier().verify_with(&sample.evidence(), &collateral).unwrap();
        assert_eq!(claims, expected);
    }
}

#[test]
fn collateral_of_another_platform_or_kind_is_refused() {
    let (sgx, tdx) = (Sample::sgx(), Sample::tdx_v4());
    for (quote, collateral) in [(&sgx, &tdx), (&tdx, &sgx)] {
        let error = quote.verifier().verify_with(&quote.evidence(), &collateral.collateral).unwrap_err();
        assert_eq!(error.code(), "collateral-invalid", "{error}");
    }
    // Member by member.
    let base = &sgx.collateral;
    let other = tdx.collateral.clone();
    for (what, mixed) in [
        ("PCK CRL", QuoteCollateralV3 { pck_crl: other.pck_crl, ..base.clone() }),
        (
            "TCB info",
            QuoteCollateralV3 {
                tcb_info: other.tcb_info,
                tcb_info_signature: other.tcb_info_signature,
                ..base.clone()
            },
        ),
        (
            "QE identity",
            QuoteCollateralV3 {
                qe_identity: other.qe_identity,
                qe_identity_signature: other.qe_identity_signature,
                ..base.clone()
            },
        ),
        ("root CA CRL", QuoteCollateralV3 { root_ca_crl: base.pck_crl.clone(), ..base.clone() }),
    ] {
        let error = sgx.verifier().verify_with(&sgx.evidence(), &mixed).unwrap_err();
        assert_eq!(error.code(), "collateral-invalid", "{what}: {error}");
        assert!(error.to_string().contains(what), "{what}: {error}");
    }
}
