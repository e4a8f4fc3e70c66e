//! A broker on a simulated platform, in the process of the test.

use std::{net::SocketAddr, path::Path, sync::Arc};

use adytum_broker::{
    Broker, BrokerConfiguration, ServerLimits,
    audit::sink::LoggedEvents,
    serve,
    start::opening::{self, Opening},
    store::{LoadedState, LockedStore, Store},
};
use adytum_evidence::{attester::Attester, clock::SystemClock, measurement::WorkloadIdentity};
use adytum_governance::genesis::Genesis;
use adytum_sim::{Platform, SimAttester};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// The workload identity of a broker whose program does not matter.
pub const IDENTITY: WorkloadIdentity = WorkloadIdentity([0xb0; 32]);

/// The configuration of a broker with this identity and store; a test changes the rest.
pub fn configuration(
    platform: &Arc<Platform>,
    identity: WorkloadIdentity,
    genesis: &Genesis,
    store: (Store, LoadedState),
) -> BrokerConfiguration {
    BrokerConfiguration {
        genesis: genesis.clone(),
        attester: Arc::new(SimAttester::new(Arc::clone(platform), identity)),
        collateral: Arc::new(platform.collateral_source()),
        clock: Arc::new(SystemClock),
        store,
        events: Arc::new(LoggedEvents::default()),
        occlum: None,
    }
}

/// A store that ends with its broker.
pub fn in_memory(genesis: &Genesis) -> (Store, LoadedState) {
    Store::in_memory(genesis.digest()).unwrap()
}

/// The store in this directory, with the sealing key of this TEE.
pub fn stored(directory: &Path, genesis: &Genesis, tee: &dyn Attester) -> (Store, LoadedState) {
    unsealed(LockedStore::open(directory, genesis.digest()).unwrap(), tee)
}

/// The contents of a store, with the sealing key of this TEE.
pub fn unsealed(locked: LockedStore, tee: &dyn Attester) -> (Store, LoadedState) {
    match opening::open(locked, tee.sealing_key().unwrap()) {
        Ok(Opening::Open(store)) => *store,
        other => panic!("{other:?}"),
    }
}

/// A broker that serves on loopback, until it is dropped.
pub struct RunningBroker {
    pub broker: Arc<Broker>,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Drop for RunningBroker {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl RunningBroker {
    /// Starts a broker on a free port.
    pub async fn start(configuration: BrokerConfiguration) -> Self {
        Self::serve(Broker::start(configuration).unwrap(), ServerLimits::default()).await
    }

    /// Serves on a free port.
    pub async fn serve(broker: Arc<Broker>, limits: ServerLimits) -> Self {
        Self::serve_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), broker, limits)
    }

    /// Serves on this listener.
    pub fn serve_on(listener: TcpListener, broker: Arc<Broker>, limits: ServerLimits) -> Self {
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&broker);
        let serving = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            serve(listener, served, limits, stopped).await.unwrap();
        });
        Self { broker, address, stop: Some(stop), serving }
    }

    /// Ends it in good order.
    pub async fn stop(self) {
        let broker = Arc::clone(&self.broker);
        self.crash().await;
        broker.store().close().await.unwrap();
    }

    /// Ends it as a crash does: nothing is written at the end.
    pub async fn crash(mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).unwrap();
        }
        (&mut self.serving).await.unwrap();
    }
}
