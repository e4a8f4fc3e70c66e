//! The accepting side's steps.

use std::{io, sync::Arc, time::Duration};

use adytum_api::session as wire;
use adytum_evidence::{attester::AttesterError, collateral::CollateralSource};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout},
};
use tokio_rustls::Accept;

use super::{
    Attempt, Demands, REFUSAL_DRAIN, REFUSAL_TIMEOUT, accept_evidence,
    binding::{Binding, Nonce, Role},
    codes::{ATTESTATION_UNAVAILABLE, CERTIFICATE_WITHOUT_EVIDENCE, EVIDENCE_WITHOUT_CERTIFICATE},
    collect,
    message::{
        ClientAnswer, MAXIMUM_HELLO_LENGTH, parse_client_attestation, parse_client_hello, read_message,
        wire_evidence, wire_refusal, write_message,
    },
    replays::Replays,
    staple,
};
use crate::{
    configuration::AcceptorConfiguration,
    error::{Refusal, SessionError},
    gate::{self, Gate},
    session::{Peer, SessionInfo},
    stream::AttestedStream,
    tls::{TlsFacts, TlsIdentity},
};

/// A key with the TLS configuration that shows it.
pub(crate) struct ServerIdentity {
    pub(crate) tls: TlsIdentity,
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) made: Instant,
    /// Clients' evidence bound to this key.
    pub(crate) replays: Replays,
    /// Where collateral for own evidence comes from, if it is sent along.
    pub(crate) collateral: Option<Arc<dyn CollateralSource>>,
}

/// When it is worth asking a TEE again that has more to do than it can.
const QUOTES_RETRY: Duration = Duration::from_secs(1);

/// Which message a refusal travels in.
#[derive(Clone, Copy)]
enum Answer {
    ServerAttestation,
    SessionResult,
}

/// The rest of a TLS handshake, and attestation, on one connection.
pub(crate) async fn accept<S>(
    configuration: &AcceptorConfiguration,
    identity: &ServerIdentity,
    attempt: &Attempt,
    gate: &dyn Gate,
    handshake: Accept<S>,
) -> Result<AttestedStream<S>, SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = attempt.step("TLS handshake", handshake, Attempt::stream_error).await?;
    let facts = TlsFacts::of(stream.get_ref().1).map_err(|refusal| attempt.refused(refusal))?;

    let mut answer = Answer::ServerAttestation;
    match attest(configuration, identity, attempt, gate, &facts, &mut stream, &mut answer).await {
        Ok(peer) => {
            let request_binding = facts.request_binding;
            Ok(AttestedStream::new(
                stream,
                SessionInfo { peer, peer_address: attempt.address, request_binding },
            ))
        }
        Err(error) => {
            if let Some(refusal) = for_peer(&error) {
                // The peer may be gone or deaf; the error below is what counts.
                let _ = timeout(REFUSAL_TIMEOUT, refuse(&mut stream, answer, &refusal)).await;
            }
            Err(error)
        }
    }
}

