//! How an owner gives a broker manifest and secrets.

use std::{fs, path::Path};

use adytum_evidence::measurement::Sha256Digest;
use adytum_governance::{genesis::Genesis, head::StateHead, heads::HeadMemory};
use adytum_testkit::manifest::simulated_policy;

use crate::fixture::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_provisions_a_broker() {
    let fixture = Fixture::new(1, 1).await;
    let owner = fixture.path("owner0.pem");
    let manifest = fixture.write("manifest.toml", fixture.manifest(1));
    let checked = succeeds(vec!["manifest".into(), "check".into(), manifest.clone()]);
    assert!(
        checked.contains("workload  digits") && checked.contains("model_key (age-identity)"),
        "{checked}"
    );

    assert!(fails(78, fixture.pinned(&["manifest", "get", "--owner", &owner])).contains("no manifest yet"));
    // A secret before there is a manifest that names it.
    let ssl = fixture.write("ssl.cfg", "server_key: \"x\"\n");
    let put = fixture.pinned(&["secret", "put", "ssl_config", "--from-file", &ssl, "--owner", &owner]);
    fails(78, put.clone());

    let said = succeeds(fixture.pinned(&["manifest", "apply", &manifest, "--owner", &owner]));
    assert!(said.contains("version 1 is in force"), "{said}");
    let message = fails(77, fixture.pinned(&["manifest", "apply", &manifest, "--owner", &owner]));
    assert!(message.contains("version"), "{message}");

    assert_eq!(succeeds(put.clone()), "ssl_config: version 1\n");
    assert_eq!(succeeds(put), "ssl_config: version 2\n");
    let key = fixture.path("key.txt");
    succeeds(vec!["model-key".into(), "new".into(), "--out".into(), key.clone()]);
    let key = fixture.pinned(&["secret", "put", "model_key", "--from-file", &key, "--owner", &owner]);
    assert_eq!(succeeds(key.clone()), "model_key: version 1\n");
    // From standard input; and this is no age identity.
    let message = adytum_reading("sesame", with(key, "--from-file", "-"));
    assert!(!message.0.status.success());
    let stdin = fixture.pinned(&["secret", "put", "ssl_config", "--from-file", "-", "--owner", &owner]);
    assert_eq!(adytum_reading("from a pipe", stdin).succeeded(), "ssl_config: version 3\n");
    assert!(
        fails(78, fixture.pinned(&["secret", "put", "nobodys", "--from-file", &ssl, "--owner", &owner]))
            .contains("nobodys")
    );
    let empty = fixture.write("empty", "");
    assert!(
        fails(78, fixture.pinned(&["secret", "put", "ssl_config", "--from-file", &empty, "--owner", &owner]))
            .contains("is empty")
    );
    let huge = fixture.write("huge", "a".repeat(70_000));
    assert!(
        fails(78, fixture.pinned(&["secret", "put", "ssl_config", "--from-file", &huge, "--owner", &owner]))
            .contains("more than 65536")
    );

    let listed = succeeds(fixture.pinned(&["secret", "list", "--owner", &owner]));
    let words: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(words.contains(&vec!["ssl_config", "opaque", "3", "1h", "0s", "digits"]), "{listed}");
    assert!(words.contains(&vec!["model_key", "age-identity", "1", "1h", "0s", "digits"]), "{listed}");
    let json = succeeds(fixture.pinned(&["secret", "list", "--json", "--owner", &owner]));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap().as_array().unwrap().len(), 2);

    succeeds(fixture.pinned(&["secret", "rm", "ssl_config", "--owner", &owner]));
    let listed = succeeds(fixture.pinned(&["secret", "list", "--owner", &owner]));
    assert!(listed.contains("removed"), "{listed}");

    let status = succeeds(fixture.pinned(&["broker", "status"]));
    assert!(status.contains("manifest version  1") && !status.contains("ssl_config"), "{status}");
    let got = succeeds(fixture.pinned(&["manifest", "get", "--owner", &owner]));
    assert_eq!(got, fixture.manifest(1));
    let out = fixture.path("got.toml");
    let get = fixture.pinned(&["manifest", "get", "--out", &out, "--owner", &owner]);
    succeeds(get.clone());
    assert_eq!(fs::read_to_string(&out).unwrap(), fixture.manifest(1));
    assert_eq!(fs::read_to_string(format!("{out}.sig")).unwrap().matches("ed25519:").count(), 1);
    assert!(fails(78, get).contains("never overwritten"));
}

