//! The real binary with keys from AECS and from Key Vault: it loads what the measured
//! configuration names, and nothing without that.

#![cfg(feature = "simulation")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use adytum_api::tensorflow::serving::prediction_service_client::PredictionServiceClient;
use adytum_emulators::{aecs, azure};
use adytum_evidence::measurement::{MrEnclave, WorkloadIdentity};
use adytum_init::configuration::measure;
use adytum_sealed::{
    keys::ModelIdentity,
    seal::{SealOptions, seal_to_directory},
    statement::FileName,
};
use adytum_signing::OwnerSigningKey;
use adytum_sim::{Platform, Program};
use fixture::{
    onnx,
    server::{channel, float_tensor, request},
};

const SERVER: WorkloadIdentity = WorkloadIdentity([0xa1; 32]);
const BINARY: &str = env!("CARGO_BIN_EXE_adytum-serving");

/// A process that is ended whatever becomes of the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Fixture {
    directory: tempfile::TempDir,
    platform: Arc<Platform>,
    owner: OwnerSigningKey,
    key: ModelIdentity,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let platform = Platform::create(directory.path().join("platform")).unwrap();
        let (owner, key) = (OwnerSigningKey::generate().unwrap(), ModelIdentity::generate());
        let fixture = Self { directory, platform, owner, key };
        fixture.seal();
        fixture
    }

    /// `y = x + x`, version 3.
    fn seal(&self) {
        let file = onnx::model(
            &[onnx::node("Add", &["x", "x"], &["y"], &[])],
            &[onnx::value("x", onnx::FLOAT, &[-1])],
            &[onnx::value("y", onnx::FLOAT, &[-1])],
            &[],
        );
        let options =
            SealOptions { model: "m".parse().unwrap(), version: 3, file_name: FileName::model_onnx() };
        let recipient = self.key.recipient();
        seal_to_directory(&*file, &self.models(), &recipient, &self.owner, &options, &mut |_| {}).unwrap();
    }

    fn models(&self) -> PathBuf {
        self.directory.path().join("models")
    }

    fn rule(&self, minimum_version: u64) -> String {
        let signer = self.owner.public_key();
        format!("[[model]]\nname = \"m\"\nsigners = [\"{signer}\"]\nminimum_version = {minimum_version}\n")
    }

    fn configuration(&self, tables: &str) -> PathBuf {
        let path = self.directory.path().join("workload.toml");
        let arguments = "[program]\narguments = [\"--port={number}\", \"--model_name={name}\", \
                         \"--model_base_path={path}\", \"--allow_plaintext\"]\n";
        fs::write(&path, format!("format = \"adytum workload v1\"\n{arguments}{tables}")).unwrap();
        path
    }

    /// A configuration whose keys come from AECS.
    fn aecs(&self, rules: &str) -> PathBuf {
        let root = self.platform.root_certificate_pem();
        self.configuration(&format!(
            "[aecs]\nsimulation_root = \"\"\"\n{root}\"\"\"\n[aecs.policy]\nvendors = [\"simulation\"]\n\
             tee = [\"sgx\"]\nmr_enclave = [\"{SERVER}\"]\n[[secret]]\nname = \"model_key\"\n\
             location = \"service/model_key\"\n{rules}"
        ))
    }

    async fn aecs_server(&self, configuration: &Path) -> aecs::Running {
        let place = ("service".to_owned(), "model_key".to_owned());
        aecs::Running::start(aecs::Options {
            platform: self.platform.clone(),
            clients: self.platform.clone(),
            client: Some(identity(configuration)),
            program: Program::of(SERVER),
            secrets: BTreeMap::from([(place, self.key.to_text().to_string())]),
            lie: aecs::Lie::None,
            collateral: true,
        })
        .await
    }

    fn command(&self, configuration: &Path, source: &str) -> Command {
        let mut command = Command::new(BINARY);
        command
            .env_clear()
            .args(["--port=0", "--model_name=m", "--allow_plaintext", "--fetch-timeout=20s"])
            .arg(format!("--model_base_path={}", self.models().display()))
            .arg(format!("--configuration={}", configuration.display()))
            .arg(format!("--tee=simulation={}", self.directory.path().join("platform").display()))
            .arg(format!("--broker={source}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

fn identity(configuration: &Path) -> MrEnclave {
    MrEnclave(measure(configuration, BINARY.as_ref(), BINARY.as_ref()).unwrap().identity.0)
}

/// The server doubles a number.
async fn answers(mut command: Command) {
    let mut process = Process(command.spawn().unwrap());
    let mut stdout = BufReader::new(process.0.stdout.take().unwrap());
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        line
    })
    .await
    .unwrap();
    let port = line
        .strip_prefix("Running gRPC ModelServer at 0.0.0.0:")
        .and_then(|rest| rest.strip_suffix(" ...\n"))
        .map(|port| port.parse::<u16>().unwrap());
    let Some(port) = port else {
        let mut log = String::new();
        process.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        panic!("{line:?}: {log}");
    };
    let mut client = PredictionServiceClient::new(channel(([127, 0, 0, 1], port).into()).await);
    let answer = client.predict(request("m", "x", float_tensor(&[1], &[21.0]))).await.unwrap().into_inner();
    assert_eq!(answer.outputs["y"].float_val, [42.0]);
}

/// It ends with this exit code and this stable code.
async fn refused(mut command: Command, exit: i32, code: &str) {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{log}");
    assert!(log.contains(code), "no {code}: {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_opened_with_a_key_from_aecs_if_the_configuration_names_its_signer() {
    let fixture = Fixture::new();
    let configuration = fixture.aecs(&fixture.rule(3));
    let server = fixture.aecs_server(&configuration).await;
    answers(fixture.command(&configuration, &server.address())).await;

    // An older version than the floor.
    let configuration = fixture.aecs(&fixture.rule(4));
    let server = fixture.aecs_server(&configuration).await;
    refused(fixture.command(&configuration, &server.address()), 1, "no-servable-version").await;

    // Without a rule nothing is asked for.
    let configuration = fixture.aecs("");
    refused(fixture.command(&configuration, "127.0.0.1:1"), 78, "model-rules-missing").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_opened_with_a_key_from_a_vault() {
    let fixture = Fixture::new();
    // The vault has the identity's 32 bytes, which its text carries.
    let text = fixture.key.to_text();
    let (_, bytes) = bech32::decode(&text).unwrap();
    let services = azure::Running::start(azure::Options {
        platform: fixture.platform.clone(),
        client: MrEnclave([0; 32]),
        keys: BTreeMap::from([("model".to_owned(), ("oct-HSM".to_owned(), bytes))]),
        lie: azure::Lie::None,
    })
    .await;
    let configuration = fixture.configuration(&format!(
        "[key_vault]\nvault = \"{}\"\nattestation = \"{}\"\nroots = \"\"\"\n{}\"\"\"\n[[secret]]\n\
         name = \"model_key\"\nlocation = \"model\"\nencoding = \"age-identity\"\n{}",
        azure::VAULT,
        services.services(),
        services.root(),
        fixture.rule(1)
    ));
    services.release_to(identity(&configuration));
    let mut command = fixture.command(&configuration, &services.vault());
    command.env("AZURE_POD_IDENTITY_AUTHORITY_HOST", services.services());
    answers(command).await;
}
