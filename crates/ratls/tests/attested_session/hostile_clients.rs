//! Clients that stall, flood or send garbage, at each step; and clients that
//! break the rules of the messages.

use std::time::Duration;

use adytum_api::session as wire;
use adytum_ratls::{
    error::SessionError,
    handshake::{
        binding::{Nonce, Role},
        message::{ServerAnswer, parse_server_attestation, parse_session_result, wire_evidence},
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    time::{Instant, sleep},
};

use crate::{
    fixture::{Fixture, LIMIT, REPLICA, address, refusal},
    raw::{self, Raw, RawKey},
};

/// How far an attacker plays by the rules.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Connected, nothing sent.
    Connected,
    /// TLS is done, no message sent.
    Tls,
    /// The server's attestation was received.
    Attested,
}

const STEPS: [Step; 3] = [Step::Connected, Step::Tls, Step::Attested];

enum Reached {
    Plain(DuplexStream),
    Encrypted(Box<Raw>),
}

async fn reach(step: Step, stream: DuplexStream) -> Reached {
    if let Step::Connected = step {
        return Reached::Plain(stream);
    }
    let mut raw = raw::client(stream, None).await;
    if let Step::Attested = step {
        raw.send(&raw::hello(Nonce::generate().unwrap())).await;
        raw.receive().await;
    }
    Reached::Encrypted(Box::new(raw))
}

impl Reached {
    fn stream(&mut self) -> Box<dyn Stream + '_> {
        match self {
            Self::Plain(stream) => Box::new(stream),
            Self::Encrypted(raw) => Box::new(&mut raw.stream),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// What the acceptor says of an attacker, and how long it took.
async fn attack<F>(stream: DuplexStream, attacker: F) -> (Result<(), SessionError>, Duration)
where
    F: Future<Output = ()>,
{
    let acceptor = Fixture::new().acceptor();
    let started = Instant::now();
    let accept = async {
        let result = acceptor.accept_over(stream, address()).await.map(drop);
        (result, started.elapsed())
    };
    tokio::pin!(accept, attacker);
    // The attacker may go on for ever; the acceptor may not.
    let mut over = false;
    loop {
        tokio::select! {
            outcome = &mut accept => return outcome,
            () = &mut attacker, if !over => over = true,
        }
    }
}

#[track_caller]
fn timed_out((result, took): (Result<(), SessionError>, Duration), at: &str) {
    match result {
        Err(SessionError::Timeout { step, .. }) => assert_eq!(step, at),
        other => panic!("expected a timeout, found {other:?}"),
    }
    assert!(took >= LIMIT && took < LIMIT + Duration::from_secs(2), "{took:?}");
}

/// Defence: the time limit over the whole handshake.
#[tokio::test(start_paused = true)]
async fn a_client_that_falls_silent_is_dropped_in_time() {
    for (step, at) in
        STEPS.into_iter().zip(["TLS handshake", "waiting for ClientHello", "waiting for ClientAttestation"])
    {
        let (ours, theirs) = raw::pipe();
        let attacker = async {
            let _held = reach(step, theirs).await;
            std::future::pending().await
        };
        timed_out(attack(ours, attacker).await, at);
    }
}

/// Defence: the limit is on the whole, not on the pause between two bytes.
#[tokio::test(start_paused = true)]
async fn a_client_that_drips_is_dropped_in_time() {
    for (step, at) in
        STEPS.into_iter().zip(["TLS handshake", "waiting for ClientHello", "waiting for ClientAttestation"])
    {
        let (ours, theirs) = raw::pipe();
        let attacker = async {
            let mut reached = reach(step, theirs).await;
            let mut stream = reached.stream();
            // The start of a TLS handshake record, or of a message of 34 bytes.
            let bytes: &[u8] = match step {
                Step::Connected => &[0x16, 3, 1, 0x10, 0, 1, 0, 0x0f, 0xfc, 3, 3],
                Step::Tls | Step::Attested => &[0, 0, 0, 34, 10, 32],
            };
            for byte in bytes.iter().chain(std::iter::repeat(&7)).take(36) {
                if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
                    break;
                }
                sleep(Duration::from_secs(1)).await;
            }
            std::future::pending().await
        };
        timed_out(attack(ours, attacker).await, at);
    }
}

/// Defence: the time limit is also over what is sent.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_dropped_in_time() {
    let (ours, theirs) = tokio::io::duplex(2048);
    let attacker = async {
        let mut raw = raw::client(theirs, None).await;
        raw.send(&raw::hello(Nonce::generate().unwrap())).await;
        std::future::pending().await
    };
    timed_out(attack(ours, attacker).await, "sending ServerAttestation");
}

