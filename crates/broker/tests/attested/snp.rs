//! Replicas in SEV-SNP guests: of a chip in software, whose reports and certificates
//! have AMD's form and go through the same verification.

use std::sync::Arc;

use adytum_evidence::{
    attester::Attester,
    evidence::Evidence,
    measurement::{HostData, ReportData, Sha256Digest, SnpMeasurement},
    policy::Policy,
    snp::{Endorser, SnpProduct},
};
use adytum_governance::manifest::document::WorkloadTable;
use adytum_sim::snp::{SnpAttester, SnpGuest, SnpPlatform};
use adytum_testkit::tee::ScriptedTee;
use tonic::Code;

use crate::fixture::{Fixture, apply, execute, fetch, put, stable};

const MEASUREMENT: SnpMeasurement = SnpMeasurement([0xa1; 48]);

/// What a guest is started with: images, commands and environments that its agent
/// enforces. Its digest is what the host must give as HOST_DATA.
const INIT_DATA: &str = "the images, commands and environments that are expected";

fn guest(init_data: &str) -> SnpGuest {
    SnpGuest::new(MEASUREMENT, HostData(Sha256Digest::of_bytes(init_data.as_bytes()).0))
}

/// With a broker that gives "ssl_config" to one guest on this machine.
fn fixture() -> Fixture {
    let mut fixture = Fixture::new(1, 1);
    fixture.snp = Some(SnpPlatform::ephemeral(SnpProduct::Genoa, Endorser::Vcek).unwrap());
    fixture
}

async fn provisioned(fixture: &Fixture) -> crate::fixture::RunningBroker {
    let running = fixture.start().await;
    let mut document = fixture.document(1);
    let root = fixture.snp.as_ref().unwrap().trust_root().unwrap();
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", root.certificate_der().unwrap()));
    document.trust.simulation_roots.push(pem);
    let policy: Policy = toml::from_str(&format!(
        "vendors = [\"simulation\"]\ntee = [\"snp\"]\nsnp_measurement = [\"{MEASUREMENT}\"]\nidentity = [\"{}\"]\n\
         minimum_snp_tcb = {{ bootloader = 3, tee = 0, snp = 8, microcode = 210 }}\n",
        guest(INIT_DATA).host_data
    ))
    .unwrap();
    document.workloads = vec![WorkloadTable { name: "serving".parse().unwrap(), models: Vec::new(), policy }];
    let owner = fixture.owner(running.address).await;
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&document)))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"open sesame"))).await.unwrap();
    running
}

fn on(platform: &Arc<SnpPlatform>, guest: SnpGuest) -> Arc<dyn Attester> {
    Arc::new(SnpAttester::new(Arc::clone(platform), guest))
}

#[tokio::test]
async fn the_guest_that_is_meant_has_its_secret_and_every_other_is_told_why_not() {
    let fixture = fixture();
    let running = provisioned(&fixture).await;
    let platform = fixture.snp.as_ref().unwrap();
    let meant = fixture.replica_with(on(platform, guest(INIT_DATA)), running.address).await.unwrap();
    let answer = fetch(&meant, &["ssl_config"]).await.unwrap();
    assert_eq!(answer.secrets[0].value, b"open sesame");

    for (other, rule) in [
        // Another image, command or environment in a genuine guest.
        (guest("another image"), "identity"),
        (SnpGuest { measurement: SnpMeasurement([0xb2; 48]), ..guest(INIT_DATA) }, "snp_measurement"),
        (SnpGuest { launch_tcb: Some([2, 0, 0, 0, 0, 0, 8, 210]), ..guest(INIT_DATA) }, "minimum_snp_tcb"),
        (SnpGuest { vmpl: 2, ..guest(INIT_DATA) }, "vmpl"),
        (SnpGuest { policy: 11 << 16, ..guest(INIT_DATA) }, "allow_debug"),
    ] {
        let session = fixture.replica_with(on(platform, other), running.address).await.unwrap();
        let refused = fetch(&session, &["ssl_config"]).await.unwrap_err();
        assert_eq!(stable(&refused), (Code::PermissionDenied, "policy-refused".to_owned(), false));
        assert!(refused.message().contains(&format!("{rule} (wanted")), "{rule}: {}", refused.message());
    }
    running.stop().await;
}

/// A guest that is genuine, and whose host relays or forges what it says.
type Forgery = Arc<dyn Fn(ReportData) -> Evidence + Send + Sync>;

fn hostile(forge: Forgery) -> Arc<ScriptedTee> {
    Arc::new(ScriptedTee::new(move |report_data| {
        let evidence = forge(report_data);
        async move { Ok(evidence) }
    }))
}

#[tokio::test]
async fn reports_that_are_forged_relayed_or_of_other_machines_are_refused() {
    let fixture = fixture();
    let running = provisioned(&fixture).await;
    let platform = fixture.snp.clone().unwrap();
    let other = SnpPlatform::ephemeral(SnpProduct::Genoa, Endorser::Vcek).unwrap();
    let made =
        |platform: &Arc<SnpPlatform>, report_data| platform.evidence(&guest(INIT_DATA), report_data).unwrap();
    let (own, foreign) = (Arc::clone(&platform), Arc::clone(&other));
    let forges: [(Forgery, &str); 4] = [
        // The measurement of the expected guest, in another guest's report.
        (
            Arc::new(move |report_data| {
                let mut evidence = made(&own, report_data);
                evidence.bytes[0x90] ^= 1;
                evidence
            }),
            "evidence-invalid",
        ),
        // A report of another session.
        (
            Arc::new({
                let own = Arc::clone(&platform);
                move |_| made(&own, ReportData([7; 64]))
            }),
            "evidence-not-bound",
        ),
        // A chip that nobody trusts, alone and with a certificate of one that is trusted.
        (
            Arc::new({
                let foreign = Arc::clone(&foreign);
                move |report_data| made(&foreign, report_data)
            }),
            "evidence-invalid",
        ),
        (
            Arc::new({
                let own = Arc::clone(&platform);
                move |report_data| {
                    let table = made(&own, report_data).endorsements;
                    Evidence { endorsements: table, ..made(&foreign, report_data) }
                }
            }),
            "evidence-invalid",
        ),
    ];
    for (forge, code) in forges {
        let refused = fixture.replica_with(hostile(forge), running.address).await.map(drop).unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }
    running.stop().await;
}
