//! `adytum doctor --cluster` with a `kubectl` that answers as a cluster does, or badly.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::Value;

use adytum_testkit::directory::Directory;

use crate::fixture::adytum;

/// A healthy cluster with one replica.
const HEALTHY: &str = r#"
case "$*" in
version*) echo '{"clientVersion": {}, "serverVersion": {"gitVersion": "v1.33.1"}}' ;;
"get nodes"*) echo '{"items": [{"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}]}' ;;
"get leases --namespace=kube-node-lease"*) echo '{"items": [{"metadata": {"name": "n"}, "spec": {"renewTime": "'"$(date -u +%Y-%m-%dT%H:%M:%S.000000Z)"'"}}]}' ;;
"get deployments"*"--namespace=models"*) echo '{"items": [{"metadata": {"name": "d"}, "spec": {"replicas": 1, "template": {"spec": {"containers": []}}}, "status": {"readyReplicas": 1}}]}' ;;
"get pods"*) echo '{"items": [{"metadata": {"name": "p"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}]}' ;;
"get secrets"*) echo 'adytum-sim-platform root.pem' ;;
"get runtimeclasses"*) echo "Error from server (Forbidden)" >&2; exit 1 ;;
*) echo '{"items": []}' ;;
esac
"#;

/// The exit code and the standard output and error of the command with this program as kubectl.
fn doctor(script: &str) -> (i32, String, String) {
    let directory = Directory::new();
    let program = directory.write("kubectl", format!("#!/bin/sh\n{script}"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    run(&program)
}

fn run(program: &str) -> (i32, String, String) {
    let words = ["doctor", "--cluster", "--kubectl", program, "--namespace", "models", "--json"];
    let outcome = adytum([&words[..], &["--patience", "10s"]].concat());
    (outcome.exit_code().unwrap(), outcome.stdout(), outcome.stderr())
}

#[test]
fn a_healthy_cluster_has_no_fault_and_a_sick_one_has() {
    let (code, stdout, stderr) = doctor(HEALTHY);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let findings: Vec<Value> = serde_json::from_str(&stdout).unwrap();
    let state = |part: &str| {
        let found = findings.iter().find(|one| one["part"] == part);
        found.unwrap_or_else(|| panic!("{part}: {stdout}"))["state"].clone()
    };
    for part in ["API", "clock", "Deployment", "Pod"] {
        assert_eq!(state(part), "ok", "{stdout}");
    }
    // A part that may not be read is unknown, and not a fault.
    assert_eq!((state("runtimeclasses"), state("secrets")), ("unknown".into(), "warning".into()));
    let (code, stdout, _) = doctor(&HEALTHY.replace("\"readyReplicas\": 1", "\"readyReplicas\": 0"));
    assert_eq!(code, 1, "{stdout}");
}

#[test]
fn a_kubectl_that_fails_is_slow_endless_or_absent_has_its_exit_code() {
    assert_eq!(doctor("echo connection refused >&2; exit 1").0, 69);
    assert_eq!(doctor("exec sleep 600").0, 69);
    assert_eq!(doctor("echo nonsense").0, 78);
    assert_eq!(doctor("echo '{\"serverVersion\": 7}'").0, 78);
    assert_eq!(doctor("exec cat /dev/zero").0, 78);
    assert_eq!(run("/nonexistent/kubectl").0, 78);
}
