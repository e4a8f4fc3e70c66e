//! Attackers with a TEE of their own: their evidence is genuine, and bound to the session. They
//! hold the session's keys, so they see each byte that a client sends to them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adytum_api::session as wire;
use adytum_evidence::{collateral::Collateral, evidence::Evidence, measurement::Sha256Digest};
use adytum_governance::announcement::ServingAnnouncement;
use adytum_ratls::{
    handshake::{
        binding::{Binding, Nonce, Role},
        message::{
            ClientAnswer, parse_client_attestation, parse_client_hello, read_message, wire_evidence,
            write_message,
        },
        staple,
    },
    protocol::SESSION_LABEL,
};
use adytum_sim::{Platform, Program};
use anyhow::Result;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use super::{
    ALPN,
    http2::{self, Reactions, Received},
    server_config,
};

/// What an impostor proves.
#[derive(Clone)]
pub(crate) struct Proof {
    pub(crate) platform: Arc<Platform>,
    pub(crate) program: Program,
    pub(crate) announced: ServingAnnouncement,
    /// What it sends along.
    pub(crate) collateral: Option<Collateral>,
}

/// The record of its sessions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Clients that got its evidence.
    pub(crate) judged: usize,
    /// The codes with which they refused it.
    pub(crate) refusals: Vec<String>,
    /// All that came after evidence and refusal, or in a session that was opened.
    pub(crate) received: Received,
}

/// A server that proves this, and records.
pub(crate) struct Impostor {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Impostor {
    /// Each session that a client opens with it is HTTP/2, with these reactions to requests.
    pub(crate) async fn start(proof: Proof, reactions: Reactions) -> Result<Self> {
        let (config, key) = server_config(Some(ALPN))?;
        let acceptor = TlsAcceptor::from(config);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let impostor = Self { port: listener.local_addr()?.port(), seen: Arc::default() };
        let seen = Arc::clone(&impostor.seen);
        let reactions = Arc::new(Mutex::new(reactions));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, proof) = (acceptor.clone(), proof.clone());
                let (seen, reactions) = (Arc::clone(&seen), Arc::clone(&reactions));
                tokio::spawn(async move { session(stream, &acceptor, key, &proof, &seen, &reactions).await });
            }
        });
        Ok(impostor)
    }

    pub(crate) fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }
}

async fn session(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    server_key: Sha256Digest,
    proof: &Proof,
    seen: &Mutex<Seen>,
    reactions: &Mutex<Reactions>,
) -> Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let exporter = stream.get_ref().1.export_keying_material([0; 32], SESSION_LABEL, None)?;
    let hello = read_message(&mut stream, "ClientHello", 64).await?;
    let binding = Binding {
        client_nonce: parse_client_hello(&hello)?,
        server_nonce: Nonce::generate()?,
        exporter: Zeroizing::new(exporter),
        client_key: None,
        server_key,
    };
    let announcement = proof.announced.encode();
    let quote = proof.platform.quote(&proof.program, binding.report_data(Role::Server, &announcement))?;
    let attestation = wire::ServerAttestation {
        nonce: binding.server_nonce.0.to_vec(),
        evidence: Some(wire_evidence(Evidence::dcap_quote(quote))?),
        announcement: announcement.to_vec(),
        refusal: None,
        collateral: proof.collateral.as_ref().and_then(staple::to_wire),
    };
    write_message(&mut stream, &attestation).await?;
    lock(seen).judged += 1;
    let answer = read_message(&mut stream, "ClientAttestation", 1 << 20).await?;
    if let ClientAnswer::Refusal(refusal) = parse_client_attestation(&answer)? {
        lock(seen).refusals.push(refusal.code);
        // Whatever a client still sends is kept.
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            lock(seen).received.bytes.extend_from_slice(&buffer[..read]);
        }
        return Ok(());
    }
    write_message(&mut stream, &wire::SessionResult::default()).await?;
    let record = |add: &mut dyn FnMut(&mut Received)| add(&mut lock(seen).received);
    http2::serve(&mut stream, record, || lock(reactions).next()).await?;
    Ok(())
}