/// Defence: lengths are compared with the limits before anything is read, and
/// what is read after a refusal is bounded in bytes and time.
#[tokio::test(start_paused = true)]
async fn a_client_that_floods_is_dropped_at_once() {
    let prefixes: [&[u8]; 4] = [
        &[0xff; 4],
        &[0, 0, 0, 65],
        // One more than a ClientAttestation may have.
        &[0, 2, 0, 1],
        // HTTP/2 without any attestation (RFC 9113 section 3.4).
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    for step in STEPS {
        for prefix in prefixes {
            if matches!(step, Step::Attested) && prefix == [0, 0, 0, 65] {
                continue;
            }
            let (ours, theirs) = raw::pipe();
            let sent = std::cell::Cell::new(0);
            let attacker = async {
                let mut reached = reach(step, theirs).await;
                let mut stream = reached.stream();
                let _ = stream.write_all(prefix).await;
                let block = [0x5a; 8192];
                while stream.write_all(&block).await.is_ok() {
                    sent.set(sent.get() + block.len());
                }
            };
            let (result, took) = attack(ours, attacker).await;
            match result {
                Err(SessionError::Tls { .. }) => assert!(matches!(step, Step::Connected)),
                other => assert_eq!(refusal(other).code, "message-too-long", "{step:?} {prefix:?}"),
            }
            assert!(took <= Duration::from_secs(1), "{step:?}: {took:?}");
            assert!(sent.get() < 1024 * 1024, "{step:?}: {} bytes were taken", sent.get());
        }
    }
}

/// Defence: a message that is as long as it may be, and never ends. Bounded by
/// its own length.
#[tokio::test(start_paused = true)]
async fn endless_bytes_end_at_the_length_of_the_message() {
    for (step, length) in [(Step::Tls, 64u32), (Step::Attested, 128 * 1024)] {
        let (ours, theirs) = raw::pipe();
        let attacker = async {
            let mut reached = reach(step, theirs).await;
            let mut stream = reached.stream();
            let _ = stream.write_all(&length.to_be_bytes()).await;
            while stream.write_all(&[0x5a; 8192]).await.is_ok() {}
        };
        let (result, took) = attack(ours, attacker).await;
        assert_eq!(refusal(result).code, "message-malformed");
        assert!(took <= Duration::from_secs(1), "{took:?}");
    }
}

/// Defence: exact parsing, and errors instead of panics.
#[tokio::test(start_paused = true)]
async fn a_client_that_sends_garbage_is_refused_with_a_code() {
    let long = [0xff; 50];
    let garbage: [&[u8]; 5] = [&[0], &[0xff; 34], b"GET / HTTP/1.1\r\n\r\n", &long, &[0x0a, 0x7f, 1]];
    for step in [Step::Tls, Step::Attested] {
        for bytes in garbage {
            let (ours, theirs) = raw::pipe();
            let attacker = async {
                let Reached::Encrypted(mut raw) = reach(step, theirs).await else { return };
                raw.send_bytes(bytes).await;
                let answer = raw.receive().await;
                let received = match step {
                    Step::Attested => parse_session_result(&answer).unwrap().unwrap(),
                    _ => match parse_server_attestation(&answer).unwrap() {
                        ServerAnswer::Refusal(received) => received,
                        other => panic!("{other:?}"),
                    },
                };
                assert_eq!(received.code, "message-malformed");
                let _ = raw.stream.shutdown().await;
            };
            let (result, took) = attack(ours, attacker).await;
            assert_eq!(refusal(result).code, "message-malformed", "{step:?} {bytes:?}");
            assert_eq!(took, Duration::ZERO);
        }
    }
}

/// Defence: TLS itself, and errors instead of panics.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_speak_tls_is_dropped_at_once() {
    for bytes in
        [&b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n"[..], &[0; 600], &[0x16, 3, 1, 0xff, 0xff], &[0x80; 600]]
    {
        let (ours, mut theirs) = raw::pipe();
        let attacker = async {
            let _ = theirs.write_all(bytes).await;
            let _ = theirs.shutdown().await;
            let _ = theirs.read_to_end(&mut Vec::new()).await;
        };
        let (result, took) = attack(ours, attacker).await;
        assert!(
            matches!(result, Err(SessionError::Tls { .. } | SessionError::Io { .. })),
            "{bytes:?}: {result:?}"
        );
        assert_eq!(took, Duration::ZERO);
    }
}

/// A client that goes away is an error of the connection, at every step.
#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_is_noticed_at_once() {
    for step in STEPS {
        let (ours, theirs) = raw::pipe();
        let attacker = async {
            drop(reach(step, theirs).await);
        };
        let (result, took) = attack(ours, attacker).await;
        assert!(matches!(result, Err(SessionError::Io { .. })), "{step:?}: {result:?}");
        assert_eq!(took, Duration::ZERO);
    }
}

