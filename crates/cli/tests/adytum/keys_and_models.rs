//! The real binary: keys, genesis, sealing. What it does to files, and what it
//! says when the input is wrong.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use adytum_testkit::{directory::Directory, manifest::enclave_policy};

use crate::fixture::{adytum, command, message, run};

/// Standard output of a run that succeeded, without the last line feed.
#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    adytum(arguments).succeeded().trim_end().to_owned()
}

/// The message of a run that failed with this exit code and printed no result.
#[track_caller]
fn fails(code: i32, arguments: &[&str]) -> String {
    let outcome = adytum(arguments);
    assert!(outcome.stdout().is_empty(), "{arguments:?} printed a result");
    let message = message(code, &outcome);
    let line = message.strip_prefix("adytum: ").unwrap_or_else(|| panic!("{message}"));
    line.trim_end().to_owned()
}

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_are_private_and_never_overwritten() {
    let directory = Directory::new();
    for (subject, file, prefix, secret) in [
        ("owner", "owner.pem", "ed25519:", "PRIVATE KEY"),
        ("model-key", "key.txt", "age1", "AGE-SECRET-KEY-1"),
    ] {
        let path = directory.path(file);
        let public = succeeds(&[subject, "new", "--out", &path]);
        assert!(public.starts_with(prefix), "{public}");
        assert_eq!(mode(&path), 0o600);
        let content = fs::read_to_string(&path).unwrap();
        assert!(content.contains(secret));
        assert_eq!(succeeds(&[subject, "show", &path]), public);

        let message = fails(78, &[subject, "new", "--out", &path]);
        assert!(message.contains("exists already and is never overwritten"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        let message = fails(78, &[subject, "new", "--out", &directory.path("no/such/place")]);
        assert!(message.contains("can't be created: No such file or directory"), "{message}");
    }
}

#[test]
fn a_server_certificate_and_its_key_are_made_both_or_neither() {
    fn new<'a>(crt: &'a str, out: &'a str) -> [&'a str; 6] {
        ["ssl-config", "new", "--crt", crt, "--out", out]
    }
    let directory = Directory::new();
    let (crt, out) = (directory.path("server.crt"), directory.path("ssl.cfg"));
    let (second_crt, second_out) = (directory.path("second.crt"), directory.path("second.cfg"));
    let none = |path: &str| assert!(!Path::new(path).exists(), "{path}");

    // The second file can't be written: the first is taken away again.
    let message = fails(78, &new(&directory.path("no/such/place"), &out));
    assert!(message.contains("no/such/place") && message.contains("No such file or directory"), "{message}");
    none(&out);
    let message = fails(78, &new(&out, &out));
    assert!(message.contains("File exists"), "{message}");
    none(&out);

    succeeds(&new(&crt, &out));
    assert_eq!(mode(&out), 0o600);
    let read = || [&crt, &out].map(|path| fs::read(path).unwrap());
    let before = read();
    for arguments in [new(&crt, &second_out), new(&second_crt, &out), new(&crt, &out)] {
        let message = fails(78, &arguments);
        assert!(message.contains("exists already and is never overwritten"), "{message}");
    }
    none(&second_crt);
    none(&second_out);
    assert_eq!(read(), before);
}

#[test]
fn a_key_that_others_can_read_is_warned_about() {
    let directory = Directory::new();
    let path = directory.path("owner.pem");
    succeeds(&["owner", "new", "--out", &path]);
    assert_eq!(adytum(["owner", "show", &path]).stderr(), "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let outcome = adytum(["owner", "show", &path]);
    outcome.succeeded();
    assert!(outcome.stderr().contains("others can read"));
}

#[test]
fn files_that_are_no_keys_are_named_and_not_shown() {
    let directory = Directory::new();
    let garbage = directory.write("garbage", b"my dear diary");
    let message = fails(78, &["owner", "show", &garbage]);
    assert!(
        message.contains("not an Ed25519 private key") && message.contains("adytum owner new"),
        "{message}"
    );
    let message = fails(78, &["model-key", "show", &garbage]);
    assert!(message.contains("not an age identity") && !message.contains("diary"), "{message}");
    let message = fails(78, &["owner", "show", &directory.path("missing")]);
    assert!(message.contains("missing can't be read: No such file"), "{message}");
    let binary = directory.write("binary", [0xff; 10]);
    assert!(fails(78, &["owner", "show", &binary]).contains("not text"));
    let huge = directory.write("huge", vec![b'a'; 1 << 20]);
    assert!(fails(78, &["owner", "show", &huge]).contains("more than 65536 bytes"));
    assert!(fails(78, &["owner", "show", &directory.path("")]).contains("Is a directory"));
}

#[test]
fn a_genesis_is_created_shown_and_never_overwritten() {
    let directory = Directory::new();
    let (key, out) = (directory.path("owner.pem"), directory.path("genesis.toml"));
    let public = succeeds(&["owner", "new", "--out", &key]);
    let other = "ed25519:".to_owned() + &"ab".repeat(32);
    // A key's file stands for its public key.
    let digest =
        succeeds(&["genesis", "new", "--owner", &key, "--owner", &other, "--threshold", "2", "--out", &out]);
    assert_eq!(digest.len(), 64);
    assert_eq!(succeeds(&["genesis", "show", "--digest", &out]), digest);
    let shown = succeeds(&["genesis", "show", &out]);
    assert!(shown.contains(&digest) && shown.contains(&public) && shown.contains("2 of 2"), "{shown}");
    let found = |arguments: &[&str]| {
        let mut all = vec!["genesis", "new", "--out", &out];
        all.extend(arguments);
        fails(78, &all)
    };
    assert!(found(&["--owner", &other]).contains("never overwritten"));
    assert!(found(&["--owner", &other, "--threshold", "2"]).contains("threshold"));
    assert!(found(&["--owner", &other, "--owner", &other]).contains("twice"));
    let broken = directory.write("broken.toml", b"threshold = \n");
    let message = fails(78, &["genesis", "show", &broken]);
    assert!(message.contains("broken.toml") && message.contains("line 1"), "{message}");
}

struct Sealed {
    directory: Directory,
    model: String,
    owner: String,
    identity: String,
    signer: String,
    recipient: String,
}

impl Sealed {
    fn keys() -> Self {
        let directory = Directory::new();
        let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits/model.onnx");
        let model = directory.write("net.onnx", fs::read(digits).unwrap());
        let (owner, identity) = (directory.path("owner.pem"), directory.path("key.txt"));
        let signer = succeeds(&["owner", "new", "--out", &owner]);
        let recipient = succeeds(&["model-key", "new", "--out", &identity]);
        Self { directory, model, owner, identity, signer, recipient }
    }

    fn seal_arguments<'a>(&'a self, version: &'a str, out: &'a str) -> Vec<&'a str> {
        [
            &["seal", &self.model, "--model", "digits", "--version", version][..],
            &["--recipient", &self.recipient, "--owner", &self.owner, "--out", out],
        ]
        .concat()
    }

    fn unseal_arguments<'a>(&'a self, directory: &'a str, out: &'a str) -> Vec<&'a str> {
        vec!["unseal", directory, "--identity", &self.identity, "--signer", &self.signer, "--out", out]
    }
}

