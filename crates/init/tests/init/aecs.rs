//! A workload whose keys come from AECS: the real `adytum-init`, with the file of Occlum's users,
//! against a server that was written apart from the client.

use std::{collections::BTreeMap, fs, path::PathBuf};

use adytum_emulators::aecs::{Lie, Options, Running};
use adytum_evidence::measurement::{MrEnclave, WorkloadIdentity};
use adytum_init::configuration::measure;
use adytum_sim::Program;

use crate::fixture::{Ended, Fixture, Shell, init_binary, memory_directory};

const SERVER: WorkloadIdentity = WorkloadIdentity([0xa1; 32]);

struct Aecs {
    fixture: Fixture,
    memory: tempfile::TempDir,
    configuration: PathBuf,
}

impl Aecs {
    /// The user's file, with the programs that `adytum-init` pins; `ra_config` and `addition`
    /// are as given.
    fn new(measurement: &str, addition: &str) -> Option<Self> {
        let (fixture, memory) = (Fixture::new()?, memory_directory()?);
        let library = |path: &PathBuf| {
            let sha256 = adytum_evidence::measurement::Sha256Digest::of_file(path).unwrap();
            format!(r#"{{"path": "{}", "sha256": "{sha256}"}}"#, path.display())
        };
        let libraries: Vec<String> = fixture.shell.libraries.iter().map(library).collect();
        let text = format!(
            r#"{{"kms_server": "unreachable.invalid:19527",
                "kms_keys": [
                    {{"key": "image_key", "path": "{0}/image_key", "service": "ignored"}},
                    {{"key": "demo_key", "path": "{0}/demo_key", "service": "service", "encode": "base64"}}
                ],
                "ua_env_pccs_url": "",
                "ra_config": {{"ua_policy_hex_ta_measurement": "{measurement}", "ua_policy_hex_signer": ""}},
                "adytum": {{
                    {addition}
                    "program": {{
                        "path": "{1}", "sha256": "{2}", "required_arguments": [["-c", "*"]]
                    }},
                    "library": [{3}]
                }}}}"#,
            memory.path().display(),
            Shell::PATH,
            fixture.shell.sha256,
            libraries.join(",")
        );
        let configuration = fixture.directory.path().join("init_aecs.json");
        fs::write(&configuration, text).unwrap();
        Some(Self { fixture, memory, configuration })
    }

    fn verified() -> Option<Self> {
        let new = Self::new(&SERVER.to_string(), "")?;
        let root = new.fixture.platform().root_certificate_pem().replace('\n', "\\n");
        let addition = format!(r#""vendors": ["simulation"], "simulation_root": "{root}","#);
        let text = fs::read_to_string(&new.configuration).unwrap();
        fs::write(
            &new.configuration,
            text.replacen("\"adytum\": {", &format!("\"adytum\": {{{addition}"), 1),
        )
        .unwrap();
        Some(new)
    }

    async fn server(&self, lie: Lie) -> Running {
        let identity = measure(&self.configuration, init_binary(), Shell::PATH.as_ref()).unwrap().identity;
        let platform = self.fixture.platform().clone();
        let secret = |service: &str, name: &str, value: &str| {
            ((service.to_owned(), name.to_owned()), value.to_owned())
        };
        Running::start(Options {
            clients: platform.clone(),
            platform,
            client: Some(MrEnclave(identity.0)),
            program: Program::of(SERVER),
            secrets: BTreeMap::from([
                secret("service1", "image_key", "c7-32-b3-ed-44-df-ec-7b-25-2d-9a-32-38-8d-58-61"),
                secret("service", "demo_key", "c2VzYW1l"),
            ]),
            lie,
            collateral: true,
        })
        .await
    }

    /// Runs a program that prints both keys; the server's address comes from the host.
    async fn run(&self, server: &Running) -> Ended {
        let at = self.memory.path().display();
        let script = format!("cat {at}/image_key; echo; cat {at}/demo_key");
        self.fixture
            .init_without_address(&self.configuration, &script)
            .flag("--fetch-timeout=20s")
            .environment("OCCLUM_INIT_RA_KMS_SERVER", &server.address())
            .run()
            .await
    }
}

#[tokio::test]
async fn a_program_gets_its_keys_from_aecs() {
    let Some(aecs) = Aecs::verified() else { return };
    let server = aecs.server(Lie::None).await;
    let ended = aecs.run(&server).await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!(ended.stdout, "c7-32-b3-ed-44-df-ec-7b-25-2d-9a-32-38-8d-58-61\nsesame");
    assert!(!ended.stderr.contains("sesame") && !ended.stderr.contains("c7-32"), "{ended:?}");
    assert_eq!(fs::read_dir(aecs.memory.path()).unwrap().count(), 0, "the files are removed");
}

#[tokio::test]
async fn a_server_that_lies_gives_nothing() {
    let Some(aecs) = Aecs::verified() else { return };
    for (lie, code) in [
        (Lie::OtherEnclave, "aecs-server-refused"),
        (Lie::WrongChain, "untrusted-root"),
        (Lie::OtherKey, "aecs-key-not-bound"),
        (Lie::OtherNonce, "aecs-nonce"),
    ] {
        let server = aecs.server(lie).await;
        aecs.run(&server).await.assert_refused(77, code);
    }
}

#[tokio::test]
async fn an_unverified_server_needs_a_measured_word() {
    let Some(nobody) = Aecs::new("", "") else { return };
    let Some(anyone) = Aecs::new("", "\"allow_unverified_aecs\": true,") else { return };
    let server = anyone.server(Lie::OtherEnclave).await;
    nobody.run(&server).await.assert_refused(78, "configuration-aecs-unverified");
    let ended = anyone.run(&server).await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stderr.contains("aecs-unverified"), "{ended:?}");
}

/// A broker's pins don't make an AECS server of it, and the reverse.
#[tokio::test]
async fn no_source_takes_the_place_of_another() {
    let Some(aecs) = Aecs::verified() else { return };
    let configuration = aecs.fixture.configuration("broker", &crate::fixture::Workload::default());
    let broker = aecs.fixture.broker(&configuration).await;
    let ended =
        aecs.fixture.init(&aecs.configuration, broker.address, "true").flag("--fetch-timeout=2s").run().await;
    ended.assert_refused(69, "aecs-unreachable");
    let server = aecs.server(Lie::None).await;
    let ended = aecs
        .fixture
        .init(&configuration, server.address().parse().unwrap(), "true")
        .flag("--fetch-timeout=2s")
        .run()
        .await;
    assert_ne!(ended.code(), 0, "{ended:?}");
}
