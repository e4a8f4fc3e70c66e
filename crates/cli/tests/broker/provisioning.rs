//! How an owner gives a broker manifest and secrets.

use std::{fs, path::Path};

use adytum_evidence::measurement::Sha256Digest;
use adytum_governance::{genesis::Genesis, head::StateHead, heads::HeadMemory};

use crate::stage::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_provisions_a_broker() {
    let stage = Stage::new(1, 1).await;
    let owner = stage.path("owner0.pem");
    let manifest = stage.write("manifest.toml", &stage.manifest(1));
    let checked = succeeds(vec!["manifest".into(), "check".into(), manifest.clone()]).await;
    assert!(
        checked.contains("workload  digits") && checked.contains("model_key (age-identity)"),
        "{checked}"
    );

    assert!(fails(stage.pinned(&["manifest", "get", "--owner", &owner])).await.contains("no manifest yet"));
    // A secret before there is a manifest that names it.
    let ssl = stage.write("ssl.cfg", "server_key: \"x\"\n");
    let put = stage.pinned(&["secret", "put", "ssl_config", "--from-file", &ssl, "--owner", &owner]);
    fails(put.clone()).await;

    let said = succeeds(stage.pinned(&["manifest", "apply", &manifest, "--owner", &owner])).await;
    assert!(said.contains("version 1 is in force"), "{said}");
    let message = fails(stage.pinned(&["manifest", "apply", &manifest, "--owner", &owner])).await;
    assert!(message.contains("version"), "{message}");

    assert_eq!(succeeds(put.clone()).await, "ssl_config: version 1\n");
    assert_eq!(succeeds(put).await, "ssl_config: version 2\n");
    let key = stage.path("key.txt");
    succeeds(vec!["model-key".into(), "new".into(), "--out".into(), key.clone()]).await;
    let key = stage.pinned(&["secret", "put", "model_key", "--from-file", &key, "--owner", &owner]);
    assert_eq!(succeeds(key.clone()).await, "model_key: version 1\n");
    // From standard input; and this is no age identity.
    let message = adytum(with(key, "--from-file", "-"), "sesame").await;
    assert!(!message.status.success());
    let stdin = stage.pinned(&["secret", "put", "ssl_config", "--from-file", "-", "--owner", &owner]);
    assert_eq!(succeeds_with(stdin, "from a pipe").await, "ssl_config: version 3\n");
    assert!(
        fails(stage.pinned(&["secret", "put", "nobodys", "--from-file", &ssl, "--owner", &owner]))
            .await
            .contains("nobodys")
    );
    let empty = stage.write("empty", "");
    assert!(
        fails(stage.pinned(&["secret", "put", "ssl_config", "--from-file", &empty, "--owner", &owner]))
            .await
            .contains("is empty")
    );
    let huge = stage.write("huge", &"a".repeat(70_000));
    assert!(
        fails(stage.pinned(&["secret", "put", "ssl_config", "--from-file", &huge, "--owner", &owner]))
            .await
            .contains("more than 65536")
    );

    let listed = succeeds(stage.pinned(&["secret", "list", "--owner", &owner])).await;
    let words: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(words.contains(&vec!["ssl_config", "opaque", "3", "1h", "0s", "digits"]), "{listed}");
    assert!(words.contains(&vec!["model_key", "age-identity", "1", "1h", "0s", "digits"]), "{listed}");
    let json = succeeds(stage.pinned(&["secret", "list", "--json", "--owner", &owner])).await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap().as_array().unwrap().len(), 2);

    succeeds(stage.pinned(&["secret", "rm", "ssl_config", "--owner", &owner])).await;
    let listed = succeeds(stage.pinned(&["secret", "list", "--owner", &owner])).await;
    assert!(listed.contains("removed"), "{listed}");

    let status = succeeds(stage.pinned(&["broker", "status", &stage.address])).await;
    assert!(status.contains("manifest version  1") && !status.contains("ssl_config"), "{status}");
    let got = succeeds(stage.pinned(&["manifest", "get", "--owner", &owner])).await;
    assert_eq!(got, stage.manifest(1));
    let out = stage.path("got.toml");
    let get = stage.pinned(&["manifest", "get", "--out", &out, "--owner", &owner]);
    succeeds(get.clone()).await;
    assert_eq!(fs::read_to_string(&out).unwrap(), stage.manifest(1));
    assert_eq!(fs::read_to_string(format!("{out}.sig")).unwrap().matches("ed25519:").count(), 1);
    assert!(fails(get).await.contains("never overwritten"));
}

/// An owner's directory, as `deploy/owner.sh` lays it out.
fn owners_directory(stage: &Stage) -> String {
    for part in ["owner/public", "owner/private/secrets"] {
        fs::create_dir_all(stage.path(part)).unwrap();
    }
    fs::copy(stage.path("owner0.pem"), stage.path("owner/private/owner.pem")).unwrap();
    fs::copy(stage.path("genesis.toml"), stage.path("owner/public/genesis.toml")).unwrap();
    let policy = format!("vendors = [\"simulation\"]\ntee = [\"sgx\"]\nidentity = [\"{IDENTITY}\"]\n");
    stage.write("owner/public/broker-policy.toml", &policy);
    stage.write("owner/public/manifest.toml", &stage.manifest(1));
    stage.write("owner/private/secrets/ssl_config", "server_key: \"x\"\n");
    stage.path("owner")
}

