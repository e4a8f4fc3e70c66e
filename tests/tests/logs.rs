//! A whole run with everything logged that can be: no output of any process has
//! a secret in any form.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use adytum_tests::{
    deployment::{Deployment, Replica, built_binaries, word_with},
    owner,
};
use anyhow::{Context, Result, ensure};

/// All that a command prints.
async fn output(deployment: &Deployment, words: &[&str]) -> Result<String> {
    let mut command = deployment.adytum(words.iter().copied());
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    ensure!(output.status.success(), "adytum {words:?}:\n{printed}");
    Ok(printed)
}

/// A secret and its name.
struct Secret(String, Vec<u8>);

impl Secret {
    /// In which forms it would be found, each with its name.
    fn forms(&self) -> Vec<(String, Vec<u8>)> {
        let Self(name, value) = self;
        let hexadecimal: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        let debug: Vec<String> = value.iter().map(ToString::to_string).collect();
        let mut forms = vec![
            ("as it is".to_owned(), value.clone()),
            ("in upper case".to_owned(), value.to_ascii_uppercase()),
            ("in hexadecimal".to_owned(), hexadecimal.to_uppercase().into_bytes()),
            ("in hexadecimal".to_owned(), hexadecimal.into_bytes()),
            ("as a list of bytes".to_owned(), debug.join(", ").into_bytes()),
        ];
        // Wherever it begins within what is encoded.
        for skipped in 0..3 {
            let encoded = base64(value.get(skipped..).unwrap_or_default());
            let whole = encoded.trim_end_matches('=');
            // The last digit depends on what follows.
            let whole = &whole[..whole.len().saturating_sub(1)];
            forms.push(("in base64".to_owned(), whole.as_bytes().to_vec()));
            let url = whole.replace('+', "-").replace('/', "_");
            forms.push(("in base64 for URLs".to_owned(), url.into_bytes()));
        }
        forms.into_iter().map(|(form, bytes)| (format!("{name} {form}"), bytes)).collect()
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let group = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for digit in 0..=chunk.len() {
            let index = (group >> (18 - 6 * digit)) & 63;
            encoded.push(char::from(DIGITS[index as usize]));
        }
    }
    encoded
}

/// The lines of a PEM that are secret, each as a secret of its own: a log could
/// hold one of them.
fn key_lines(name: &str, pem: &str) -> Vec<Secret> {
    let mut secret = false;
    let mut lines = Vec::new();
    for line in pem.split(['\n', '"']).flat_map(|part| part.split("\\n")).map(str::trim) {
        if line.starts_with("-----BEGIN") {
            secret = line.contains("PRIVATE");
        } else if secret && !line.starts_with("-----") && line.len() >= 24 {
            lines.push(Secret(format!("{name}, line {}", lines.len() + 1), line.as_bytes().to_vec()));
        }
    }
    lines
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return true };
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = &rest[at..];
        if rest.starts_with(needle) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

#[test]
fn secrets_are_found_in_every_form() {
    let secret = Secret("s".into(), b"open sesame, the cave".to_vec());
    for (form, bytes) in secret.forms() {
        let log = [b"a log line with ".as_slice(), &bytes, b" in it"].concat();
        assert!(contains(&log, &bytes), "{form}");
    }
    assert_eq!(base64(b"open"), "b3Blbg");
    for before in ["", "x", "xy"] {
        let encoded = base64(format!("{before}open sesame, the cave, and more").as_bytes());
        let found = secret.forms().iter().any(|(_, form)| contains(encoded.as_bytes(), form));
        assert!(found, "{encoded}");
    }
    assert!(!contains(b"nothing", b"thinner"));
    assert_eq!(key_lines("k", "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n").len(), 1);
}

