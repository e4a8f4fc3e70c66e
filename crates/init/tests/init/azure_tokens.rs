//! A workload that shows the broker a token of Azure Attestation in place of its own evidence: the
//! real `adytum-init`, a broker that trusts the service, and a service that lies.

use std::{collections::BTreeMap, fs, path::PathBuf};

use adytum_emulators::azure::{ISSUER, Lie, Options, Running};
use adytum_evidence::measurement::MrEnclave;

use crate::fixture::{Ended, Fixture, Provision, RunningBroker, Workload, memory_directory};

struct Site {
    fixture: Fixture,
    memory: tempfile::TempDir,
    services: Running,
    configuration: PathBuf,
}

impl Site {
    /// A workload whose configuration pins a service with this fault.
    async fn new(lie: Lie) -> Option<Self> {
        let (mut fixture, memory) = (Fixture::new()?, memory_directory()?);
        let services = Running::start(Options {
            platform: fixture.platform().clone(),
            client: MrEnclave([0; 32]),
            keys: BTreeMap::new(),
            lie,
        })
        .await;
        let azure = Some((ISSUER.to_owned(), services.token_keys()));
        fixture.provision = Provision { azure, ..Provision::default() };
        let at = memory.path().display();
        let secrets = format!("[[secret]]\nname = \"ssl_config\"\npath = \"{at}/ssl_config\"\n");
        let plain = fixture.configuration("plain", &Workload { tables: String::new(), secrets });
        let (service, roots) = (services.secure_services(), services.root());
        let table =
            format!("[broker.azure_attestation]\nservice = \"{service}\"\nroots = \"\"\"\n{roots}\"\"\"\n");
        let text = fs::read_to_string(&plain).unwrap() + &table;
        let configuration = fixture.directory.path().join("azure.toml");
        fs::write(&configuration, text).unwrap();
        Some(Self { fixture, memory, services, configuration })
    }

    async fn run(&self, broker: &RunningBroker) -> Ended {
        let script = format!("cat {}/ssl_config", self.memory.path().display());
        self.fixture.init(&self.configuration, broker.address, &script).flag("--fetch-timeout=3s").run().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_what_the_manifest_grants() {
    let Some(site) = Site::new(Lie::None).await else { return };
    let broker = site.fixture.broker(&site.configuration).await;
    let ended = site.run(&broker).await;
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "sesame"), "{ended:?}");
    assert!(ended.stderr.contains(&site.services.secure_services()), "the log names the service: {ended:?}");

    // The owners trust the service, and no quote: the same workload with its own evidence.
    let text = fs::read_to_string(&site.configuration).unwrap();
    let (plain, _) = text.split_once("[broker.azure_attestation]").unwrap();
    let quoting = site.fixture.directory.path().join("quoting.toml");
    fs::write(&quoting, plain).unwrap();
    let script = format!("cat {}/ssl_config", site.memory.path().display());
    let ended = site.fixture.init(&quoting, broker.address, &script).run().await;
    ended.assert_refused(77, "policy-refused");
    assert!(ended.stderr.contains("vendors (wanted"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lie_of_the_service_is_refused_and_explained() {
    for (lie, exit, code, says) in [
        // Somebody on the way, with a certificate of his own.
        (Lie::OtherServiceRoot, 69, "azure-unreachable", "certificate"),
        (Lie::OtherService, 69, "azure-unreachable", "certificate"),
        (Lie::OtherRuntimeData, 77, "evidence-not-bound", "not bound to this session"),
        (Lie::OtherIssuer, 77, "maa-service-not-trusted", ""),
        (Lie::ExpiredToken, 77, "token-expired", ""),
        (Lie::OtherTokenKey, 77, "token-signature-invalid", ""),
        (Lie::UnsignedToken, 77, "token-algorithm", ""),
        (Lie::SharedSecretToken, 77, "token-algorithm", ""),
        (Lie::AlteredToken, 77, "token-signature-invalid", ""),
        (Lie::DebugToken, 77, "policy-refused", "allow_debug"),
        (Lie::NoToken, 77, "azure-answer-malformed", ""),
        (Lie::LongToken, 77, "azure-answer-too-large", ""),
        (Lie::HugeToken, 77, "azure-answer-too-large", ""),
        (Lie::ServiceRefuses, 77, "azure-refused", "Unable to verify the quote."),
        (Lie::SlowService, 69, "handshake-timeout", "collecting evidence"),
    ] {
        let Some(site) = Site::new(lie).await else { return };
        let broker = site.fixture.broker(&site.configuration).await;
        let ended = site.run(&broker).await;
        ended.assert_refused(exit, code);
        assert!(ended.stderr.contains(says), "{lie:?}: no {says:?} in {ended:?}");
        assert!(ended.stdout.is_empty() && !ended.stderr.contains("sesame"), "{lie:?}: {ended:?}");
    }
}

/// A thief of the service's key, or the service itself, keeps a token of an earlier session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_session_or_broker_opens_nothing() {
    let Some(site) = Site::new(Lie::ReplayedToken).await else { return };
    let first = site.fixture.broker(&site.configuration).await;
    let ended = site.run(&first).await;
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "sesame"), "{ended:?}");
    site.run(&first).await.assert_refused(77, "evidence-replayed");
    // A broker that has not seen it: the same code, the same owners.
    let second = site.fixture.broker(&site.configuration).await;
    site.run(&second).await.assert_refused(77, "evidence-not-bound");
}