async fn attest<S>(
    configuration: &AcceptorConfiguration,
    identity: &ServerIdentity,
    attempt: &Attempt,
    gate: &dyn Gate,
    facts: &TlsFacts,
    stream: &mut S,
    answer: &mut Answer,
) -> Result<Peer, SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let maximum = configuration.limits.maximum_message_length;
    let hello = attempt
        .step(
            "waiting for ClientHello",
            read_message(stream, "ClientHello", MAXIMUM_HELLO_LENGTH),
            Attempt::message_error,
        )
        .await?;
    let binding = Binding {
        client_nonce: parse_client_hello(&hello).map_err(|e| attempt.message_error(e))?,
        server_nonce: Nonce::generate().map_err(|e| attempt.local(e))?,
        exporter: facts.exporter.clone(),
        client_key: facts.peer_key,
        server_key: identity.tls.key_digest(),
    };

    let mut local = configuration.local.clone();
    if let Some(attester) = gate.admit(facts.peer_key.as_ref()).map_err(|refusal| attempt.refused(refusal))? {
        local.attester = attester;
    }
    if let Some(announcement) = gate.announcement() {
        local.announcement = Arc::new(move || announcement.clone());
    }
    let (evidence, announcement) = collect(attempt, &local, &binding, Role::Server).await?;
    let collateral = match &identity.collateral {
        Some(source) => staple::for_evidence(source, &evidence).await,
        None => None,
    };
    let attestation = wire::ServerAttestation {
        nonce: binding.server_nonce.0.to_vec(),
        evidence: Some(wire_evidence(evidence).map_err(|e| attempt.local(e))?),
        announcement: announcement.into(),
        refusal: None,
        collateral,
    };
    attempt
        .step("sending ServerAttestation", write_message(stream, &attestation), Attempt::stream_error)
        .await?;
    *answer = Answer::SessionResult;

    let bytes = attempt
        .step(
            "waiting for ClientAttestation",
            read_message(stream, "ClientAttestation", maximum),
            Attempt::message_error,
        )
        .await?;
    let peer = match parse_client_attestation(&bytes).map_err(|e| attempt.message_error(e))? {
        ClientAnswer::Refusal(refusal) => return Err(attempt.refused_by_peer(refusal, false)),
        ClientAnswer::Unattested if facts.peer_key.is_some() => {
            return Err(attempt.refused(Refusal::request(
                CERTIFICATE_WITHOUT_EVIDENCE,
                "expected evidence from a client that shows a certificate, found none",
            )));
        }
        ClientAnswer::Unattested => Peer::Unattested,
        // Evidence that is bound to no key of the client's could be anybody's.
        ClientAnswer::Attestation { .. } if facts.peer_key.is_none() => {
            return Err(attempt.refused(Refusal::request(
                EVIDENCE_WITHOUT_CERTIFICATE,
                "expected a certificate from a client that gives evidence, found none",
            )));
        }
        ClientAnswer::Attestation { evidence, announcement } => {
            accept_evidence(
                attempt,
                Demands {
                    verifier: &configuration.verifier,
                    judge: &configuration.judge,
                    replays: Some(&identity.replays),
                    collateral: None,
                },
                &binding,
                Role::Client,
                &evidence,
                announcement,
            )
            .await?
        }
    };
    gate.open(&peer, facts.peer_key.as_ref()).map_err(|refusal| attempt.refused(refusal))?;
    attempt
        .step(
            "sending SessionResult",
            write_message(stream, &wire::SessionResult { refusal: None }),
            Attempt::stream_error,
        )
        .await?;
    Ok(peer)
}

/// The refusal for the peer, if it gets one.
fn for_peer(error: &SessionError) -> Option<Refusal> {
    match error {
        SessionError::Refused { refusal, .. } => Some(refusal.clone()),
        SessionError::Attester { source: AttesterError::Overloaded, .. } => {
            Some(gate::overloaded(QUOTES_RETRY, AttesterError::Overloaded.to_string()))
        }
        SessionError::Attester { .. } | SessionError::Local { .. } => {
            Some(Refusal::outage(ATTESTATION_UNAVAILABLE, ""))
        }
        // The peer that refused knows; one that is silent or gone gets no refusal.
        _ => None,
    }
}

/// Tells the peer and waits until it has closed, so that no reset overtakes the
/// message.
async fn refuse<S>(stream: &mut S, answer: Answer, refusal: &Refusal) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let refusal = Some(wire_refusal(refusal));
    match answer {
        Answer::ServerAttestation => {
            write_message(stream, &wire::ServerAttestation { refusal, ..Default::default() }).await?;
        }
        Answer::SessionResult => write_message(stream, &wire::SessionResult { refusal }).await?,
    }
    stream.shutdown().await?;
    let mut buffer = [0; 4096];
    let mut left = REFUSAL_DRAIN;
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 || read > left {
            return Ok(());
        }
        left -= read;
    }
}
