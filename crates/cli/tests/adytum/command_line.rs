//! The command line as a whole: exit codes, errors as JSON, silence, help pages and their examples,
//! completion and manual pages.

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Stdio},
};

use adytum_testkit::{
    directory::Directory,
    model_server::{Behaviour, ModelServer},
    program::{self, Outcome},
};
use serde_json::Value;
use tonic::Status;

use crate::fixture::{adytum, command, run};

/// Runs it with `--json`: its exit code and the object on standard error.
fn error_of(words: &[&str]) -> (i32, Value) {
    let outcome = adytum([words, &["--json"]].concat());
    let stderr = outcome.stderr();
    let line = stderr.lines().last().unwrap_or_else(|| panic!("{words:?} says nothing"));
    let error: Value =
        serde_json::from_str(line).unwrap_or_else(|fault| panic!("{words:?}: {fault}: {stderr}"));
    assert_eq!(outcome.stdout(), "", "{words:?}");
    for field in ["kind", "code", "message", "exit_code", "retry", "do"] {
        assert!(error.get(field).is_some(), "{words:?}: {field}: {error}");
    }
    // The same without JSON, in words.
    let plain = adytum(words);
    assert_eq!(plain.exit_code(), outcome.exit_code(), "{words:?}");
    let code = outcome.exit_code().unwrap();
    assert_eq!(error["exit_code"], code, "{words:?}");
    (code, error)
}

/// Nothing listens there.
const NOBODY: &str = "127.0.0.1:1";

#[test]
fn a_wrong_command_line_ends_with_2() {
    for words in
        [&["nonsense"][..], &["seal"], &["owner", "new", "--oot", "x"], &["model"], &["-q", "-v", "doctor"]]
    {
        let (code, error) = error_of(words);
        assert_eq!((code, &error["kind"], &error["retry"]), (2, &"usage".into(), &"no".into()), "{words:?}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{words:?}");
    }
    // Help and version are no errors.
    adytum(["--help", "--json"]).succeeded();
    adytum(["--version", "--json"]).succeeded();
}

