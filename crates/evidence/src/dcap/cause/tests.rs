//! Each message that is read, provoked: of the exact version that is locked.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use adytum_sim::{Faults, Platform};
use cargo_metadata::MetadataCommand;
use dcap_qvl::{QuoteCollateralV3, verify::QuoteVerifier};
use serde_json::{Value, json};

use super::*;
use crate::{
    clock::UnixSeconds,
    dcap::{cryptography::Cryptography, diagnosis::explain, quote::parse_dcap},
};

/// The version whose messages [`MESSAGES`] holds.
const READ: &str = "0.7.1";

#[test]
fn the_messages_are_those_of_the_version_that_is_locked() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let metadata = |options: &[&str]| {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        MetadataCommand::new().manifest_path(manifest).other_options(options).exec()
    };
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let found = metadata(&["--offline", "--locked", "--filter-platform", &host])
        .or_else(|_| metadata(&["--locked"]))
        .unwrap();
    let versions: Vec<String> = found
        .packages
        .iter()
        .filter(|package| package.name.as_str() == "dcap-qvl")
        .map(|package| package.version.to_string())
        .collect();
    assert_eq!(versions, [READ], "read the messages of this version again, then name it here");
}

/// An error of `dcap-qvl` about this quote.
fn error(platform: &Platform, quote: &[u8], collateral: &QuoteCollateralV3) -> anyhow::Error {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let verifier = QuoteVerifier::<Cryptography>::new_with_config(platform.root_certificate_der().to_vec());
    verifier.allow_debug(true).verify(quote, collateral, now).unwrap_err()
}

const SGX_REPORT: usize = 384;
const TD_REPORT: usize = 584;
const TD_15_REPORT: usize = 648;
/// Where things lie in a quote over an SGX report.
const AUTHENTICATION_LENGTH: usize = 48 + SGX_REPORT;
const QE_REPORT_SIGNATURE: usize = AUTHENTICATION_LENGTH + 4 + 64 + 64 + SGX_REPORT;
const QE_AUTHENTICATION_LENGTH: usize = QE_REPORT_SIGNATURE + 64;

fn unchanged(_: &mut [u8]) {}

fn no_change(_: &mut Value) {}

struct Fixture {
    platform: Arc<Platform>,
    collateral: QuoteCollateralV3,
}

impl Fixture {
    fn new() -> Self {
        let platform = Platform::ephemeral().unwrap();
        let collateral = (*platform.collateral()).clone();
        Self { platform, collateral }
    }

    /// A sound enclave, with other collateral.
    fn collateral(&self, change: impl FnOnce(&mut QuoteCollateralV3)) -> anyhow::Error {
        let mut collateral = self.collateral.clone();
        change(&mut collateral);
        error(&self.platform, &self.quote(unchanged), &collateral)
    }

    fn quote(&self, quoting_enclave: impl FnOnce(&mut [u8])) -> Vec<u8> {
        self.platform.crafted_quote(&[0; SGX_REPORT], quoting_enclave).unwrap()
    }

    /// A sound enclave, with documents that say something else and are signed.
    fn documents(
        &self,
        tcb_info: impl FnOnce(&mut Value),
        qe_identity: impl FnOnce(&mut Value),
    ) -> anyhow::Error {
        self.collateral(|collateral| self.sign(collateral, tcb_info, qe_identity))
    }

    fn sign(
        &self,
        collateral: &mut QuoteCollateralV3,
        tcb_info: impl FnOnce(&mut Value),
        qe_identity: impl FnOnce(&mut Value),
    ) {
        let signed = |text: &str, change: &mut dyn FnMut(&mut Value)| {
            let mut document = serde_json::from_str(text).unwrap();
            change(&mut document);
            let text = document.to_string();
            let signature = self.platform.sign_document(&text).unwrap();
            (text, signature)
        };
        let (mut tcb_info, mut qe_identity) = (Some(tcb_info), Some(qe_identity));
        (collateral.tcb_info, collateral.tcb_info_signature) =
            signed(&collateral.tcb_info, &mut |document| tcb_info.take().unwrap()(document));
        (collateral.qe_identity, collateral.qe_identity_signature) =
            signed(&collateral.qe_identity, &mut |document| qe_identity.take().unwrap()(document));
    }