/// `adytum provision` from such a directory, which is made.
fn provisioning(stage: &Stage) -> Vec<String> {
    [
        "provision",
        "--owner-directory",
        &owners_directory(stage),
        "--broker",
        &stage.address,
        "--trust-simulation",
        &stage.path("platform/root.pem"),
    ]
    .map(str::to_owned)
    .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_provisions_a_broker_from_an_owners_directory() {
    let stage = Stage::new(1, 1).await;
    let mut provision = provisioning(&stage);
    provision.extend(["--heads".into(), stage.path("heads.json")]);

    // Nothing is sent while something is missing.
    assert!(fails(provision.clone()).await.contains("model_key"));
    let key = stage.path("owner/private/secrets/model_key");
    succeeds(vec!["model-key".into(), "new".into(), "--out".into(), key]).await;
    let list = stage.pinned(&["secret", "list", "--owner", &stage.path("owner0.pem")]);
    assert!(!succeeds(list.clone()).await.contains("ssl_config"));

    let said = succeeds(provision.clone()).await;
    for line in ["manifest version 1 is in force\n", "ssl_config: version 1\n", "model_key: version 1\n"] {
        assert!(said.contains(line), "{said}");
    }
    let said = succeeds(provision.clone()).await;
    for line in ["version 1 is in force already", "ssl_config: version 1 is there already"] {
        assert!(said.contains(line), "{said}");
    }
    let mut replace = provision.clone();
    replace.push("--replace".to_owned());
    assert!(succeeds(replace).await.contains("ssl_config: version 2\n"));

    // The same version with another text is not what is in force; an older one neither.
    stage.write("owner/public/manifest.toml", &stage.manifest(1).replace(&"2e".repeat(32), &"3e".repeat(32)));
    assert!(fails(provision.clone()).await.contains("another manifest of version 1"));
    stage.write("owner/public/manifest.toml", &stage.manifest(2));
    assert!(succeeds(provision.clone()).await.contains("manifest version 2 is in force\n"));
    stage.write("owner/public/manifest.toml", &stage.manifest(1));
    assert!(fails(provision.clone()).await.contains("higher version"));

    // A genuine broker that somebody else created gets nothing.
    let other = Genesis::found(stage.genesis.owners().iter().copied(), 1).unwrap();
    stage.write("owner/public/genesis.toml", &other.to_toml());
    assert!(fails(provision).await.contains("genesis-mismatch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_and_all_other_verbs_remember_in_one_place() {
    let stage = Stage::new(1, 1).await;
    let provision = provisioning(&stage);
    let key = stage.path("owner/private/secrets/model_key");
    succeeds(vec!["model-key".into(), "new".into(), "--out".into(), key]).await;
    let owner = stage.path("owner0.pem");
    let list = without(stage.pinned(&["secret", "list", "--owner", &owner]), "--heads");
    let accept = ["broker", "confirm", "--accept-rollback", "--broker", &stage.address, "--owner", &owner];
    let accept = without(stage.pinned(&accept), "--heads");
    let remembering = |arguments: &[String]| {
        let mut command = command(arguments.to_vec());
        command.env("XDG_STATE_HOME", stage.path("remembered"));
        run(command, "")
    };
    let own = stage.path("owner/private/heads.json");
    let common = HeadMemory::new(stage.path("remembered/adytum/heads.json"));
    let genesis = stage.genesis.digest();

    let output = remembering(&provision).await;
    assert!(output.status.success(), "{output:?}");
    assert!(common.seen(genesis).unwrap().is_some() && !Path::new(&own).exists());

    // As a former version left it, which has seen more.
    let audit_hash = Some(Sha256Digest([9; 32]));
    let more = StateHead { epoch: 9, manifest_version: 9, audit_size: 99, audit_hash };
    HeadMemory::new(&own).remember(genesis, &more).unwrap();
    // With a file that is named, only that one counts.
    let mut named = provision.clone();
    named.extend(["--heads".into(), stage.path("heads.json")]);
    succeeds(named).await;
    assert!(Path::new(&own).exists());
    for arguments in [&provision, &list, &provision] {
        let output = remembering(arguments).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.contains("rolled back"), "{stderr}");
        assert_eq!(common.seen(genesis).unwrap(), Some(more.clone()));
        assert!(!Path::new(&own).exists() && Path::new(&format!("{own}.merged")).exists());
    }
    // What an owner accepts by one verb, all others accept.
    for arguments in [&accept, &provision, &list] {
        let output = remembering(arguments).await;
        assert!(output.status.success(), "{output:?}");
    }

    // Of two states of which neither continues the other, an owner must choose.
    let other = StateHead { epoch: 9, manifest_version: 0, audit_size: 0, audit_hash: None };
    HeadMemory::new(&own).remember(genesis, &other).unwrap();
    let output = remembering(&provision).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && stderr.contains("can't be merged"), "{stderr}");
    assert!(Path::new(&own).exists());
}