#[test]
fn a_model_is_sealed_and_unsealed() {
    let sealed = Sealed::keys();
    let base = sealed.directory.path("models/digits");
    let said = succeeds(&sealed.seal_arguments("3", &base));
    let length = fs::metadata(&sealed.model).unwrap().len();
    assert!(said.contains(&format!("digits version 3, {length} bytes")), "{said}");
    let directory = format!("{base}/3");
    let names = |path: &str| {
        let mut names: Vec<PathBuf> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    let expected = ["model.onnx.age", "model.seal"].map(|name| Path::new(&directory).join(name));
    assert_eq!(names(&directory), expected);
    assert!(fails(78, &sealed.seal_arguments("3", &base)).contains("seal under a higher version"));

    let out = sealed.directory.path("out.onnx");
    succeeds(&sealed.unseal_arguments(&directory, &out));
    assert_eq!(fs::read(&out).unwrap(), fs::read(&sealed.model).unwrap());
    assert_eq!(mode(&out), 0o600);
    assert!(fails(78, &sealed.unseal_arguments(&directory, &out)).contains("exists already"));
}

#[test]
fn what_is_not_genuine_is_not_unsealed() {
    let sealed = Sealed::keys();
    let base = sealed.directory.path("models");
    succeeds(&sealed.seal_arguments("3", &base));
    let (directory, out) = (format!("{base}/3"), sealed.directory.path("out.onnx"));
    let with = |code, change: &dyn Fn(&mut Vec<String>)| {
        let mut arguments =
            sealed.unseal_arguments(&directory, &out).iter().map(ToString::to_string).collect();
        change(&mut arguments);
        let message = fails(code, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!Path::new(&out).exists(), "something was written");
        message
    };
    let stranger = "ed25519:".to_owned() + &"ab".repeat(32);
    let message = with(77, &|arguments| arguments[5].clone_from(&stranger));
    assert!(message.contains("signer: ed25519:"), "{message}");
    assert!(message.contains(" is none of the 1 in signers of the rule"), "{message}");
    let message = with(77, &|arguments| arguments.extend(["--model".into(), "resnet".into()]));
    assert!(message.contains("name: wanted resnet, got digits"), "{message}");
    let message = with(77, &|arguments| arguments.extend(["--minimum-version".into(), "4".into()]));
    assert!(message.contains("version: wanted at least 4, got 3"), "{message}");

    let other = sealed.directory.path("other.txt");
    succeeds(&["model-key", "new", "--out", &other]);
    let message = with(77, &|arguments| arguments[3].clone_from(&other));
    assert!(message.contains("not sealed to this key"), "{message}");

    let ciphertext = format!("{directory}/model.onnx.age");
    let mut bytes = fs::read(&ciphertext).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&ciphertext, &bytes).unwrap();
    assert!(with(77, &|_| {}).contains("altered"));
    fs::write(&ciphertext, &bytes[..last]).unwrap();
    let message = with(77, &|_| {});
    assert!(message.contains("altered") || message.contains("truncated"), "{message}");

    let renamed = format!("{base}/4");
    fs::rename(&directory, &renamed).unwrap();
    let message = with(78, &|arguments| arguments[1].clone_from(&renamed));
    assert!(message.contains("about version 3, the directory is named 4"), "{message}");
    let message = with(78, &|arguments| arguments[1].clone_from(&base));
    assert!(message.contains("give a directory BASE/VERSION"), "{message}");
}