    /// A quote that was changed after it was signed.
    fn altered(&self, change: impl FnOnce(&mut Vec<u8>)) -> anyhow::Error {
        let mut quote = self.quote(unchanged);
        change(&mut quote);
        error(&self.platform, &quote, &self.collateral)
    }

    /// A TD with this report, and a TCB info for TDs.
    fn td(
        &self,
        length: usize,
        report: impl FnOnce(&mut [u8]),
        tcb_info: impl FnOnce(&mut Value),
    ) -> anyhow::Error {
        let (quote, collateral) = self.td_quote(length, report, tcb_info);
        error(&self.platform, &quote, &collateral)
    }

    fn td_quote(
        &self,
        length: usize,
        report: impl FnOnce(&mut [u8]),
        tcb_info: impl FnOnce(&mut Value),
    ) -> (Vec<u8>, QuoteCollateralV3) {
        let mut body = vec![0; length];
        // SEPT_VE_DISABLE, which every sound guest has.
        body[123] = 0x10;
        report(&mut body);
        let quote = self.platform.crafted_quote(&body, unchanged).unwrap();
        let mut collateral = self.collateral.clone();
        let for_tds = |document: &mut Value| {
            document["id"] = json!("TDX");
            document["tdxModule"] = json!({
                "mrsigner": "00".repeat(48),
                "attributes": "00".repeat(8),
                "attributesMask": "FF".repeat(8),
            });
            for level in document["tcbLevels"].as_array_mut().unwrap() {
                level["tcb"]["tdxtcbcomponents"] = json!(vec![json!({ "svn": 0 }); 16]);
            }
            tcb_info(document);
        };
        self.sign(&mut collateral, for_tds, |document| document["id"] = json!("TD_QE"));
        (quote, collateral)
    }

    fn td_attributes(&self, change: impl FnOnce(&mut [u8])) -> anyhow::Error {
        self.td(TD_REPORT, |report| change(&mut report[120..128]), no_change)
    }
}

/// For each of [`MESSAGES`], in that order, an error that says it.
fn provoked(fixture: &Fixture) -> Vec<anyhow::Error> {
    let tcb_info = |change: &dyn Fn(&mut Value)| fixture.documents(change, no_change);
    let qe_identity = |change: &dyn Fn(&mut Value)| fixture.documents(no_change, change);
    let other = Fixture::new();
    vec![
        tcb_info(&|it| it["tcbLevels"][0]["tcbStatus"] = json!("Revoked")),
        tcb_info(&|it| it["tcbLevels"][0]["tcb"]["pcesvn"] = json!(u16::MAX)),
        fixture.td(TD_REPORT, |report| report[1] = 5, no_change),
        qe_identity(&|it| it["tcbLevels"][0]["tcb"]["isvsvn"] = json!(u16::MAX)),
        qe_identity(&|it| it["tcbLevels"] = json!([])),
        fixture.td(
            TD_15_REPORT,
            |report| report[2] = 5,
            |it| {
                // What the guest was launched under counts, what it runs under now does not.
                let mut launched = it["tcbLevels"][0].clone();
                launched["tcb"]["tdxtcbcomponents"][2]["svn"] = json!(5);
                it["tcbLevels"][0]["tcbStatus"] = json!("TDRelaunchAdvised");
                it["tcbLevels"].as_array_mut().unwrap().push(launched);
            },
        ),
        fixture.collateral(|it| it.tcb_info_signature[7] ^= 1),
        fixture.collateral(|it| it.qe_identity_signature[7] ^= 1),
        fixture.collateral(|it| it.root_ca_crl = b"no list".to_vec()),
        fixture.collateral(|it| it.pck_crl = b"no list".to_vec()),
        tcb_info(&|it| it["fmspc"] = json!("FFFFFFFFFFFF")),
        tcb_info(&|it| it["id"] = json!("TDX")),
        tcb_info(&|it| it["tcbLevels"][0]["tcbStatus"] = json!("TDRelaunchAdvised")),
        fixture.td(TD_REPORT, unchanged, |it| it["tdxModule"]["mrsigner"] = json!("no number")),
        qe_identity(&|it| it["id"] = json!("another")),
        fixture.collateral(|it| it.tcb_info_issuer_chain = other.collateral.tcb_info_issuer_chain.clone()),
        fixture.collateral(|it| it.tcb_info_issuer_chain = it.tcb_info_issuer_chain.repeat(4)),
        fixture.td_attributes(|it| it[0] |= 0x02),
        fixture.td_attributes(|it| it[3] |= 0x20),
        fixture.td_attributes(|it| it[2] |= 0x02),
        fixture.td_attributes(|it| it[3] = 0),
        fixture.td(TD_15_REPORT, |report| report[600] = 1, no_change),
        fixture.td(TD_REPORT, |report| report[112] = 1, no_change),
        fixture.altered(|quote| quote[48] ^= 1),
        error(&fixture.platform, &fixture.quote(|report| report[320] ^= 1), &fixture.collateral),
        fixture.altered(|quote| {
            quote.drain(QE_AUTHENTICATION_LENGTH + 2..QE_AUTHENTICATION_LENGTH + 18);
            quote[QE_AUTHENTICATION_LENGTH..][..2].copy_from_slice(&16u16.to_le_bytes());
            let length = u32::try_from(quote.len() - AUTHENTICATION_LENGTH - 4).unwrap();
            quote[AUTHENTICATION_LENGTH..][..4].copy_from_slice(&length.to_le_bytes());
        }),
        fixture.altered(|quote| quote[QE_REPORT_SIGNATURE] ^= 1),
        error(&fixture.platform, &fixture.quote(|report| report[48] |= 2), &fixture.collateral),
        qe_identity(&|it| it["mrsigner"] = json!("00".repeat(32))),
        qe_identity(&|it| it["isvprodid"] = json!(u16::MAX)),
        qe_identity(&|it| it["miscselect"] = json!("01000000")),
        qe_identity(&|it| it["attributes"] = json!("00".repeat(16))),
    ]
}

