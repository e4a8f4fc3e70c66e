//! A workload whose keys come from Azure Key Vault, and one that gets a token of Azure
//! Attestation: the real `adytum-init`, against services that were written apart from the
//! clients.

use std::{collections::BTreeMap, fs, path::PathBuf};

use adytum_emulators::azure::{Lie, Options, Running, VAULT};
use adytum_evidence::{
    evidence::Evidence,
    measurement::{MrEnclave, Sha256Digest},
};
use adytum_init::configuration::measure;
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::fixture::{Fixture, Init, Shell, init_binary, memory_directory};

struct Azure {
    fixture: Fixture,
    memory: tempfile::TempDir,
    configuration: PathBuf,
}

impl Azure {
    /// A workload with these tables besides its program.
    fn new(tables: impl Fn(&str) -> String) -> Option<Self> {
        let (fixture, memory) = (Fixture::new()?, memory_directory()?);
        let library = |path: &PathBuf| {
            let digest = Sha256Digest::of_file(path).unwrap();
            format!("[[library]]\npath = \"{}\"\nsha256 = \"{digest}\"\n", path.display())
        };
        let text = format!(
            "format = \"adytum workload v1\"\n[program]\npath = \"{}\"\nsha256 = \"{}\"\n\
             required_arguments = [[\"-c\", \"*\"]]\n{}\n{}",
            Shell::PATH,
            fixture.shell.sha256,
            fixture.shell.libraries.iter().map(library).collect::<String>(),
            tables(&memory.path().display().to_string())
        );
        let configuration = fixture.directory.path().join("azure.toml");
        fs::write(&configuration, text).unwrap();
        Some(Self { fixture, memory, configuration })
    }

    /// Adds tables to the configuration.
    fn add(&mut self, tables: &str) {
        let text = fs::read_to_string(&self.configuration).unwrap();
        fs::write(&self.configuration, text + tables).unwrap();
    }

    /// Services that release keys to this workload.
    async fn services(&self, lie: Lie, client: MrEnclave) -> Running {
        let key = |kind: &str, bytes: &[u8]| (kind.to_owned(), bytes.to_vec());
        Running::start(Options {
            platform: self.fixture.platform().clone(),
            client,
            keys: BTreeMap::from([("model".to_owned(), key("oct-HSM", &[0x5a; 32]))]),
            lie,
        })
        .await
    }

    fn identity(&self) -> MrEnclave {
        MrEnclave(measure(&self.configuration, init_binary(), Shell::PATH.as_ref()).unwrap().identity.0)
    }

    fn init(&self, script: &str) -> Init {
        self.fixture.init_without_address(&self.configuration, script).flag("--fetch-timeout=20s")
    }
}

fn key_vault(at: &str, services: &Running) -> String {
    format!(
        "[key_vault]\nvault = \"{VAULT}\"\nattestation = \"{}\"\nroots = \"\"\"\n{}\"\"\"\n[[secret]]\nname = \"model_key\"\n\
         location = \"model\"\nencoding = \"hexadecimal\"\npath = \"{at}/model_key\"\n",
        services.services(),
        services.root(),
    )
}

#[tokio::test]
async fn a_program_gets_its_key_from_a_vault_and_from_no_liar() {
    for (lie, code) in [
        (Lie::None, None),
        (Lie::OtherVault, Some("key-release-other-vault")),
        (Lie::AlteredPayload, Some("key-release-signature")),
        (Lie::OtherKey, Some("key-release-other-key")),
    ] {
        let Some(mut azure) = Azure::new(|_| String::new()) else { return };
        // The workload pins the services, and the key's policy pins the workload.
        let services = azure.services(lie, MrEnclave([0; 32])).await;
        let at = azure.memory.path().display().to_string();
        azure.add(&key_vault(&at, &services));
        services.release_to(azure.identity());
        let ended = azure
            .init(&format!("cat {at}/model_key"))
            .environment("ADYTUM_BROKER", &services.vault())
            .environment("AZURE_POD_IDENTITY_AUTHORITY_HOST", &services.services())
            .run()
            .await;
        match code {
            None => {
                assert_eq!(ended.code(), 0, "{ended:?}");
                assert_eq!(ended.stdout, "5a".repeat(32));
            }
            Some(code) => ended.assert_refused(77, code),
        }
        assert!(!ended.stderr.contains("5a5a"), "{ended:?}");
    }
}

/// The files are byte for byte what Occlum's demo writes: both are JSON.
#[tokio::test]
async fn a_quote_and_a_token_are_written_as_the_demo_writes_them() {
    let data = STANDARD.encode("example");
    let tables = |at: &str| format!("[azure_attestation]\ndirectory = \"{at}\"\nreport_data = \"{data}\"\n");
    let Some(azure) = Azure::new(tables) else { return };
    let services = azure.services(Lie::None, azure.identity()).await;
    let at = azure.memory.path().display().to_string();
    let ended = azure
        .init(&format!("cat {at}/quote_base64; echo; cat {at}/token"))
        .environment("MAA_PROVIDER_URL", &services.services())
        .environment("MAA_TOKEN_PATH", &at)
        .environment("MAA_REPORT_DATA", &data)
        .run()
        .await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    let (quote, token) = ended.stdout.split_once('\n').unwrap();
    let quote = quote.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
    let evidence = Evidence::dcap_quote(STANDARD.decode(quote).unwrap());
    let claims = azure.fixture.verifier().verify(&evidence).await.unwrap();
    assert_eq!(claims.report_data.0[..32], Sha256Digest::of_bytes(b"example").0);
    assert_eq!(claims.report_data.0[32..], [0; 32]);
    assert!(token.starts_with("{\"token\":\"ey") && token.ends_with("\"}"), "{token}");

    let other = azure.init("true").environment("MAA_PROVIDER_URL", &services.services());
    let other = other.environment("MAA_REPORT_DATA", "b3RoZXI=").run().await;
    other.assert_refused(78, "attestation-token-variable");
    let nowhere = azure.init("true").environment("MAA_PROVIDER_URL", "http://127.0.0.1:1").run().await;
    nowhere.assert_refused(69, "azure-unreachable");
}