/// Plays to message 3 with a rule broken; returns what both sides say.
async fn answer(
    certificate: bool,
    evidence: bool,
    announcement: &[u8],
) -> (Result<(), SessionError>, Option<adytum_ratls::error::Refusal>) {
    let fixture = Fixture::new();
    let key = RawKey::new();
    let acceptor = fixture.acceptor();
    let (ours, theirs) = raw::pipe();
    let attacker = async {
        let mut raw = raw::client(theirs, certificate.then_some(&key)).await;
        let client_nonce = Nonce::generate().unwrap();
        raw.send(&raw::hello(client_nonce)).await;
        let answer = parse_server_attestation(&raw.receive().await).unwrap();
        let ServerAnswer::Attestation { nonce, .. } = answer else { panic!("{answer:?}") };
        let binding = raw.as_client(client_nonce, nonce);
        let quote = fixture.quote(REPLICA, binding.report_data(Role::Client, announcement));
        raw.send(&wire::ClientAttestation {
            evidence: evidence.then(|| wire_evidence(quote).unwrap()),
            announcement: announcement.to_vec(),
            refusal: None,
        })
        .await;
        let received = parse_session_result(&raw.receive().await).unwrap();
        let _ = raw.stream.shutdown().await;
        received
    };
    let accept = async { acceptor.accept_over(ours, address()).await.map(drop) };
    tokio::join!(accept, attacker)
}

/// The controls of the next three.
#[tokio::test]
async fn clients_that_keep_the_rules_are_accepted() {
    for (certificate, evidence, announcement) in
        [(true, true, &b"claims"[..]), (true, true, b""), (false, false, b"")]
    {
        let (result, received) = answer(certificate, evidence, announcement).await;
        assert!(result.is_ok() && received.is_none(), "{result:?}");
    }
}

/// Defence: a client without evidence announces nothing.
#[tokio::test]
async fn claims_without_evidence_are_refused() {
    for certificate in [true, false] {
        let (result, received) = answer(certificate, false, b"I am the replica").await;
        assert_eq!(refusal(result).code, "message-malformed");
        assert_eq!(received.unwrap().code, "message-malformed");
    }
}

/// Defence: evidence is bound to a key, so there must be one.
#[tokio::test]
async fn evidence_without_a_certificate_is_refused() {
    let (result, received) = answer(false, true, b"").await;
    assert_eq!(refusal(result).code, "evidence-without-certificate");
    assert_eq!(received.unwrap().code, "evidence-without-certificate");
}

/// Defence: a certificate that no evidence stands for means nothing, so it is
/// not shown.
#[tokio::test]
async fn a_certificate_without_evidence_is_refused() {
    let (result, received) = answer(true, false, b"").await;
    assert_eq!(refusal(result).code, "certificate-without-evidence");
    assert_eq!(received.unwrap().code, "certificate-without-evidence");
}
