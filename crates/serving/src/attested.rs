//! Sessions with clients that verify this replica before they send anything: attested
//! sessions (docs/protocol.md) on the ports for clients.
//!
//! In each the replica announces, under its TEE's evidence, what it is: its identity, the
//! broker that released its keys, and the models that answer. A quote costs the TEE
//! milliseconds, and anybody can ask for one. So an address gets few a second, all together
//! get a limited number, few are made at once, and none on a thread that serves.

mod quotes;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use adytum_crowd::{
    address::Address,
    bucket::{Buckets, Rate},
    quotes::{QuoteLimits, Quotes, Unwatched},
};
use adytum_evidence::{
    attester::Attester,
    clock::SystemClock,
    collateral::{CollateralSource, DirectorySource},
    measurement::{Sha256Digest, WorkloadIdentity},
    verifier::Verifier,
};
use adytum_governance::{
    announcement::ServingAnnouncement, genesis::GenesisDigest, manifest::ManifestInForce,
};
use adytum_ratls::{
    acceptor::AttestedAcceptor,
    configuration::AcceptorConfiguration,
    error::{Refusal, SessionError},
    gate::{Gate, overloaded},
    handshake::message::MAXIMUM_ANNOUNCEMENT_LENGTH,
    judge::AnyEvidence,
    limits::Limits,
    protocol::ALPN,
    session::{LocalAttestation, Peer},
};
use bytes::Bytes;
use tokio::{net::TcpStream, runtime::Handle, sync::watch};
use tokio_rustls::{StartHandshake, TlsStream, server};

use self::quotes::OnRuntime;
use crate::models::{Models, Pinned};

/// Quotes that are made at once, and that wait. At 20 ms a quote the last one waits for less
/// than a second.
const QUOTES: QuoteLimits = QuoteLimits { at_once: 2, waiting: 62 };

/// How many times as much as one address all addresses together may have.
const ALL_ADDRESSES: u32 = 10;

/// A peer that is refused is not asked back sooner.
const SHORTEST_RETRY: Duration = Duration::from_millis(100);

/// The fields of an announcement besides its models take fewer bytes.
const WITHOUT_MODELS: usize = 256;

/// The replica's announcement has no room for all of its models. Those left out would answer
/// nobody who verifies the replica.
///
/// Do: serve fewer models and versions in this replica, others in another one; or give
/// `--attested_sessions=false`, if no client verifies it.
///
/// Retry: no
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "attested sessions announce each version of each sealed model, and an announcement has room for {room} of the {all} \
     here; serve fewer models and versions in one replica, or give --attested_sessions=false"
)]
pub struct AnnouncementFull {
    pub room: usize,
    pub all: usize,
}

impl AnnouncementFull {
    /// Stable code for logs.
    pub fn code(&self) -> &'static str {
        "announcement-full"
    }
}

/// What this replica announces of itself, besides its models.
#[derive(Clone, Debug)]
pub struct Origin {
    pub identity: WorkloadIdentity,
    /// Of the broker that released its keys.
    pub genesis: GenesisDigest,
    /// By which manifest it released them last; renewals change it.
    pub manifest: watch::Receiver<Option<ManifestInForce>>,
}

/// What answers attested sessions.
pub struct AttestedPort {
    acceptor: AttestedAcceptor,
    quotes: Quotes,
    of_address: Arc<Buckets>,
    of_all: Arc<Buckets>,
    models: Models,
    origin: Origin,
    /// How many versions the last announcement had no room for.
    left_out: AtomicUsize,
}

