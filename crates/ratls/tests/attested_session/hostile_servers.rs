//! Servers that stall, flood or send garbage at each step, or skip the
//! attestation.

use std::time::Duration;

use adytum_api::session as wire;
use adytum_ratls::{
    error::SessionError,
    handshake::{
        binding::{Nonce, Role},
        message::{parse_client_hello, wire_evidence},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{Instant, sleep},
};

use crate::{
    fixture::{BROKER, Fixture, GENESIS, LIMIT, address, broker_announcement, refusal, refusal_by_peer},
    raw::{self, Raw, RawKey},
};

/// How far an attacker plays by the rules.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// The client's hello was received.
    Hello,
    /// Genuine evidence was sent and the client's received.
    Attested,
}

const STEPS: [(Step, &str); 2] =
    [(Step::Hello, "waiting for ServerAttestation"), (Step::Attested, "waiting for SessionResult")];

async fn reach(step: Step, fixture: &Fixture, stream: DuplexStream) -> Raw {
    let key = RawKey::new();
    let mut raw = raw::server(stream, &key).await;
    let client_nonce = parse_client_hello(&raw.receive().await).unwrap();
    if step == Step::Attested {
        let server_nonce = Nonce::generate().unwrap();
        let announcement = broker_announcement(GENESIS);
        let binding = raw.as_server(client_nonce, server_nonce);
        let evidence = fixture.quote(BROKER, binding.report_data(Role::Server, &announcement));
        raw.send(&wire::ServerAttestation {
            nonce: server_nonce.0.to_vec(),
            evidence: Some(wire_evidence(evidence).unwrap()),
            announcement: announcement.to_vec(),
            refusal: None,
            collateral: None,
        })
        .await;
        raw.receive().await;
    }
    raw
}

/// What the replica says of an attacker, and how long it took.
async fn attack<F: Future<Output = ()>>(
    fixture: &Fixture,
    stream: DuplexStream,
    attacker: F,
) -> (Result<(), SessionError>, Duration) {
    let replica = fixture.replica();
    let started = Instant::now();
    let connect = async {
        let result = replica.connect_over(stream, "broker", address()).await.map(drop);
        (result, started.elapsed())
    };
    tokio::pin!(connect, attacker);
    let mut over = false;
    loop {
        tokio::select! {
            outcome = &mut connect => return outcome,
            () = &mut attacker, if !over => over = true,
        }
    }
}

#[track_caller]
fn timed_out((result, took): (Result<(), SessionError>, Duration), at: &str) {
    match result {
        Err(error @ SessionError::Timeout { step, .. }) => {
            assert_eq!(step, at);
            assert_eq!((error.code(), error.retry()), ("handshake-timeout", true));
        }
        other => panic!("expected a timeout, found {other:?}"),
    }
    assert!(took >= LIMIT && took < LIMIT + Duration::from_secs(2), "{took:?}");
}

/// Defence: the time limit over the whole handshake.
#[tokio::test(start_paused = true)]
async fn a_server_that_falls_silent_is_given_up_in_time() {
    let fixture = Fixture::new();
    let (ours, theirs) = raw::pipe();
    timed_out(
        attack(&fixture, ours, async {
            let _held = theirs;
            std::future::pending().await
        })
        .await,
        "TLS handshake",
    );
    for (step, at) in STEPS {
        let (ours, theirs) = raw::pipe();
        let attacker = async {
            let _held = reach(step, &fixture, theirs).await;
            std::future::pending().await
        };
        timed_out(attack(&fixture, ours, attacker).await, at);
    }
}

/// Defence: the limit is on the whole, not on the pause between two bytes.
#[tokio::test(start_paused = true)]
async fn a_server_that_drips_is_given_up_in_time() {
    let fixture = Fixture::new();
    for (step, at) in STEPS {
        let (ours, theirs) = raw::pipe();
        let attacker = async {
            let mut raw = reach(step, &fixture, theirs).await;
            for byte in [0, 0, 1, 0].into_iter().chain(std::iter::repeat(7)) {
                if raw.stream.write_all(&[byte]).await.is_err() || raw.stream.flush().await.is_err() {
                    break;
                }
                sleep(Duration::from_secs(1)).await;
            }
        };
        timed_out(attack(&fixture, ours, attacker).await, at);
    }
}

/// Defence: lengths are compared with the limits before anything is read.
#[tokio::test(start_paused = true)]
async fn a_server_that_floods_is_refused_at_once() {
    let fixture = Fixture::new();
    for (step, _) in STEPS {
        for prefix in [[0xff; 4], [0, 2, 0, 1]] {
            let (ours, theirs) = raw::pipe();
            let sent = std::cell::Cell::new(0);
            let attacker = async {
                let mut raw = reach(step, &fixture, theirs).await;
                let _ = raw.stream.write_all(&prefix).await;
                let block = [0x5a; 8192];
                while raw.stream.write_all(&block).await.is_ok() {
                    sent.set(sent.get() + block.len());
                }
            };
            let (result, took) = attack(&fixture, ours, attacker).await;
            assert_eq!(refusal(result).code, "message-too-long", "{step:?}");
            assert_eq!(took, Duration::ZERO);
            assert!(sent.get() < 1024 * 1024, "{} bytes were taken", sent.get());
        }
    }
}

