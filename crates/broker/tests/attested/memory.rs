//! What sessions took is given back when they have ended.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::{
    binary::BinaryFixture,
    fixture::{apply, execute, fetch, put},
    health::{get, value},
};

const SESSIONS: usize = 400;

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_sessions_that_ended_is_given_back() {
    let binary = BinaryFixture::new();
    let process = binary.start(&["--health-listen=127.0.0.1:0"]).await;
    let (address, health) = (process.address.to_string(), process.health.unwrap());
    let fixture = &binary.fixture;
    let owner = fixture.connector(None, binary.identity(None)).session(&address).await.unwrap();
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&fixture.document(1))))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"open sesame"))).await.unwrap();
    let resident = async || value(&get(health, "/metrics").await.1, "process_resident_memory_bytes").unwrap();
    let connector = fixture.connector(Some(fixture.attester("serving")), binary.identity(None));
    let open = async || {
        let session = connector.session(&address).await.unwrap();
        fetch(&session, &["ssl_config"]).await.unwrap();
        session
    };
    // What the first ones leave for good is no part of it.
    drop(join_all((0..16).map(|_| open())).await);
    let before = resident().await;
    let mut held = Vec::new();
    for _ in 0..SESSIONS / 16 {
        held.extend(join_all((0..16).map(|_| open())).await);
    }
    let most = resident().await;
    drop(held);
    let ended = Instant::now();
    let mut left = most;
    while left - before > (most - before) / 2.0 && ended.elapsed() < Duration::from_secs(30) {
        sleep(Duration::from_millis(250)).await;
        left = resident().await;
    }
    let took = ended.elapsed();
    let open = value(&get(health, "/metrics").await.1, "adytum_broker_sessions").unwrap();
    println!(
        "{before} bytes became {most} with {SESSIONS} sessions, and {left} after {took:?}, with {open} open"
    );
    assert!(
        left - before <= (most - before) / 2.0,
        "{before} bytes became {most}, and {left} after {took:?}, with {open} sessions open"
    );
    assert!(process.terminate().await.status.success());
}
