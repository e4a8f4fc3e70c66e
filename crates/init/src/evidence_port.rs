//! A port that shows this workload's evidence to every peer that asks, for `adytum manifest
//! new` and `explain`: in an attested session of its own, so that what is shown is
//! of a workload that runs now. It takes nothing from a peer, and gives nothing
//! else: the session ends as soon as it is open.

use std::{io, net::SocketAddr, sync::Arc};

use adytum_evidence::{clock::SystemClock, collateral::DirectorySource, verifier::Verifier};
use adytum_ratls::{
    acceptor::AttestedAcceptor, configuration::AcceptorConfiguration, judge::AnyEvidence, limits::Limits,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::StreamExt as _;

use crate::tee::Tee;

/// Handshakes at once: each costs a quote.
const HANDSHAKES: usize = 4;

/// The port for evidence can't be opened.
///
/// Do: give `--evidence-listen` an address HOST:PORT of this machine with a port that is
/// free.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[error("--evidence-listen {address}: {source}; give HOST:PORT with a port that is free")]
pub struct EvidencePortError {
    /// The address in the flag.
    pub address: String,
    /// What the system said.
    pub source: io::Error,
}

impl EvidencePortError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        "evidence-port"
    }
}

/// An open port for evidence; it closes when this is dropped.
#[derive(Debug)]
pub struct EvidencePort {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl EvidencePort {
    /// Opens the port at `HOST:PORT` and answers on it from a task of this runtime.
    pub(crate) async fn open(at: &str, tee: &Tee) -> Result<Self, EvidencePortError> {
        let failed = |source| EvidencePortError { address: at.to_owned(), source };
        let listener = TcpListener::bind(at).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        // It trusts nobody: peers show nothing here, and one that does is refused.
        let nobody = Verifier::new(Vec::new(), Arc::new(DirectorySource::new("")), Arc::new(SystemClock));
        let acceptor = AttestedAcceptor::new(AcceptorConfiguration {
            verifier: Arc::new(nobody),
            judge: Arc::new(AnyEvidence),
            local: tee.local_attestation(),
            limits: Limits { maximum_handshakes: HANDSHAKES, ..Limits::default() },
        });
        tracing::info!(%address, "showing evidence to every peer that asks");
        let task = tokio::spawn(async move {
            let mut sessions = std::pin::pin!(acceptor.incoming(listener));
            while let Some(session) = sessions.next().await {
                drop(session);
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for EvidencePort {
    fn drop(&mut self) {
        self.task.abort();
    }
}