/// An owner's directory, as `adytum deployment` lays it out.
fn owners_directory(fixture: &Fixture) -> String {
    for part in ["owner/public", "owner/private/secrets"] {
        fs::create_dir_all(fixture.path(part)).unwrap();
    }
    fs::copy(fixture.path("owner0.pem"), fixture.path("owner/private/owner.pem")).unwrap();
    fs::copy(fixture.path("genesis.toml"), fixture.path("owner/public/genesis.toml")).unwrap();
    fixture.write("owner/public/broker-policy.toml", simulated_policy(IDENTITY));
    fixture.write("owner/public/manifest.toml", fixture.manifest(1));
    fixture.write("owner/private/secrets/ssl_config", "server_key: \"x\"\n");
    fixture.path("owner")
}

/// `adytum provision` from such a directory, which is made.
pub(crate) fn provisioning(fixture: &Fixture) -> Vec<String> {
    [
        "provision",
        "--owner-directory",
        &owners_directory(fixture),
        "--broker",
        &fixture.address(),
        "--trust-simulation",
        &fixture.path("platform/root.pem"),
    ]
    .map(str::to_owned)
    .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_provisions_a_broker_from_an_owners_directory() {
    let fixture = Fixture::new(1, 1).await;
    let mut provision = provisioning(&fixture);
    provision.extend(["--heads".into(), fixture.path("heads.json")]);

    // Nothing is sent while something is missing.
    assert!(fails(78, provision.clone()).contains("model_key"));
    let key = fixture.path("owner/private/secrets/model_key");
    succeeds(vec!["model-key".into(), "new".into(), "--out".into(), key]);
    let list = fixture.pinned(&["secret", "list", "--owner", &fixture.path("owner0.pem")]);
    assert!(!succeeds(list.clone()).contains("ssl_config"));

    let said = succeeds(provision.clone());
    for line in ["manifest version 1 is in force\n", "ssl_config: version 1\n", "model_key: version 1\n"] {
        assert!(said.contains(line), "{said}");
    }
    let said = succeeds(provision.clone());
    for line in ["version 1 is in force already", "ssl_config: version 1 is there already"] {
        assert!(said.contains(line), "{said}");
    }
    let mut replace = provision.clone();
    replace.push("--replace".to_owned());
    assert!(succeeds(replace).contains("ssl_config: version 2\n"));

    // The same version with another text is not what is in force; an older one neither.
    fixture
        .write("owner/public/manifest.toml", fixture.manifest(1).replace(&"2e".repeat(32), &"3e".repeat(32)));
    assert!(fails(78, provision.clone()).contains("another manifest of version 1"));
    fixture.write("owner/public/manifest.toml", fixture.manifest(2));
    assert!(succeeds(provision.clone()).contains("manifest version 2 is in force\n"));
    fixture.write("owner/public/manifest.toml", fixture.manifest(1));
    assert!(fails(78, provision.clone()).contains("higher version"));

    // A genuine broker that somebody else created gets nothing.
    let other = Genesis::create(fixture.genesis.owners().iter().copied(), 1).unwrap();
    fixture.write("owner/public/genesis.toml", other.to_toml());
    assert!(fails(77, provision).contains("genesis-mismatch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_and_all_other_verbs_remember_in_one_place() {
    let fixture = Fixture::new(1, 1).await;
    let provision = provisioning(&fixture);
    let key = fixture.path("owner/private/secrets/model_key");
    succeeds(vec!["model-key".into(), "new".into(), "--out".into(), key]);
    let owner = fixture.path("owner0.pem");
    let list = without(fixture.pinned(&["secret", "list", "--owner", &owner]), "--heads");
    let accept = ["broker", "confirm", "--accept-rollback", "--owner", &owner];
    let accept = without(fixture.pinned(&accept), "--heads");
    let remembering = |arguments: &[String]| {
        let mut command = command(arguments);
        command.env("XDG_STATE_HOME", fixture.path("remembered"));
        run(command)
    };
    let common = HeadMemory::new(fixture.path("remembered/adytum/heads.json"));
    let genesis = fixture.genesis.digest();

    remembering(&provision).succeeded();
    let seen = common.seen(genesis).unwrap();
    assert!(seen.is_some() && !Path::new(&fixture.path("owner/private/heads.json")).exists());

    // The memory has seen more than this broker has.
    let audit_hash = Some(Sha256Digest([9; 32]));
    let more = StateHead { epoch: 9, manifest_version: 9, audit_size: 99, audit_hash };
    common.remember(genesis, &more).unwrap();
    // With a file that is named, only that one counts.
    let mut named = provision.clone();
    named.extend(["--heads".into(), fixture.path("heads.json")]);
    succeeds(named);
    for arguments in [&provision, &list, &provision] {
        let stderr = remembering(arguments).failed_with(77);
        assert!(stderr.contains("rolled back"), "{stderr}");
        assert_eq!(common.seen(genesis).unwrap(), Some(more.clone()));
    }
    // What an owner accepts by one verb, all others accept.
    for arguments in [&accept, &provision, &list] {
        remembering(arguments).succeeded();
    }
}
