//! A workload whose keys come from a KBS of Confidential Containers: the real `adytum-init`,
//! against a server that was written apart from the client.

use std::{collections::BTreeMap, fs};

use adytum_emulators::kbs::{Lie, NAME, Options, Running};
use adytum_evidence::measurement::MrEnclave;
use adytum_init::configuration::measure;

use crate::fixture::{Fixture, Shell, init_binary, memory_directory};

#[tokio::test]
async fn a_program_gets_its_key_from_a_kbs_and_from_no_liar() {
    for (lie, exit, code) in [
        (Lie::None, 0, ""),
        (Lie::OtherName, 69, "kbs-source-unreachable"),
        (Lie::AlteredContent, 77, "kbs-source-resource-closed"),
        (Lie::OtherRecipient, 77, "kbs-source-resource-closed"),
    ] {
        let Some(fixture) = Fixture::new() else { return };
        let Some(memory) = memory_directory() else { return };
        let server = Running::start(Options {
            platform: fixture.platform().clone(),
            client: MrEnclave([0; 32]),
            resources: BTreeMap::from([("default/key/model".to_owned(), b"sesame".to_vec())]),
            hash: Some("sha512"),
            lie,
        })
        .await;
        let at = memory.path().display();
        let text = format!(
            "format = \"adytum workload v1\"\n[program]\npath = \"{}\"\nsha256 = \"{}\"\n\
             required_arguments = [[\"-c\", \"*\"]]\n{}[kbs]\nurl = \"https://{NAME}:8080\"\nroots = \"\"\"\n{}\"\"\"\n\
             [[secret]]\nname = \"key\"\nlocation = \"key/model\"\npath = \"{at}/key\"\n",
            Shell::PATH,
            fixture.shell.sha256,
            fixture.shell.toml(),
            server.root(),
        );
        let configuration = fixture.directory.path().join("kbs.toml");
        fs::write(&configuration, text).unwrap();
        let identity = measure(&configuration, init_binary(), Shell::PATH.as_ref()).unwrap().identity;
        server.release_to(MrEnclave(identity.0));
        let ended = fixture
            .init_without_address(&configuration, &format!("cat {at}/key"))
            .flag(&format!("--broker={}", server.address()))
            .flag("--fetch-timeout=3s")
            .run()
            .await;
        if exit == 0 {
            assert_eq!((ended.code(), ended.stdout.as_str()), (0, "sesame"), "{ended:?}");
        } else {
            ended.assert_refused(exit, code);
        }
        assert!(!ended.stderr.contains("sesame"), "{ended:?}");
    }
}
