//! How many attested sessions a second this machine opens, with client and
//! server in one process: a new TCP and TLS 1.3 connection, a fresh client key,
//! evidence of both ends made and verified, one RPC.
//!
//! `cargo run --release -p adytum-ratls --example session_rate -- [SECONDS] [CLIENTS] [QUOTE_MILLISECONDS]`

#![allow(clippy::print_stdout, reason = "a program that prints its result")]

use std::{
    env,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use adytum_api::broker::{
    GetSecretsRequest, GetSecretsResponse,
    key_broker_client::KeyBrokerClient,
    key_broker_server::{KeyBroker, KeyBrokerServer},
};
use adytum_evidence::{
    claims::{Claims, TeeKind},
    clock::{SystemClock, UnixSeconds},
    measurement::{Sha256Digest, WorkloadIdentity},
    policy::Policy,
    trust::Vendor,
    verifier::Verifier,
};
use adytum_governance::{
    announcement::BrokerAnnouncement, genesis::GenesisDigest, head::StateHead, pin::BrokerPin,
};
use adytum_ratls::{
    acceptor::AttestedAcceptor,
    configuration::{AcceptorConfiguration, ConnectorConfiguration},
    connector::AttestedConnector,
    error::Refusal,
    judge::AnyEvidence,
    limits::Limits,
    session::LocalAttestation,
};
use adytum_sim::{Platform, SimAttester};
use bytes::Bytes;
use tokio::{net::TcpListener, task::JoinSet};
use tonic::{Request, Response, Status, transport::Server};

struct Empty;

#[tonic::async_trait]
impl KeyBroker for Empty {
    async fn get_secrets(
        &self,
        _request: Request<GetSecretsRequest>,
    ) -> Result<Response<GetSecretsResponse>, Status> {
        Ok(Response::new(GetSecretsResponse::default()))
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1).map(|text| text.parse::<u64>());
    let seconds = arguments.next().transpose()?.unwrap_or(5);
    let clients = arguments.next().transpose()?.unwrap_or(8);
    let latency = Duration::from_millis(arguments.next().transpose()?.unwrap_or(0));

    let platform = Platform::ephemeral()?;
    let verifier = Arc::new(Verifier::new(
        vec![platform.trust_root()?],
        Arc::new(platform.collateral_source()),
        Arc::new(SystemClock),
    ));
    let (broker, replica) = (WorkloadIdentity([1; 32]), WorkloadIdentity([2; 32]));
    let genesis = GenesisDigest(Sha256Digest([3; 32]));
    let head = StateHead { epoch: 1, manifest_version: 0, audit_size: 0, audit_hash: None };
    let announcement =
        BrokerAnnouncement { genesis, head, occlum: None, clock_floor: UnixSeconds(0) }.encode();
    let local = |identity, announcement: Bytes| LocalAttestation {
        attester: Arc::new(SimAttester::new(platform.clone(), identity).quote_latency(latency)),
        announcement: Arc::new(move || announcement.clone()),
    };

    let acceptor = AttestedAcceptor::new(AcceptorConfiguration {
        verifier: verifier.clone(),
        judge: Arc::new(AnyEvidence),
        local: local(broker, announcement),
        limits: Limits::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let server = Server::builder().add_service(KeyBrokerServer::new(Empty));
    tokio::spawn(async move { server.serve_with_incoming(acceptor.incoming(listener)).await });

    let policy = Policy::for_identity(Vendor::Simulation, TeeKind::Sgx, broker);
    let pin = BrokerPin { policy, genesis, occlum: Default::default() };
    let connector = AttestedConnector::new(ConnectorConfiguration {
        verifier,
        judge: Arc::new(move |claims: &Claims, announcement: &[u8]| {
            let judged = pin.judge(claims, announcement).map(drop);
            judged.map_err(|error| Refusal::verdict(error.code(), error.to_string()))
        }),
        local: Some(local(replica, Bytes::new())),
        limits: Limits::default(),
    });

    let (flows, nanoseconds) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (connector, address) = (connector.clone(), address.clone());
        let (flows, nanoseconds) = (flows.clone(), nanoseconds.clone());
        tasks.spawn(async move {
            while started.elapsed() < Duration::from_secs(seconds) {
                let begun = Instant::now();
                let session = connector.session(&address).await.map_err(|e| e.to_string())?;
                KeyBrokerClient::new(session.channel)
                    .get_secrets(GetSecretsRequest::default())
                    .await
                    .map_err(|e| e.to_string())?;
                flows.fetch_add(1, Ordering::Relaxed);
                let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                nanoseconds.fetch_add(took, Ordering::Relaxed);
            }
            Ok::<_, String>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    let flows = flows.load(Ordering::Relaxed);
    println!(
        "{:.0} sessions/s with one RPC each; {clients} clients, mean {:.2} ms a flow, quote latency {latency:?}",
        flows as f64 / started.elapsed().as_secs_f64(),
        nanoseconds.load(Ordering::Relaxed) as f64 / 1e6 / flows.max(1) as f64,
    );
    Ok(())
}