#[tokio::test]
async fn no_output_of_a_whole_run_has_a_secret() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut deployment = Deployment::start(directory.path(), &built_binaries().await?).await?;
    deployment.set_log_filter("trace");
    let mut broker = deployment.create_broker("broker").await?;
    let configuration = deployment.configure_replica("replica", &broker).await?;
    let path = |name: &str| directory.path().join(name);
    let text = |path: &Path| path.display().to_string();
    let mut printed = String::new();
    let mut run = async |words: &[&str]| -> Result<String> {
        let said = output(&deployment, words).await?;
        printed.push_str(&said);
        Ok(said)
    };

    // What an owner does.
    let (model_key, ssl_config) = (text(&path("model.key")), text(&path("ssl.cfg")));
    let said = run(&["model-key", "new", "--out", &model_key]).await?;
    let recipient = word_with(&said, "age1")?;
    let crt = text(&path("server.crt"));
    run(&["ssl-config", "new", "--host", "localhost", "--crt", &crt, "--out", &ssl_config]).await?;
    let manifest = text(&path("manifest.toml"));
    fs::write(&manifest, owner::manifest(&deployment, &broker, "digits", &configuration.identity, 1, 1)?)?;
    let owner = text(&broker.owner_key());
    run(&["manifest", "sign", &manifest, "--owner", &owner]).await?;
    let with_broker = |words: &[&str]| deployment.with_broker(&broker, words);
    for words in [
        with_broker(&["manifest", "apply", &manifest, "--owner", &owner]),
        with_broker(&["secret", "put", "ssl_config", "--from-file", &ssl_config, "--owner", &owner]),
        with_broker(&["secret", "put", "model_key", "--from-file", &model_key, "--owner", &owner]),
        with_broker(&["secret", "list", "--owner", &owner]),
        with_broker(&["audit", "tail", "--owner", &owner]),
    ] {
        run(&words.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    }
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits");
    let models = path("models");
    let seal = [
        "seal".to_owned(),
        text(&digits.join("model.onnx")),
        "--model=digits".into(),
        "--version=1".into(),
        format!("--recipient={recipient}"),
        format!("--owner={owner}"),
        format!("--out={}", models.display()),
    ];
    run(&seal.iter().map(String::as_str).collect::<Vec<_>>()).await?;

    // What a replica and a client do; then all end.
    let binary = deployment.binary("adytum-serving");
    let replica = Replica {
        binary: &binary,
        configuration: &configuration.path,
        broker: broker.address(),
        model: "digits",
        models: &models,
    };
    let (mut serving, port) = deployment.start_replica("replica", &replica).await?;
    let image = fs::read_dir(digits.join("images"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "png"))
        .context("an image")?;
    let predict = [
        "predict".to_owned(),
        format!("--server=localhost:{port}"),
        format!("--crt={crt}"),
        "--model=digits".into(),
        format!("--image={}", image.display()),
    ];
    run(&predict.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    serving.stop().await;
    broker.stop().await;
    deployment.stop().await;

    let mut secrets = key_lines("the owner's key", &fs::read_to_string(&owner)?);
    ensure!(!secrets.is_empty(), "an owner's key is a PEM");
    let tls = key_lines("ssl_config", &fs::read_to_string(&ssl_config)?);
    ensure!(!tls.is_empty(), "ssl_config has a private key");
    secrets.extend(tls);
    let model_key = fs::read_to_string(&model_key)?;
    secrets.push(Secret("model_key".into(), word_with(&model_key, "AGE-SECRET-KEY-1")?.into_bytes()));
    let mut outputs: Vec<(PathBuf, Vec<u8>)> = vec![("what adytum printed".into(), printed.into_bytes())];
    for name in ["platform", "broker", "replica"] {
        let log = path(&format!("{name}.log"));
        outputs.push((log.clone(), fs::read(&log)?));
    }
    for (place, bytes) in &outputs {
        // The platform logs little; the others were asked for everything.
        let traced = contains(bytes, b"TRACE");
        ensure!(traced || place.ends_with("platform.log"), "{} has no trace", place.display());
        for (form, needle) in secrets.iter().flat_map(Secret::forms) {
            ensure!(!contains(bytes, &needle), "{form} is in {}", place.display());
        }
    }
    Ok(())
}
