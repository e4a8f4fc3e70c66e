//! What peers may cost.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::fixture::{Fixture, eventually, execute, fetch, identity, put, stable};

#[tokio::test]
async fn a_session_beyond_the_limit_is_closed_and_the_others_go_on() {
    let mut fixture = Fixture::new(1, 1);
    fixture.limits.maximum_sessions = 2;
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let first =
        eventually("a session is free", async || fixture.replica("serving", running.address).await.ok())
            .await;
    let second =
        eventually("a session is free", async || fixture.replica("serving", running.address).await.ok())
            .await;
    assert!(fixture.replica("serving", running.address).await.is_err());
    for session in [&first, &second] {
        fetch(session, &["ssl_config"]).await.unwrap();
    }
    drop((first, second));
    eventually("the sessions are free again", async || {
        fixture.replica("serving", running.address).await.ok()
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_and_the_session_lives() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let owner = fixture.owner(running.address).await;
    let huge = fixture.command(&owner, 1, put("ssl_config", &vec![0; 3 << 20]));
    assert_eq!(execute(&owner, huge).await.unwrap_err().code(), tonic::Code::OutOfRange);
    let large = fixture.command(&owner, 1, put("ssl_config", &vec![0; 1 << 20]));
    assert_eq!(stable(&execute(&owner, large).await.unwrap_err()).1, "secret-value-too-long");
    let many = vec!["name-of-a-secret"; 10_000];
    let replica = fixture.replica("serving", running.address).await.unwrap();
    assert_eq!(fetch(&replica, &many).await.unwrap_err().code(), tonic::Code::OutOfRange);
    fetch(&replica, &["ssl_config"]).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn overload_is_answered_at_once() {
    let mut fixture = Fixture::new(1, 1);
    fixture.limits.requests.release = 0;
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let replica = fixture.replica("serving", running.address).await.unwrap();
    let status = fetch(&replica, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&status), (tonic::Code::ResourceExhausted, "overloaded".into(), true));
    running.stop().await;
}

#[tokio::test]
async fn an_attested_session_ends_and_whoever_goes_on_attests_anew() {
    let mut fixture = Fixture::new(1, 1);
    fixture.limits.session_lifetime = Duration::from_secs(3);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let replica = fixture.replica("serving", running.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();
    let all_over = async || (running.broker.metrics().open_sessions() == 0).then_some(());
    eventually("it is over", all_over).await;
    fetch(&replica, &["ssl_config"]).await.unwrap_err();
    let next = fixture.replica("serving", running.address).await.unwrap();
    fetch(&next, &["ssl_config"]).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn an_attested_session_ends_whatever_its_peer_does() {
    let mut fixture = Fixture::new(1, 1);
    fixture.limits.session_lifetime = Duration::from_secs(2);
    fixture.limits.request_timeout = Duration::from_secs(1);
    let running = fixture.start().await;
    let manifest = crate::fixture::apply(&fixture.signed(&fixture.document(1)));
    let owner = fixture.owner(running.address).await;
    execute(&owner, fixture.command(&owner, 0, manifest)).await.unwrap();
    drop(owner);
    let open = || running.broker.metrics().open_sessions();
    eventually("the owner's is over", async || (open() == 0).then_some(())).await;
    let connector = fixture.connector(Some(fixture.attester("serving")), identity("broker"));
    let mut silent = connector.connect(&running.address.to_string()).await.unwrap();
    // The beginning of HTTP/2; to the broker's goodbye it has no answer.
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    silent.flush().await.unwrap();
    eventually("it is there", async || (open() == 1).then_some(())).await;
    eventually("it is over", async || (open() == 0).then_some(())).await;
    drop(silent);
    running.stop().await;
}

#[tokio::test]
async fn strangers_who_say_nothing_hold_nobody_up() {
    let mut fixture = Fixture::new(1, 1);
    fixture.limits.handshakes.maximum_handshakes = 8;
    fixture.limits.handshakes.handshake_timeout = Duration::from_millis(300);
    let running = fixture.start().await;
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    // Each is closed: those beyond the limit at once, the rest when their time is up.
    for stream in &mut silent {
        let mut byte = [0];
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut byte)).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    }
    fixture.provision(&running).await;
    running.stop().await;
}

#[tokio::test]
async fn the_shutdown_ends_idle_sessions_and_accepts_no_more() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let replica = fixture.replica("serving", running.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();
    let address = running.address;
    tokio::time::timeout(Duration::from_secs(5), running.stop())
        .await
        .expect("idle sessions don't hold it up");
    assert!(fetch(&replica, &["ssl_config"]).await.is_err());
    assert!(fixture.replica("serving", address).await.is_err());
}