/// A directory, sealed as version 3 of the bundle `web`: its tree and its file.
fn sealed_bundle(sealed: &Sealed) -> (String, String) {
    let (tree, file) = (sealed.directory.path("tree"), sealed.directory.path("web.bundle"));
    fs::create_dir_all(format!("{tree}/etc")).unwrap();
    fs::write(format!("{tree}/etc/conf"), "answer = 42\n").unwrap();
    let mut arguments = sealed.seal_arguments("3", &file);
    (arguments[1], arguments[2], arguments[3]) = (&tree, "--bundle", "web");
    let said = succeeds(&arguments);
    assert!(said.contains("web version 3, 2560 bytes") && said.contains("2 entries"), "{said}");
    assert!(fails(78, &arguments).contains("exists already"));
    (tree, file)
}

#[test]
fn a_bundle_is_sealed_and_unsealed() {
    let sealed = Sealed::keys();
    let (_, file) = sealed_bundle(&sealed);
    let out = sealed.directory.path("out");
    let said = succeeds(&sealed.unseal_arguments(&file, &out));
    assert!(said.contains("web version 3") && said.contains("2 entries"), "{said}");
    assert_eq!(fs::read_to_string(format!("{out}/etc/conf")).unwrap(), "answer = 42\n");
    assert_eq!(mode(&out), 0o700);
    assert!(fails(78, &sealed.unseal_arguments(&file, &out)).contains("exists already"));
}