/// Defence: a message that is as long as it may be, and never ends.
#[tokio::test(start_paused = true)]
async fn endless_bytes_end_at_the_length_of_the_message() {
    let fixture = Fixture::new();
    for (step, length) in [(Step::Hello, 128 * 1024u32), (Step::Attested, 8 * 1024)] {
        let (ours, theirs) = raw::pipe();
        let attacker = async {
            let mut raw = reach(step, &fixture, theirs).await;
            let _ = raw.stream.write_all(&length.to_be_bytes()).await;
            while raw.stream.write_all(&[0x5a; 8192]).await.is_ok() {}
        };
        let (result, took) = attack(&fixture, ours, attacker).await;
        assert_eq!(refusal(result).code, "message-malformed");
        assert_eq!(took, Duration::ZERO);
    }
}

/// Defence: exact parsing, and errors instead of panics.
#[tokio::test(start_paused = true)]
async fn a_server_that_sends_garbage_is_refused() {
    let fixture = Fixture::new();
    for (step, _) in STEPS {
        for bytes in [&[0][..], &[0xff; 34], b"HTTP/1.1 200 OK\r\n\r\n", &[0x0a, 0x7f, 1], &[0x0a, 0x00]] {
            let (ours, theirs) = raw::pipe();
            let attacker = async {
                let mut raw = reach(step, &fixture, theirs).await;
                raw.send_bytes(bytes).await;
                let _ = raw.stream.read_to_end(&mut Vec::new()).await;
            };
            let (result, took) = attack(&fixture, ours, attacker).await;
            assert_eq!(refusal(result).code, "message-malformed", "{step:?} {bytes:?}");
            assert_eq!(took, Duration::ZERO);
        }
    }
}

/// A server that goes away is an error of the connection, at every step.
#[tokio::test(start_paused = true)]
async fn a_server_that_goes_away_is_noticed_at_once() {
    let fixture = Fixture::new();
    for (step, _) in STEPS {
        let (ours, theirs) = raw::pipe();
        let attacker = async {
            drop(reach(step, &fixture, theirs).await);
        };
        let (result, took) = attack(&fixture, ours, attacker).await;
        match result {
            Err(error @ SessionError::Io { .. }) => assert!(error.retry()),
            other => panic!("{step:?}: {other:?}"),
        }
        assert_eq!(took, Duration::ZERO);
    }
}

/// Defence: nothing is a session before message 4. A server that speaks HTTP/2
/// directly after TLS: SETTINGS (RFC 9113 section 6.5), then a window update.
#[tokio::test(start_paused = true)]
async fn a_server_that_skips_the_attestation_is_refused() {
    let fixture = Fixture::new();
    let settings: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
    let empty: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    for bytes in [settings, empty] {
        let (ours, theirs) = raw::pipe();
        let key = RawKey::new();
        let attacker = async {
            let mut raw = raw::server(theirs, &key).await;
            raw.stream.write_all(bytes).await.unwrap();
            raw.stream.flush().await.unwrap();
            // As if all were well: everything the client says is read.
            let _ = raw.stream.read_to_end(&mut Vec::new()).await;
        };
        let (result, _) = attack(&fixture, ours, attacker).await;
        let code = match &result {
            Err(error) => error.code().to_owned(),
            Ok(()) => panic!("a session without attestation"),
        };
        assert!(["message-malformed", "handshake-timeout"].contains(&code.as_str()), "{code}");
    }
}

/// Defence: message 2 without evidence is no attestation, whatever else it says.
#[tokio::test(start_paused = true)]
async fn a_server_without_evidence_is_refused() {
    let fixture = Fixture::new();
    for announcement in [Vec::new(), broker_announcement(GENESIS).to_vec()] {
        let (ours, theirs) = raw::pipe();
        let attacker = async {
            let mut raw = reach(Step::Hello, &fixture, theirs).await;
            raw.send(&wire::ServerAttestation { nonce: vec![1; 32], announcement, ..Default::default() })
                .await;
            let _ = raw.stream.read_to_end(&mut Vec::new()).await;
        };
        let (result, _) = attack(&fixture, ours, attacker).await;
        assert_eq!(refusal(result).code, "message-malformed");
    }
}

/// A server's refusal reaches the caller with its code, in both places.
#[tokio::test(start_paused = true)]
async fn a_servers_refusal_is_the_callers_error() {
    let fixture = Fixture::new();
    for (step, _) in STEPS {
        let (ours, theirs) = raw::pipe();
        let attacker = async {
            let mut raw = reach(step, &fixture, theirs).await;
            let refusal = Some(wire::Refusal {
                code: "overloaded".into(),
                message: "later".into(),
                retry: true,
                kind: wire::RefusalKind::Outage.into(),
                retry_after_ms: 3_600_000,
            });
            match step {
                Step::Hello => raw.send(&wire::ServerAttestation { refusal, ..Default::default() }).await,
                Step::Attested => raw.send(&wire::SessionResult { refusal }).await,
            }
        };
        let (result, _) = attack(&fixture, ours, attacker).await;
        let received = refusal_by_peer(result);
        assert_eq!(
            (received.code.as_str(), received.message.as_str(), received.retry),
            ("overloaded", "later", true)
        );
        // Nobody keeps a client away for an hour.
        assert_eq!(received.retry_after(), Some(Duration::from_secs(60)));
    }
}