#[test]
fn each_message_is_said_and_read_as_what_it_means() {
    let errors = provoked(&Fixture::new());
    assert_eq!(errors.len(), MESSAGES.len());
    for (error, message) in errors.iter().zip(MESSAGES) {
        let text = format!("{error:#}");
        let first = MESSAGES.iter().find(|message| text.contains(message.part));
        assert_eq!(first.map(|message| message.part), Some(message.part), "{text}");
        assert_eq!(Cause::of(error), message.cause, "{text}");
    }
}

#[test]
fn what_chains_and_lists_fail_by_is_read_by_its_type() {
    let sound = Faults::default();
    for faults in [Faults { pck_revoked: true, ..sound }, Faults { pck_ca_revoked: true, ..sound }] {
        let fixture = Fixture::new();
        fixture.platform.set_faults(faults).unwrap();
        let collateral = fixture.platform.collateral();
        let error = error(&fixture.platform, &fixture.quote(unchanged), &collateral);
        assert_eq!(Cause::of(&error), Cause::CertificateRevoked, "{error:#}");
    }
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let error = fixture.collateral(|it| it.pck_crl = other.collateral.pck_crl.clone());
    assert!(error.downcast_ref::<ChainError>().is_some_and(is_about_lists), "{error:#}");
    assert_eq!(Cause::of(&error), Cause::Collateral("PCK CRL"), "{error:#}");
}

#[test]
fn a_message_that_nobody_has_read_blames_the_quote() {
    assert_eq!(Cause::of(&anyhow::anyhow!("something new")), Cause::Quote("quote"));
}

/// `dcap-qvl` looks at the service TD first, which every migratable TD has.
#[test]
fn a_migratable_td_is_refused_as_one() {
    let fixture = Fixture::new();
    let refusal = |service_td: u8, attributes: u8| {
        let change = |report: &mut [u8]| {
            report[600] = service_td;
            report[123] |= attributes;
        };
        let (quote, collateral) = fixture.td_quote(TD_15_REPORT, change, no_change);
        let error = error(&fixture.platform, &quote, &collateral);
        let parsed = parse_dcap(&quote).unwrap();
        let now = UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
        let refusal = explain(&error, &quote, &parsed, &collateral, now);
        assert_eq!(refusal.code(), "configuration-unsafe", "{refusal}");
        refusal.to_string()
    };
    let migratable = 1 << 5;
    for refusal in [refusal(1, migratable), refusal(0, migratable)] {
        assert!(refusal.contains("migratable") && !refusal.contains("service TD"), "{refusal}");
    }
    assert!(refusal(1, 0).contains("service TD"));
}