#[test]
fn a_bundle_that_is_not_genuine_is_not_unsealed() {
    let sealed = Sealed::keys();
    let (tree, file) = sealed_bundle(&sealed);
    let out = sealed.directory.path("out");
    let refused = |code, more: &[&str]| {
        let message = fails(code, &[&sealed.unseal_arguments(&file, &out)[..], more].concat());
        let left = fs::read_dir(sealed.directory.path("")).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name.to_str().unwrap().contains("seal")).collect();
        assert!(!Path::new(&out).exists() && left == ["web.bundle.seal"], "{message}: {left:?}");
        message
    };
    assert!(refused(77, &["--bundle", "mail"]).contains("name: wanted mail, got web"));
    assert!(refused(77, &["--minimum-version", "4"]).contains("version: wanted at least 4, got 3"));
    assert!(refused(78, &["--model", "web"]).contains("is a file; a model is sealed as a directory"));
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert!(refused(77, &[]).contains("altered"));

    // Files and directories, each sealed by its own flag.
    let another = sealed.directory.path("another");
    let mut arguments = sealed.seal_arguments("3", &another);
    arguments[1] = &tree;
    assert!(fails(78, &arguments).contains("is sealed with --bundle NAME"));
    let mut arguments = sealed.seal_arguments("3", &another);
    arguments[2] = "--bundle";
    assert!(fails(78, &arguments).contains("seal a model with --model"));
    std::os::unix::fs::symlink("/etc/passwd", format!("{tree}/link")).unwrap();
    let mut arguments = sealed.seal_arguments("3", &another);
    (arguments[1], arguments[2], arguments[3]) = (&tree, "--bundle", "web");
    assert!(fails(78, &arguments).contains("leads to \"/etc/passwd\", out of the bundle"));
    assert!(!Path::new(&another).exists());
}

#[test]
fn an_interrupted_seal_leaves_nothing() {
    use std::{io::Write, process::Stdio, time::Duration};

    use nix::{
        sys::{
            signal::{Signal, kill},
            stat::Mode,
        },
        unistd::{Pid, mkfifo},
    };

    let sealed = Sealed::keys();
    let base = sealed.directory.path("models");
    // A model that comes slowly.
    let slow = sealed.directory.path("slow.onnx");
    mkfifo(Path::new(&slow), Mode::S_IRWXU).unwrap();
    let mut arguments = sealed.seal_arguments("3", &base);
    arguments[1] = &slow;
    arguments.push("--unchecked");
    let child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut model = fs::OpenOptions::new().write(true).open(&slow).unwrap();
    model.write_all(&[7; 1000]).unwrap();
    let entries = || fs::read_dir(&base).map_or(0, Iterator::count);
    while entries() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    // The signal is noticed at the next read, as soon as it has been delivered.
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    while model.write_all(&[7; 1000]).is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "as a shell reports SIGINT");
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"));
    assert_eq!(entries(), 0);
}

