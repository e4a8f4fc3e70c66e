//! Fields read from certificates; and real reports, which real keys have signed. Their
//! collateral lacks only AMD's CRL, which nobody has kept.

use adytum_testkit::recorded::vector;

use super::*;
use crate::{certificate::chain, snp::certificate_table};

#[test]
fn levels_are_whole_numbers_of_a_byte() {
    for (value, expected) in [
        (&[2, 1, 0][..], Some(0)),
        (&[2, 1, 127], Some(127)),
        (&[2, 2, 0, 217], Some(217)),
        (&[2, 1, 217], None),
        (&[2, 2, 0, 5], None),
        (&[2, 2, 1, 0], None),
        (&[4, 1, 5], None),
        (&[], None),
    ] {
        assert_eq!(level(value), expected, "{value:?}");
    }
}

#[test]
fn chips_are_named_in_both_forms() {
    let id = [7; 64];
    assert_eq!(hardware_id(SnpProduct::Milan, &id), Some(id));
    assert_eq!(hardware_id(SnpProduct::Milan, &[&[4, 64], &id[..]].concat()), Some(id));
    assert_eq!(hardware_id(SnpProduct::Milan, &id[..8]), None);
    let mut turin = [0; 64];
    turin[..8].fill(7);
    assert_eq!(hardware_id(SnpProduct::Turin, &id[..8]), Some(turin));
    assert_eq!(hardware_id(SnpProduct::Turin, &[&[4, 8], &id[..8]].concat()), Some(turin));
    assert_eq!(hardware_id(SnpProduct::Turin, &id), None);
}

/// The issuer of VCEKs, the root, and the issuer of VLEKs of a product.
fn authorities(product: SnpProduct) -> Option<[Vec<u8>; 3]> {
    let text = vector(&format!("snp/{}_ask_ark_asvk.pem", product.to_string().to_lowercase()))?;
    Some(chain::parse::<3>(&text).unwrap())
}

const JANUARY_2025: UnixSeconds = UnixSeconds(1_735_689_600);

#[test]
fn amds_roots_are_the_ones_named_and_have_issued_what_they_should() {
    for product in SnpProduct::ALL {
        let Some([vcek_issuer, root, vlek_issuer]) = authorities(product) else { return };
        assert_eq!(RootCertificate::parse(&root).unwrap().key_id, product.root_key_id(), "{product}");
        let (der, root) = (&root, x509(&root).unwrap());
        issued_by(der, &root).unwrap();
        for (issuer, endorser) in [(&vcek_issuer, Endorser::Vcek), (&vlek_issuer, Endorser::Vlek)] {
            issued_by(issuer, &root).unwrap();
            let issuer = x509(issuer).unwrap();
            let name = common_name(issuer.subject()).unwrap();
            assert_eq!(SnpProduct::of_issuer(name), Some((product, endorser)));
        }
    }
}

/// Real reports with the certificates of the keys that signed them.
fn real() -> Vec<(&'static str, Evidence, usize)> {
    let mut found = Vec::new();
    for (report, endorser, certificate, issuer) in [
        ("snp/coco_report.bin", Endorser::Vcek, "snp/coco_vcek.der", 0),
        ("snp/virtee_report_milan.hex", Endorser::Vcek, "snp/virtee_vcek_milan.der", 0),
        ("snp/coco_vlek_report.bin", Endorser::Vlek, "snp/coco_vlek.der", 2),
    ] {
        let (Some(mut bytes), Some(certificate)) = (vector(report), vector(certificate)) else { continue };
        if report.ends_with(".hex") {
            bytes = hex::decode(bytes.trim_ascii()).unwrap();
        }
        let table = certificate_table(endorser, &certificate);
        found.push((report, Evidence::snp_report(bytes, table), issuer));
    }
    found
}

#[test]
fn real_reports_are_signed_by_real_keys_of_their_chip_and_firmware() {
    let Some(authorities) = authorities(SnpProduct::Milan) else { return };
    for (name, evidence, issuer) in real() {
        let read = SnpEvidence::read(&evidence).unwrap();
        assert_eq!(read.product, SnpProduct::Milan);
        read.verify_under(&authorities[issuer], JANUARY_2025)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        // The other issuer has not certified it.
        let error = read.verify_under(&authorities[2 - issuer], JANUARY_2025).unwrap_err();
        assert_eq!(error.code(), "evidence-invalid", "{name}: {error}");
        assert!(!read.report.debug() && !read.report.migration(), "{name}");
    }
}

#[test]
fn a_real_report_that_was_changed_anywhere_is_refused() {
    let Some(authorities) = authorities(SnpProduct::Milan) else { return };
    for (name, evidence, issuer) in real() {
        for at in 0..evidence.bytes.len() {
            let mut changed = evidence.clone();
            changed.bytes[at] ^= 0x10;
            let verified = SnpEvidence::read(&changed)
                .and_then(|read| read.verify_under(&authorities[issuer], JANUARY_2025));
            assert!(verified.is_err(), "{name}: byte {at:#x} means nothing");
        }
    }
}

#[test]
fn a_real_certificate_of_another_key_of_the_same_chip_is_refused() {
    let Some([issuer, ..]) = authorities(SnpProduct::Milan) else { return };
    let (Some(report), Some(other)) =
        (vector("snp/coco_report.bin"), vector("snp/coco_vcek_invalid_new.der"))
    else {
        return;
    };
    let evidence = Evidence::snp_report(report, certificate_table(Endorser::Vcek, &other));
    let error =
        SnpEvidence::read(&evidence).and_then(|read| read.verify_under(&issuer, JANUARY_2025)).unwrap_err();
    assert_eq!(error.code(), "evidence-invalid", "{error}");
}

#[test]
fn real_certificates_count_until_their_end() {
    let Some(authorities) = authorities(SnpProduct::Milan) else { return };
    for (name, evidence, issuer) in real() {
        for now in [UnixSeconds(1_600_000_000), UnixSeconds(2_000_000_000)] {
            let error =
                SnpEvidence::read(&evidence).unwrap().verify_under(&authorities[issuer], now).unwrap_err();
            assert_eq!(error.code(), "evidence-outside-validity", "{name}: {error}");
        }
    }
}

#[test]
fn without_amds_crl_nothing_is_verified() {
    let (Some([issuer, root, _]), Some((_, evidence, _))) =
        (authorities(SnpProduct::Milan), real().into_iter().next())
    else {
        return;
    };
    let trusted: Vec<TrustRoot> = TrustRoot::amd().collect();
    let read = SnpEvidence::read(&evidence).unwrap();
    for crl in [Vec::new(), issuer.clone()] {
        let collateral = SnpCollateral { issuer: issuer.clone(), root: root.clone(), crl };
        let error = read.claims(&trusted[0], &collateral, JANUARY_2025).unwrap_err();
        assert_eq!(error.code(), "collateral-invalid", "{error}");
    }
}
