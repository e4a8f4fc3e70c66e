//! What operators do to a running binary: SIGHUP; and what its log ties together.

use std::{fs, time::Duration};

use adytum_api::broker::{GetSecretsRequest, key_broker_client::KeyBrokerClient};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::sync::mpsc;
use tonic::Request;

use crate::{
    binary::{BinaryFixture, Process},
    fixture::{apply, execute, fetch, put},
};

const SECRET: &str = "open sesame, the cave of the forty";

async fn provision(binary: &BinaryFixture, process: &Process) {
    let fixture = &binary.fixture;
    let owner = fixture.connector(None, binary.identity(None));
    let owner = owner.session(&process.address.to_string()).await.unwrap();
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&fixture.document(1))))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", SECRET.as_bytes()))).await.unwrap();
}

#[tokio::test]
async fn a_hangup_reads_the_log_filter_again_and_a_broken_one_changes_nothing() {
    let binary = BinaryFixture::new();
    let filter = binary.path("filter");
    fs::write(&filter, "warn\n").unwrap();
    let flags = [format!("--log-filter-file={}", filter.display()), "--log-format=json".to_owned()];
    let mut process = binary.start(&flags.each_ref().map(String::as_str)).await;
    let (_, silent) = mpsc::unbounded_channel();
    let mut lines = std::mem::replace(&mut process.logs, silent);
    let pid = Pid::from_raw(process.child.id().unwrap().try_into().unwrap());
    let hang_up = || kill(pid, Signal::SIGHUP).unwrap();
    // Waits for such a line; gives what came before.
    let mut until = async |needle: &str| {
        let mut before = Vec::new();
        loop {
            let line = tokio::time::timeout(Duration::from_secs(30), lines.recv()).await;
            let line = line.unwrap_or_else(|_| panic!("no {needle} after {before:?}")).unwrap();
            if line.contains(needle) {
                return before;
            }
            before.push(line);
        }
    };
    provision(&binary, &process).await;
    fs::write(&filter, "info,adytum_broker=debug").unwrap();
    hang_up();
    let quiet = until("the log filter was read again").await;
    assert!(quiet.iter().all(|line| !line.contains("\"INFO\"")), "{quiet:?}");
    until("collateral is fetched again").await;

    for broken in ["adytum_broker=loud", "", &"x".repeat(5000)] {
        fs::write(&filter, broken).unwrap();
        hang_up();
        until("reload-failed").await;
        // The previous one is in force, and the broker serves.
        until("collateral is fetched again").await;
        let connector =
            binary.fixture.connector(Some(binary.fixture.attester("serving")), binary.identity(None));
        let replica = connector.session(&process.address.to_string()).await.unwrap();
        fetch(&replica, &["ssl_config"]).await.unwrap();
        until("secret granted").await;
    }
    fs::remove_file(&filter).unwrap();
    hang_up();
    until("reload-failed").await;
    assert!(process.terminate().await.status.success());
}

#[tokio::test]
async fn a_request_is_logged_with_its_session_and_trace() {
    let binary = BinaryFixture::new();
    let process = binary.start(&["--log-format=json"]).await;
    provision(&binary, &process).await;
    let fixture = &binary.fixture;
    let connector = fixture.connector(Some(fixture.attester("serving")), binary.identity(None));
    let replica = connector.session(&process.address.to_string()).await.unwrap();
    let mut client = KeyBrokerClient::new(replica.channel.clone());
    for traceparent in [
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 and more",
    ] {
        let names = vec!["ssl_config".to_owned()];
        let mut request = Request::new(GetSecretsRequest { names, ..Default::default() });
        request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
        client.get_secrets(request).await.unwrap();
    }
    let session = replica.info.id().to_string();
    let output = process.terminate().await;
    let logs = String::from_utf8(output.stderr).unwrap();
    let granted: Vec<serde_json::Value> = logs
        .lines()
        .filter(|line| line.contains("secret granted"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(granted.len(), 2, "{logs}");
    for event in &granted {
        assert_eq!(event["span"]["session"], session, "{event}");
        assert_eq!(event["span"]["service"], "release", "{event}");
    }
    assert_eq!(granted[0]["span"]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(granted[0]["span"]["parent_id"], "00f067aa0ba902b7");
    assert!(granted[1]["span"].get("trace_id").is_none(), "{}", granted[1]);
    let accepted = logs.lines().find(|line| line.contains("session accepted") && line.contains(&session));
    assert!(accepted.is_some(), "{logs}");
}
