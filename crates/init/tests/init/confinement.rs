//! A program that has init as a library: this test, started as a process of its
//! own with the name of one test as arguments.

use std::{fs, path::PathBuf, process::Stdio};

use adytum_init::configuration::MeasuredConfiguration;
use tokio::process::Command;

use crate::fixture::{Ended, ended};

/// Says that the process is to be confined, and by what.
const CONFIGURATION: &str = "ADYTUM_TEST_CONFIGURATION";
const PROGRAM: [&str; 3] = ["confinement::confined", "--exact", "--nocapture"];

/// Not a test but the program of the tests below; started as a test, it does
/// nothing.
#[test]
fn confined() {
    let Some(path) = std::env::var_os(CONFIGURATION) else { return };
    let configuration = MeasuredConfiguration::load(&PathBuf::from(path)).unwrap();
    if let Err(error) = adytum_init::confine_this_process(&configuration, &["nocapture"]) {
        println!("\nrefused {} {error}", error.code());
        std::process::exit(error.exit_code().into());
    }
    let mut names: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    names.retain(|variable| !variable.starts_with(CONFIGURATION));
    println!("\nenvironment {}", names.join(" "));
    println!("dumpable {}", nix::sys::prctl::get_dumpable().unwrap());
    std::process::exit(42);
}

async fn run(tables: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("workload.toml");
    let digest = "2".repeat(64);
    let text = format!(
        "format = \"adytum workload v1\"\n[program]\nrequired_arguments = [\"{}\", \"--exact\"]\n[environment]\n\
         allow = [\"{CONFIGURATION}\", \"ALLOWED\"]\nset = {{ PINNED = \"1\" }}\n[broker]\ngenesis = \"{digest}\"\n\
         [broker.policy]\nvendors = [\"intel\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{digest}\"]\n{tables}",
        PROGRAM[0],
    );
    fs::write(&path, text).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .env_clear()
        .env(CONFIGURATION, &path)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    ended(child).await
}

/// Nobody would unpack them.
#[tokio::test]
async fn bundles_are_refused_where_init_is_a_library() {
    let tables = "[[secret]]\nname = \"image_key\"\n[[bundle]]\nname = \"web\"\nfile = \"/srv/web\"\npath = \"/run/web\"\n";
    let ended = run(tables, &PROGRAM, &[]).await;
    assert_eq!(ended.code(), 78, "{ended:?}");
    assert!(
        ended.stdout.contains("refused program-not-pinned") && ended.stdout.contains("has bundles"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn the_environment_is_cleared() {
    let variables = [("ALLOWED", "yes"), ("OTHER", "no"), ("PATH", "/x"), ("PCCS_URL", "http://p")];
    let ended = run("", &PROGRAM, &variables).await;
    assert_eq!(ended.code(), 42, "{ended:?}");
    assert!(ended.stdout.contains("environment ALLOWED=yes PCCS_URL=http://p PINNED=1\n"), "{ended:?}");
    assert!(ended.stdout.contains("dumpable false"), "{ended:?}");
}

#[tokio::test]
async fn what_is_outside_the_pins_is_refused() {
    let more = [&PROGRAM[..], &["--show-output"]].concat();
    for (tables, arguments, variables, code) in [
        ("", &more[..], &[][..], "argument-refused"),
        ("", &PROGRAM, &[("PINNED", "2")], "environment-refused"),
        ("", &PROGRAM, &[("LD_BIND_NOW", "1")], "environment-refused"),
        ("[[library]]\npath = \"/no/such.so\"\nsha256 = \"DIGEST\"\n", &PROGRAM, &[], "program-unreadable"),
        ("[[library]]\npath = \"/proc/self/exe\"\nsha256 = \"DIGEST\"\n", &PROGRAM, &[], "program-mismatch"),
    ] {
        let ended = run(&tables.replace("DIGEST", &"3".repeat(64)), arguments, variables).await;
        assert_eq!(ended.code(), 78, "{code}: {ended:?}");
        assert!(ended.stdout.contains(&format!("refused {code}")), "{code}: {ended:?}");
    }
}