#[test]
fn files_and_settings_end_with_78() {
    let directory = Directory::new();
    let text = directory.write("text.toml", "nonsense = ");
    let missing = directory.path("missing.pem");
    for words in [
        &["owner", "show", &missing][..],
        &["owner", "show", &text],
        &["genesis", "show", &text],
        &["manifest", "check", &text],
        &["explain", "no-such-code"],
        &["context", "use", "nobody"],
        &["call", "--input", "x=@rows.txt"],
        &["proxy", "--server", "127.0.0.1:1", "--listen", "127.0.0.1:0"],
        &["ssl-config", "new", "--crt", &missing, "--out", &missing, "--host", "\u{e4} b"],
        #[cfg(feature = "simulation")]
        &["simulation", "root", directory.root().to_str().unwrap()],
    ] {
        let (code, error) = error_of(words);
        assert_eq!((code, &error["kind"]), (78, &"configuration".into()), "{words:?}: {error}");
    }
    // An error of the system has a next step, too.
    let (_, error) = error_of(&["owner", "show", &missing]);
    assert_eq!(error["do"], "check the path");
    let (_, error) = error_of(&["genesis", "show", &text]);
    assert_eq!(error["code"], "genesis-syntax");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_away_overloaded_or_refuse_are_told_apart() {
    let call = |server: &str| vec!["call".to_owned(), "--server".to_owned(), server.to_owned()];
    let asked = |server: &str| {
        let words =
            [call(server), ["--model", "digits", "--input", "x=1"].map(str::to_owned).to_vec()].concat();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        tokio::task::block_in_place(|| error_of(&words))
    };
    let (code, error) = asked(NOBODY);
    assert_eq!(
        (code, &error["kind"], &error["code"]),
        (69, &"unreachable".into(), &"connection-refused".into())
    );
    assert_eq!(error["retry"], "yes");

    for (status, code, kind) in [
        (Status::unavailable("it loads"), 75, "try-again"),
        (Status::permission_denied("no"), 77, "refused"),
        (Status::invalid_argument("no"), 78, "configuration"),
        (Status::internal("no"), 1, "other"),
    ] {
        let behaviour = Behaviour {
            predict: std::sync::Arc::new(move |_, _| Err(status.clone())),
            ..Behaviour::default()
        };
        let server = ModelServer::start(behaviour, None).await;
        let target = server.target("localhost");
        let directory = Directory::new();
        let image = directory.path("a.png");
        image::GrayImage::from_pixel(8, 8, image::Luma([9])).save(&image).unwrap();
        let (found, error) =
            tokio::task::block_in_place(|| error_of(&["predict", "--server", &target, "--image", &image]));
        assert_eq!((found, &error["kind"]), (code, &kind.into()), "{error}");
        assert!(error["do"].is_string(), "{error}");
    }
}

#[cfg(feature = "simulation")]
#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_ends_with_77() {
    let fixture = crate::fixture::Fixture::new(1, 1).await;
    // Another program than the expected one.
    let words =
        crate::fixture::with(fixture.pinned(&["broker", "status"]), "--broker-measurement", &"b1".repeat(32));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (code, error) = tokio::task::block_in_place(|| error_of(&words));
    assert_eq!((code, &error["kind"], &error["code"]), (77, &"refused".into(), &"policy-refused".into()));
    // The broker refuses a stranger.
    let stranger = fixture.path("stranger.pem");
    adytum(["owner", "new", "--out", &stranger]).succeeded();
    let mut words = fixture.pinned(&["secret", "list"]);
    words.extend(["--owner".to_owned(), stranger]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (code, error) = tokio::task::block_in_place(|| error_of(&words));
    assert_eq!((code, &error["kind"]), (77, &"refused".into()), "{error}");
}

#[test]
fn silence_leaves_results_and_errors() {
    let directory = Directory::new();
    let (platform, key) = (directory.path("platform"), directory.path("a.pem"));
    adytum(["owner", "new", "--out", &key]).succeeded();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(adytum(["owner", "show", &key]).stderr().contains("others can read"));
    let quiet = adytum(["-q", "owner", "show", &key]);
    assert!(quiet.succeeded().starts_with("ed25519:"), "{quiet:?}");
    assert_eq!(quiet.stderr(), "");
    assert_ne!(adytum(["owner", "show", &directory.path("none"), "--quiet"]).failed_with(78), "");
    if cfg!(feature = "simulation") {
        assert!(adytum(["simulation", "new", &platform]).stderr().contains("protects nothing"));
        let other = directory.path("other");
        assert_eq!(adytum(["simulation", "new", &other, "-q"]).stderr(), "");
    }
}

/// All pages of help, by the words of their command.
fn pages() -> Vec<(Vec<String>, String)> {
    let mut all = Vec::new();
    let mut left = vec![Vec::<String>::new()];
    while let Some(path) = left.pop() {
        let mut wide = command(path.iter().map(String::as_str).chain(["--help"]));
        wide.env("COLUMNS", "200");
        let page = run(wide).succeeded();
        for line in
            page.lines().take_while(|line| !line.starts_with("Everywhere:") && !line.starts_with("Options:"))
        {
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_command = line.starts_with("  ") && !line.starts_with("   ") && page.contains("<COMMAND>");
            if let (true, Some(name)) = (is_command, words.first())
                && *name != "help"
            {
                left.push([path.clone(), vec![(*name).to_owned()]].concat());
            }
        }
        all.push((path, page));
    }
    all
}

#[test]
fn help_names_exit_codes_and_fits_a_narrow_terminal() {
    let page = adytum(["--help"]).succeeded();
    for part in
        ["Owners and their broker:", "Exit codes:", "69", "75", "77", "78", "--json", "--quiet", "--verbose"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    let mut narrow = command(["--help"]);
    narrow.env("COLUMNS", "40");
    let page = run(narrow).succeeded();
    let long = page.lines().find(|line| line.chars().count() > 40);
    assert!(long.is_none(), "{long:?}");
}

/// The examples on a page, each as a line for a shell.
fn examples(page: &str) -> Vec<String> {
    let mut lines = page.lines().skip_while(|line| !matches!(*line, "Example:" | "Examples:"));
    lines.next();
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", "");
    joined.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Examples that need a server, a TEE or a broker, by the beginning of their command. All others are
/// run.
const NEED_MORE: &[&str] = &[
    "adytum up ",
    "adytum doctor",
    "adytum provision",
    "adytum broker ",
    "adytum secret ",
    "adytum audit ",
    "adytum deployment ",
    "adytum workload ",
    "adytum model release",
    "adytum model list",
    "adytum model retire",
    "adytum model pull s3:",
    "adytum model show",
    "adytum model import",
    "adytum manifest history",
    "adytum manifest apply",
    "adytum manifest get",
    // Hardware: Azure attests no simulated platform.
    "adytum manifest azure-policy",
    "adytum manifest diff manifest-2.toml --broker",
    "adytum evidence collect --out",
    "adytum evidence show --replica",
    "adytum verify models.example.com",
    "adytum verify token.jwt",
    "adytum call",
    "adytum predict",
    "adytum bench",
    "adytum proxy",
    // A broker's binary.
    "adytum measure --broker",
];

/// The order of the examples by the words of their command: each needs what those before it made.
const ORDER: &[&str] = &[
    "owner new",
    "owner show",
    "simulation new",
    "simulation root",
    "genesis new",
    "genesis show",
    "measure --configuration",
    "init-data new",
    "init-data digest",
    "evidence collect",
    "evidence show",
    "verify",
    "manifest new",
    "manifest check",
    "manifest sign",
    "manifest diff",
    "manifest explain",
    "service export",
    "service sign",
    "service show",
    "model check",
    "model-key new",
    "model-key show",
    "recovery-key new",
    "recovery-key show",
    "model pull",
    "seal",
    "unseal",
    "ssl-config new",
    "context add",
    "context list",
    "context use",
    "context show",
    "context remove",
    "explain",
    "completion",
    "man",
];

#[cfg(feature = "simulation")]
#[test]
fn examples_that_need_no_server_run_as_printed() {
    run_examples("exec \"$ADYTUM\" \"$@\"", |_, _| {});
}

/// The examples again, each with `--json`.
#[cfg(feature = "simulation")]
#[test]
fn examples_print_json_where_it_is_asked_for() {
    let mut printed = 0;
    // An example may put its output into a file, so a copy of it is checked.
    // A command inside of `$(...)` gives another one its words, so it prints a line for people.
    let script = "[[ $1 == model-key && $2 == show ]] || { \"$ADYTUM\" --json \"$@\" | tee -a \"$PRINTED\"; exit; }\n\
                  exec \"$ADYTUM\" \"$@\"";
    run_examples(script, |line, stdout| {
        // It is not asked for as JSON here.
        if line.starts_with("adytum model-key show") {
            return;
        }
        printed += crate::json::objects(line, stdout).len();
    });
    assert!(printed >= 40, "{printed}");
}

/// The commands that no example without a server runs, and the test that has them print JSON.
#[cfg(feature = "simulation")]
const JSON_ELSEWHERE: &[(&str, &str)] = &[
    ("up", "with_json_each_line_is_an_object"),
    ("doctor", "results_are_json_where_it_is_asked_for"),
    ("model release", "steps_and_drafts_are_json_where_it_is_asked_for"),
    ("model list", "steps_and_drafts_are_json_where_it_is_asked_for"),
    ("model retire", "steps_and_drafts_are_json_where_it_is_asked_for"),
    ("deployment new", "steps_and_drafts_are_json_where_it_is_asked_for"),
    ("deployment build", "steps_and_drafts_are_json_where_it_is_asked_for"),
    ("deployment status", "steps_and_drafts_are_json_where_it_is_asked_for"),
    ("workload policy", "steps_and_drafts_are_json_where_it_is_asked_for"),
    ("workload new", "steps_and_drafts_are_json_where_it_is_asked_for"),
    ("broker verify", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    ("broker status", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    ("broker ca", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    ("broker rotate-ca", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    ("broker forecast", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    ("provision", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    ("manifest apply", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    ("manifest history", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    ("manifest azure-policy", "azure_policy.rs"),
    ("manifest get", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    ("secret put", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    ("secret list", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    ("secret rotate", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    ("secret rm", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    ("audit tail", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    ("audit export", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    ("audit verify", "what_a_broker_is_asked_is_json_where_it_is_asked_for"),
    // Each prints steps alone (`output::step`).
    ("broker confirm", "steps"),
    ("broker recover", "steps"),
    ("broker authorise-upgrade", "steps"),
    // The answers of servers.
    ("call", "tests/tests/attested/verified.rs"),
    ("predict", "predict.rs"),
    ("bench", "predict.rs"),
    ("model show", "tests/tests/model_show.rs"),
    ("model import", "model.rs"),
    ("proxy", "tests/tests/model_show.rs"),
];

/// A new command is in a test of its output as JSON, or is refused here.
#[cfg(feature = "simulation")]
#[test]
fn every_command_is_in_a_test_of_json() {
    let leaf = |page: &str| !page.contains("<COMMAND>");
    for (words, page) in pages().into_iter().filter(|(_, page)| leaf(page)) {
        let name = words.join(" ");
        let runs = |line: &String| {
            let is_it = *line == format!("adytum {name}") || line.starts_with(&format!("adytum {name} "));
            is_it && !NEED_MORE.iter().any(|needy| line.starts_with(needy))
        };
        let elsewhere = JSON_ELSEWHERE.iter().any(|(command, _)| *command == name);
        let is_run = examples(&page).iter().any(runs);
        assert!(is_run != elsewhere, "{name}: say in JSON_ELSEWHERE which test has it print JSON: {is_run}");
    }
}

/// Runs the examples with a script in the place of `adytum`, and gives each with all that the
/// script put into the file `PRINTED`.
#[cfg(feature = "simulation")]
fn run_examples(script: &str, mut check: impl FnMut(&str, &str)) {
    // A group's page has examples of its commands, too.
    let all: BTreeSet<String> = pages().iter().flat_map(|(_, page)| examples(page)).collect();
    assert!(all.len() > 60, "{all:?}");
    let wanted = |line: &&String| !NEED_MORE.iter().any(|needy| line.starts_with(needy));
    let place = |line: &String| {
        let words = line.trim_start_matches("adytum ");
        let place = ORDER.iter().position(|start| words == *start || words.starts_with(&format!("{start} ")));
        place
            .unwrap_or_else(|| panic!("{line}: say in NEED_MORE or ORDER of this test whether it can be run"))
    };
    let mut lines: Vec<&String> = all.iter().filter(wanted).collect();
    lines.sort_by_key(|line| place(line));

    let directory = Directory::new();
    let path = |name: &str| directory.path(name);
    // What the examples name and a reader has already.
    fs::copy(env!("CARGO_BIN_EXE_adytum"), path("adytum-serving")).unwrap();
    fs::create_dir_all(path("bin")).unwrap();
    fs::write(path("bin/adytum"), format!("#!/bin/bash\nset -euo pipefail\n{script}\n")).unwrap();
    fs::set_permissions(path("bin/adytum"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let digits = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/digits/model.onnx");
    fs::copy(digits, path("digits.onnx")).unwrap();
    let source = path("srv/models/digits/1");
    fs::create_dir_all(&source).unwrap();
    fs::copy(path("digits.onnx"), format!("{source}/model.onnx")).unwrap();
    adytum(["owner", "new", "--out", &path("bob.pem")]).succeeded();
    directory.write("policy.toml", adytum_testkit::manifest::simulated_policy("1f".repeat(32)));
    fs::create_dir_all(path("home/.local/share/bash-completion/completions")).unwrap();
    fs::create_dir_all(path("models")).unwrap();

    for line in lines {
        // Two versions to compare.
        if line.contains("manifest diff") {
            fs::copy(path("manifest.toml"), path("manifest-1.toml")).unwrap();
            let text = directory.read("manifest.toml").replacen("version = 1", "version = 2", 1);
            directory.write("manifest-2.toml", text);
        }
        if line.contains("measure --configuration") {
            let genesis = adytum(["genesis", "show", "--digest", &path("genesis.toml")]).succeeded();
            let policy = adytum_testkit::manifest::enclave_policy(0x1f);
            directory.write(
                "workload.toml",
                format!(
                    "format = \"adytum workload v1\"\n[broker]\ngenesis = \"{}\"\n[broker.policy]\n{policy}",
                    genesis.trim()
                ),
            );
        }
        let line = line.replace("/srv/models", &path("srv/models")).replace("DIGEST", &"ab".repeat(32));
        let mut shell = program::command("/bin/bash", ["-euo", "pipefail", "-c", &line]);
        shell
            .current_dir(directory.root())
            .env("PATH", format!("{}:/usr/bin:/bin", path("bin")))
            .env("HOME", path("home"))
            .env("ADYTUM", env!("CARGO_BIN_EXE_adytum"))
            .env("PRINTED", path("printed.json"))
            .env("XDG_CONFIG_HOME", path("home/.config"))
            .env("XDG_STATE_HOME", path("home/.state"));
        directory.write("printed.json", "");
        let outcome = program::run(shell);
        assert!(outcome.0.status.success(), "{line}\n{}{}", outcome.stdout(), outcome.stderr());
        check(&line, &directory.read("printed.json"));
    }
}

#[test]
fn bash_completes_subcommands_and_flags() {
    let directory = Directory::new();
    let script = directory.write("adytum.bash", adytum(["completion", "bash"]).succeeded());
    let complete = |words: &str| {
        let program = format!(
            "source {script}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _adytum adytum \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[*]}}\""
        );
        let outcome = program::run(program::command("bash", ["-c", &program]));
        outcome.succeeded().trim().to_owned()
    };
    assert_eq!(complete("adytum mani"), "manifest");
    assert_eq!(complete("adytum model che"), "check");
    assert!(complete("adytum seal --ve").contains("--version"));
    for shell in ["zsh", "fish"] {
        assert!(adytum(["completion", shell]).succeeded().contains("adytum"), "{shell}");
    }
    adytum(["completion", "cmd"]).failed_with(2);
}

#[test]
fn manual_pages_render_without_warnings() {
    let directory = Directory::new();
    let at = directory.path("man1");
    let said = adytum(["man", &at, "--json"]).succeeded();
    let said: Value = serde_json::from_str(&said).unwrap();
    let pages: Vec<_> = fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(said["pages"], pages.len());
    assert!(pages.iter().any(|page| page.ends_with("adytum-model-check.1")), "{pages:?}");
    if !Command::new("groff")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        println!("SKIPPED: no groff");
        return;
    }
    let mut groff = Command::new("groff");
    groff.args(["-man", "-Tutf8", "-ww", "-rLL=72n"]).args(&pages);
    let outcome = Outcome(groff.output().unwrap());
    assert!(outcome.succeeded().contains("adytum"));
    assert_eq!(outcome.stderr(), "");
}
