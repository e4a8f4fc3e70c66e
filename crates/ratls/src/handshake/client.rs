//! The connecting side's steps.

use std::sync::Arc;

use adytum_api::session as wire;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    Attempt, Demands, REFUSAL_TIMEOUT, accept_evidence,
    binding::{Binding, Nonce, Role},
    collect,
    message::{
        MAXIMUM_RESULT_LENGTH, ServerAnswer, parse_server_attestation, parse_session_result, read_message,
        wire_evidence, wire_refusal, write_message,
    },
    staple::MAXIMUM_COLLATERAL_LENGTH,
};
use crate::{
    configuration::ConnectorConfiguration,
    error::{Refusal, SessionError},
    session::{Peer, SessionInfo},
    stream::AttestedStream,
    tls::{self, TlsFacts, TlsIdentity},
};

/// TLS handshake and attestation on one connection.
pub(crate) async fn connect<S>(
    configuration: &ConnectorConfiguration,
    identity: Option<&TlsIdentity>,
    config: Arc<ClientConfig>,
    attempt: &Attempt,
    takes_collateral: bool,
    stream: S,
) -> Result<AttestedStream<S>, SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = attempt
        .step(
            "TLS handshake",
            TlsConnector::from(config).connect(tls::server_name(), stream),
            Attempt::stream_error,
        )
        .await?;
    let facts = TlsFacts::of(stream.get_ref().1).map_err(|refusal| attempt.refused(refusal))?;
    let peer = attest(configuration, identity, attempt, &facts, takes_collateral, &mut stream).await?;
    let request_binding = facts.request_binding;
    Ok(AttestedStream::new(stream, SessionInfo { peer, peer_address: attempt.address, request_binding }))
}

async fn attest<S>(
    configuration: &ConnectorConfiguration,
    identity: Option<&TlsIdentity>,
    attempt: &Attempt,
    facts: &TlsFacts,
    takes_collateral: bool,
    stream: &mut S,
) -> Result<Peer, SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(server_key) = facts.peer_key else {
        return Err(
            attempt.refused(Refusal::request("attested-tls-failed", "the server shows no certificate"))
        );
    };
    let client_nonce = Nonce::generate().map_err(|e| attempt.local(e))?;
    let hello = wire::ClientHello { nonce: client_nonce.0.to_vec() };
    attempt.step("sending ClientHello", write_message(stream, &hello), Attempt::stream_error).await?;

    let collateral = if takes_collateral { MAXIMUM_COLLATERAL_LENGTH } else { 0 };
    let maximum = configuration.limits.maximum_message_length + collateral;
    let bytes = attempt
        .step(
            "waiting for ServerAttestation",
            read_message(stream, "ServerAttestation", maximum),
            Attempt::message_error,
        )
        .await?;
    let (server_nonce, evidence, announcement, collateral) =
        match parse_server_attestation(&bytes).map_err(|e| attempt.message_error(e))? {
            ServerAnswer::Attestation { nonce, evidence, announcement, collateral } => {
                (nonce, evidence, announcement, collateral.filter(|_| takes_collateral))
            }
            ServerAnswer::Refusal(refusal) => return Err(attempt.refused_by_peer(refusal, false)),
        };
    let binding = Binding {
        client_nonce,
        server_nonce,
        exporter: facts.exporter.clone(),
        client_key: identity.map(TlsIdentity::key_digest),
        server_key,
    };

    let verify = accept_evidence(
        attempt,
        Demands {
            verifier: &configuration.verifier,
            judge: &configuration.judge,
            replays: None,
            collateral: collateral.as_ref(),
        },
        &binding,
        Role::Server,
        &evidence,
        announcement,
    );
    // Own evidence is made while the server's is verified, and sent only after.
    let own = async {
        match &configuration.local {
            Some(local) => collect(attempt, local, &binding, Role::Client).await.map(Some),
            None => Ok(None),
        }
    };
    let (peer, own) = match tokio::try_join!(verify, own) {
        Ok(both) => both,
        Err(error) => {
            if let SessionError::Refused { refusal, .. } = &error {
                let answer =
                    wire::ClientAttestation { refusal: Some(wire_refusal(refusal)), ..Default::default() };
                // A courtesy to the server's log; the error is what counts.
                let _ = timeout(REFUSAL_TIMEOUT, async {
                    write_message(stream, &answer).await?;
                    stream.shutdown().await
                })
                .await;
            }
            return Err(error);
        }
    };

    let answer = match own {
        Some((evidence, announcement)) => wire::ClientAttestation {
            evidence: Some(wire_evidence(evidence).map_err(|e| attempt.local(e))?),
            announcement: announcement.into(),
            refusal: None,
        },
        None => wire::ClientAttestation::default(),
    };
    attempt.step("sending ClientAttestation", write_message(stream, &answer), Attempt::stream_error).await?;

    let bytes = attempt
        .step(
            "waiting for SessionResult",
            read_message(stream, "SessionResult", MAXIMUM_RESULT_LENGTH),
            Attempt::message_error,
        )
        .await?;
    match parse_session_result(&bytes).map_err(|e| attempt.message_error(e))? {
        Some(refusal) => Err(attempt.refused_by_peer(refusal, true)),
        None => Ok(peer),
    }
}
