//! Everything outside the pins is refused before anything is asked for: the
//! listener in the broker's place sees no connection.

use std::{fs, path::Path, time::Duration};

use tokio::net::TcpListener;

use crate::fixture::{Ended, Fixture, Init, Workload};

/// Runs init against a listener, and makes sure that nobody came.
async fn unasked(fixture: &Fixture, workload: &Workload, change: impl FnOnce(Init) -> Init) -> Ended {
    let configuration = fixture.configuration("workload", workload);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let init = change(fixture.init(&configuration, listener.local_addr().unwrap(), "echo started"));
    let ended = init.run().await;
    // Peers that connected before init ended are in the backlog now.
    let came = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(came.is_err(), "init connected: {ended:?}");
    assert!(!ended.stdout.contains("started"), "{ended:?}");
    ended
}

/// The test above can fail: an init with nothing to refuse does connect.
#[tokio::test]
async fn an_init_with_nothing_to_refuse_connects() {
    let Some(fixture) = Fixture::new() else { return };
    let configuration = fixture.configuration("workload", &Workload::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let child = fixture.init(&configuration, listener.local_addr().unwrap(), "echo started").start();
    tokio::time::timeout(crate::fixture::PATIENCE, listener.accept()).await.expect("it connects").unwrap();
    drop(child);
}

#[tokio::test]
async fn an_argument_outside_the_pins() {
    let Some(fixture) = Fixture::new() else { return };
    for words in [
        &["/bin/sh", "-c", "echo started", "other"][..],
        &["/bin/sh", "-x", "-c", "echo started"],
        &["/bin/sh", "extra", "extra", "-c", "echo started"],
        &["/bin/sh"],
        &["/bin/sh", "extra"],
    ] {
        let ended = unasked(&fixture, &Workload::default(), |init| init.program(words)).await;
        ended.assert_refused(78, "argument-refused");
    }
}

/// The host names the file, so init neither makes nor overwrites one, nor writes
/// there what the host says.
#[tokio::test]
async fn the_termination_message_goes_to_an_empty_file_in_inits_own_words() {
    let Some(fixture) = Fixture::new() else { return };
    let message = fixture.directory.path().join("termination-log");
    let words = ["/bin/sh", "-c", "echo started", "words-of-the-host"];
    let refused = async || {
        let log = |init: Init| init.environment("ADYTUM_TERMINATION_LOG", message.to_str().unwrap());
        let ended = unasked(&fixture, &Workload::default(), |init| log(init).program(&words)).await;
        ended.assert_refused(78, "argument-refused");
        assert!(ended.stderr.contains("words-of-the-host"), "{ended:?}");
    };
    refused().await;
    assert!(!message.exists());
    fs::write(&message, "").unwrap();
    refused().await;
    let said = fs::read_to_string(&message).unwrap();
    assert!(said.starts_with("argument-refused: ") && said.lines().count() == 1, "{said}");
    assert!(!said.contains("words-of-the-host"), "{said}");
    refused().await;
    assert_eq!(fs::read_to_string(&message).unwrap(), said);
}

#[tokio::test]
async fn another_program() {
    let Some(fixture) = Fixture::new() else { return };
    // The same file by another path is another program: paths decide what a program
    // finds in its own directory.
    for path in ["/usr/bin/env", "/bin/./sh", "sh", "", "/no/such/file"] {
        let ended =
            unasked(&fixture, &Workload::default(), |init| init.program(&[path, "-c", "echo started"])).await;
        ended.assert_refused(78, "program-not-pinned");
    }
}

#[tokio::test]
async fn a_changed_program() {
    let Some(mut fixture) = Fixture::new() else { return };
    fixture.shell.sha256.0[0] ^= 1;
    let ended = unasked(&fixture, &Workload::default(), |init| init).await;
    ended.assert_refused(78, "program-mismatch");
}

#[tokio::test]
async fn a_script_in_the_programs_place() {
    let Some(fixture) = Fixture::new() else { return };
    let script = fixture.directory.path().join("script");
    fs::write(&script, "#!/bin/sh\necho started\n").unwrap();
    let digest = adytum_evidence::measurement::Sha256Digest::of_file(&script).unwrap();
    let configuration = fixture.configuration("workload", &Workload::default());
    let text = fs::read_to_string(&configuration).unwrap();
    let text = text.replacen("path = \"/bin/sh\"", &format!("path = \"{}\"", script.display()), 1).replacen(
        &fixture.shell.sha256.to_string(),
        &digest.to_string(),
        1,
    );
    fs::write(&configuration, text).unwrap();
    let nobody = "127.0.0.1:9".parse().unwrap();
    let init = fixture.init(&configuration, nobody, "").program(&[script.to_str().unwrap(), "-c", "x"]);
    init.run().await.assert_refused(78, "program-format");
}

#[tokio::test]
async fn the_loaders_variables() {
    let Some(fixture) = Fixture::new() else { return };
    for name in ["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GLIBC_TUNABLES"] {
        let ended = unasked(&fixture, &Workload::default(), |init| init.environment(name, "/none")).await;
        ended.assert_refused(78, "environment-refused");
    }
}

#[tokio::test]
async fn another_value_of_a_pinned_variable() {
    let Some(fixture) = Fixture::new() else { return };
    let tables = "[environment]\nset = { THREADS = \"1\" }\n".to_owned();
    let workload = Workload { tables, ..Workload::default() };
    let ended = unasked(&fixture, &workload, |init| init.environment("THREADS", "9")).await;
    ended.assert_refused(78, "environment-refused");
}

#[tokio::test]
async fn a_library_that_is_not_pinned() {
    let Some(mut fixture) = Fixture::new() else { return };
    let libraries = std::mem::take(&mut fixture.shell.libraries);
    // Each alone is not enough.
    for missing in 0..libraries.len() {
        fixture.shell.libraries = libraries.clone();
        let left_out = fixture.shell.libraries.remove(missing);
        let ended = unasked(&fixture, &Workload::default(), |init| init).await;
        ended.assert_refused(78, "library-not-pinned");
        let name = left_out.file_name().unwrap().to_str().unwrap();
        assert!(ended.stderr.contains(name), "{ended:?}");
    }
}

/// A pinned library of the right name in another place than the loader looks.
#[tokio::test]
async fn a_library_that_the_loader_would_not_take() {
    let Some(mut fixture) = Fixture::new() else { return };
    let libc = fixture.shell.libraries.iter().position(|path| path.ends_with("libc.so.6")).unwrap();
    let copy = fixture.directory.path().join("libc.so.6");
    fs::copy(&fixture.shell.libraries[libc], &copy).unwrap();
    fixture.shell.libraries[libc] = copy;
    let ended = unasked(&fixture, &Workload::default(), |init| init).await;
    ended.assert_refused(78, "library-not-pinned");
}

#[tokio::test]
async fn a_changed_library() {
    let Some(fixture) = Fixture::new() else { return };
    let library = fixture.directory.path().join("libother.so");
    fs::write(&library, "changed").unwrap();
    let digest = adytum_evidence::measurement::Sha256Digest::of_bytes(b"original");
    let tables = String::new();
    let secrets = format!("[[library]]\npath = \"{}\"\nsha256 = \"{digest}\"\n", library.display());
    let ended = unasked(&fixture, &Workload { tables, secrets }, |init| init).await;
    ended.assert_refused(78, "program-mismatch");
}

#[tokio::test]
async fn a_secret_that_has_no_safe_place() {
    let Some(fixture) = Fixture::new() else { return };
    let secret = |path: &Path| Workload {
        secrets: format!("[[secret]]\nname = \"ssl_config\"\npath = \"{}\"\n", path.display()),
        ..Workload::default()
    };
    // On a disk, or on procfs where there is no disk.
    for directory in [Path::new(env!("CARGO_TARGET_TMPDIR")), Path::new("/proc/self")] {
        let kind = nix::sys::statfs::statfs(directory).unwrap().filesystem_type();
        if kind == nix::sys::statfs::TMPFS_MAGIC {
            println!("SKIPPED: {} is a tmpfs", directory.display());
            continue;
        }
        let ended = unasked(&fixture, &secret(&directory.join("secret")), |init| init).await;
        ended.assert_refused(73, "storage-unsafe");
    }
    let ended = unasked(&fixture, &secret(Path::new("/no/such/directory/secret")), |init| init).await;
    ended.assert_refused(73, "storage-failed");
    let nowhere =
        Workload { secrets: "[[secret]]\nname = \"ssl_config\"\n".to_owned(), ..Workload::default() };
    unasked(&fixture, &nowhere, |init| init).await.assert_refused(73, "secret-without-place");
}

#[tokio::test]
async fn a_configuration_that_is_none() {
    let Some(fixture) = Fixture::new() else { return };
    let nobody = "127.0.0.1:9".parse().unwrap();
    let path = fixture.directory.path().join("none.toml");
    fixture.init(&path, nobody, "").run().await.assert_refused(78, "configuration-unreadable");
    fs::write(&path, "format = \"adytum workload v9\"").unwrap();
    fixture.init(&path, nobody, "").run().await.assert_refused(78, "configuration-format");
    let reference = fixture.directory.path().join("init_ra_conf.json");
    fs::write(
        &reference,
        r#"{"kms_keys": [], "ra_config": {"verify_mr_enclave": "on", "verify_mr_signer": "off",
            "verify_isv_prod_id": "off", "verify_isv_svn": "off", "sgx_mrs": []}}"#,
    )
    .unwrap();
    fixture.init(&reference, nobody, "").run().await.assert_refused(78, "configuration-genesis-missing");
}

#[tokio::test]
async fn wrong_flags() {
    let Some(fixture) = Fixture::new() else { return };
    let configuration = fixture.configuration("workload", &Workload::default());
    let nobody = "127.0.0.1:9".parse().unwrap();
    let ended = fixture.init(&configuration, nobody, "").flag("--no-such-flag").run().await;
    assert_eq!(ended.code(), 64, "{ended:?}");
    let ended = fixture.init(&configuration, nobody, "").flag("--fetch-timeout=soon").run().await;
    assert_eq!(ended.code(), 64, "{ended:?}");
}

/// In simulation as under a LibOS, the host could ask for what is for the guest.
#[tokio::test]
async fn resources_for_a_guest_where_there_is_none() {
    let Some(fixture) = Fixture::new() else { return };
    let secrets = "[[secret]]\nname = \"model_key\"\n[[cdh]]\nresource = \"default/key/model\"\nsecret = \"model_key\"\n";
    let workload = Workload { secrets: secrets.to_owned(), ..Workload::default() };
    let ended = unasked(&fixture, &workload, |init| init).await;
    ended.assert_refused(78, "cdh-outside-tee");
    assert!(ended.stderr.contains("confidential virtual machine"), "{ended:?}");
}