#[test]
fn wrong_input_to_seal_says_what_to_do() {
    let sealed = Sealed::keys();
    let base = sealed.directory.path("models");
    let with = |position: usize, value: &str| {
        let mut arguments = sealed.seal_arguments("3", &base);
        arguments[position] = value;
        adytum(&arguments)
    };
    let empty = sealed.directory.write("empty.onnx", b"");
    let nothing = sealed.directory.path("nothing");
    fs::create_dir(&nothing).unwrap();
    let secret = fs::read_to_string(&sealed.identity).unwrap();
    for (position, value, code, expected) in [
        (1, sealed.directory.path("missing.onnx").as_str(), 78, "missing.onnx can't be read"),
        (1, empty.as_str(), 78, "is an empty file"),
        (1, nothing.as_str(), 78, "holds no model: it is empty"),
        (3, "../digits", 2, "a model name has '.' at position 0"),
        (5, "-1", 2, "unexpected argument '-1'"),
        (5, "18446744073709551615", 78, "above 9223372036854775807"),
        (7, "age1nonsense", 78, "is not an age recipient"),
        (7, secret.trim(), 78, "Consider the identity exposed"),
        (9, sealed.model.as_str(), 78, "more than 65536 bytes"),
        (11, sealed.model.as_str(), 78, "File exists"),
    ] {
        let stderr = with(position, value).failed_with(code);
        assert!(stderr.contains(expected), "{value}: {stderr}");
        assert!(!stderr.contains(&secret[20..40]), "a secret was printed");
    }
    assert!(!Path::new(&base).exists() || fs::read_dir(&base).unwrap().count() == 0, "something was left");
}

#[test]
fn every_command_explains_itself() {
    let help = succeeds(&["--help"]);
    for subject in [
        "owner",
        "genesis",
        "measure",
        "manifest",
        "broker",
        "secret",
        "model",
        "model-key",
        "seal",
        "unseal",
    ] {
        assert!(help.contains(subject), "{help}");
        assert!(succeeds(&[subject, "--help"]).contains("Usage:"));
    }
    adytum::<&str>([]).failed_with(2);
    adytum(["nonsense"]).failed_with(2);
}

#[test]
fn a_closed_output_is_not_a_panic() {
    use std::process::Stdio;

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let directory = Directory::new();
    let mut command = command(["owner", "new", "--out", &directory.path("owner.pem")]);
    command.stdout(writer).stderr(Stdio::piped());
    let outcome = run(command);
    outcome.succeeded();
    assert_eq!(outcome.stderr(), "");
}

#[test]
fn measures_a_broker() {
    let directory = Directory::new();
    let broker = directory.write("adytum-broker", b"a broker");
    let identity = succeeds(&["measure", "--broker", &broker]);
    assert_eq!(identity.len(), 64);
    let json = succeeds(&["measure", "--broker", &broker, "--json"]);
    assert!(json.contains(&identity) && json.contains("\"program\""), "{json}");
    fs::write(&broker, b"a brokeR").unwrap();
    assert_ne!(succeeds(&["measure", "--broker", &broker]), identity);
    adytum(["measure"]).failed_with(2);
    adytum(["measure", "--program", &broker]).failed_with(2);
}

#[test]
fn measures_a_workload() {
    let directory = Directory::new();
    let program = directory.write("server", b"a server");
    let configuration = |genesis: &str| {
        format!(
            "format = \"adytum workload v1\"\n[broker]\ngenesis = \"{}\"\n[broker.policy]\n{}",
            genesis.repeat(32),
            enclave_policy(0x22),
        )
    };
    let file = directory.write("workload.toml", configuration("11").as_bytes());
    let measure = ["measure", "--configuration", &file, "--program", &program];
    let identity = succeeds(&measure);
    assert_eq!(identity.len(), 64);
    let json = succeeds(&[&measure[..], &["--json"]].concat());
    let parts: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parts["identity"], identity);
    assert_eq!(parts["init"], parts["program"]);
    // The same says the same; one changed byte anywhere says something else.
    assert_eq!(succeeds(&measure), identity);
    let init = directory.write("init", b"an init");
    assert_ne!(succeeds(&[&measure[..], &["--init", &init]].concat()), identity);
    fs::write(&program, b"a serveR").unwrap();
    assert_ne!(succeeds(&measure), identity);
    fs::write(&program, b"a server").unwrap();
    fs::write(&file, configuration("12")).unwrap();
    assert_ne!(succeeds(&measure), identity);

    fs::write(&file, "format = \"adytum workload v9\"\n").unwrap();
    assert!(fails(78, &measure).contains("workload v9"));
    assert!(
        fails(78, &["measure", "--configuration", &directory.path("none"), "--program", &program])
            .contains("none")
    );
}