impl fmt::Debug for AttestedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttestedPort").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl AttestedPort {
    /// Sessions about these models. `per_second` is the number of sessions that one address may
    /// open a second (0: no limit); quotes are made on the runtime of `handle`, which serves
    /// nobody.
    pub fn new(
        attester: Arc<dyn Attester>,
        collateral: Arc<dyn CollateralSource>,
        origin: Origin,
        models: Models,
        per_second: u32,
        handle: Handle,
    ) -> Self {
        let attester: Arc<dyn Attester> = Arc::new(OnRuntime::new(attester, handle));
        // It trusts nobody: clients have no TEE, and one that shows evidence is refused.
        let nobody = Verifier::new(Vec::new(), Arc::new(DirectorySource::new("")), Arc::new(SystemClock));
        let acceptor = AttestedAcceptor::new(AcceptorConfiguration {
            verifier: Arc::new(nobody),
            judge: Arc::new(AnyEvidence),
            // Each session has an announcement of its own.
            local: LocalAttestation { attester: Arc::clone(&attester), announcement: Arc::new(Bytes::new) },
            limits: Limits::default(),
        });
        let rate = |per_second: u32| Rate { per_second, burst: per_second.saturating_mul(2) };
        Self {
            acceptor: acceptor.with_collateral(collateral),
            quotes: Quotes::new(attester, QUOTES, Arc::new(Unwatched)),
            of_address: Buckets::new(rate(per_second)),
            of_all: Buckets::new(rate(per_second.saturating_mul(ALL_ADDRESSES))),
            models,
            origin,
            left_out: AtomicUsize::new(0),
        }
    }

    /// The models that answer.
    pub(crate) fn models(&self) -> &Models {
        &self.models
    }

    /// Attests on a connection whose ClientHello asked for that. Gives the models of the
    /// session.
    pub(crate) async fn accept(
        &self,
        started: StartHandshake<TcpStream>,
        address: SocketAddr,
    ) -> Result<(server::TlsStream<TcpStream>, Arc<Pinned>), SessionError> {
        let pinned = self.pin();
        let gate = Door { port: self, address: address.ip().into(), announcement: self.announce(&pinned) };
        let stream = self.acceptor.accept_started(started, address, &gate).await?;
        match stream.into_parts() {
            (TlsStream::Server(stream), _) => Ok((stream, Arc::new(pinned))),
            (TlsStream::Client(_), _) => Err(SessionError::Local {
                peer: address.to_string(),
                reason: "an accepted connection is a client's".to_owned(),
            }),
        }
    }

    /// The models of one session: as many as an announcement has room for.
    fn pin(&self) -> Pinned {
        let mut pinned = self.models.pin();
        let mut left = MAXIMUM_ANNOUNCEMENT_LENGTH - WITHOUT_MODELS;
        pinned.retain(|statement| {
            let length = ServingAnnouncement::length_of(statement);
            let fits = length <= left;
            left = if fits { left - length } else { 0 };
            fits
        });
        let left_out = pinned.left_out();
        if self.left_out.swap(left_out, Ordering::Relaxed) != left_out && left_out > 0 {
            tracing::error!(
                left_out,
                code = "announcement-full",
                "an announcement has no room for all models: those left out do not answer attested sessions"
            );
        }
        pinned
    }

    /// Refuses more models than an announcement has room for.
    pub(crate) fn require_room(&self) -> Result<(), AnnouncementFull> {
        let pinned = self.pin();
        match pinned.left_out() {
            0 => Ok(()),
            left_out => {
                let room = pinned.statements().count();
                Err(AnnouncementFull { room, all: room + left_out })
            }
        }
    }

    fn announce(&self, pinned: &Pinned) -> Bytes {
        let announcement = ServingAnnouncement {
            identity: self.origin.identity,
            genesis: self.origin.genesis,
            manifest: *self.origin.manifest.borrow(),
            models: pinned.statements().cloned().collect(),
        };
        announcement.encode()
    }
}

/// Does this ClientHello ask for an attested session?
pub(crate) fn is_asked_for(started: &StartHandshake<TcpStream>) -> bool {
    started.client_hello().alpn().is_some_and(|mut names| names.any(|name| name == ALPN))
}

/// Where a connection comes from. The peers of a socket without an address share one.
pub(crate) fn address_of(stream: &TcpStream) -> SocketAddr {
    stream.peer_addr().unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0))
}

/// Lets one handshake through, or not.
struct Door<'a> {
    port: &'a AttestedPort,
    address: Address,
    announcement: Bytes,
}

impl Gate for Door<'_> {
    fn admit(&self, _key: Option<&Sha256Digest>) -> Result<Option<Arc<dyn Attester>>, Refusal> {
        let now = Instant::now();
        let refuse = |who: &str, after: Duration| {
            overloaded(
                after.max(SHORTEST_RETRY),
                format!("{who} opened too many attested sessions in this time"),
            )
        };
        let all: Address = IpAddr::V4(Ipv4Addr::UNSPECIFIED).into();
        // An address that is beyond its own limit does not use up what all have.
        drop(self.port.of_address.take(self.address, now).map_err(|after| refuse("this address", after))?);
        drop(self.port.of_all.take(all, now).map_err(|after| refuse("all addresses together", after))?);
        Ok(Some(Arc::clone(&self.port.quotes.for_strangers)))
    }

    fn announcement(&self) -> Option<Bytes> {
        Some(self.announcement.clone())
    }

    fn open(&self, _peer: &Peer, _key: Option<&Sha256Digest>) -> Result<(), Refusal> {
        Ok(())
    }
}
