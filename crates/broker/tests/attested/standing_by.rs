//! A broker without its root key, and those who come to it.

use std::{net::SocketAddr, path::Path, sync::Arc};

use adytum_api::broker::{
    GetStatusRequest, RecoveryStatus, SupplyShareRequest,
    broker_administration_client::BrokerAdministrationClient, broker_recovery_client::BrokerRecoveryClient,
};
use adytum_broker::{
    server::serve_standby,
    start::{
        opening::{self, Opening},
        recovery::PendingRecovery,
        standby::{Cause, Standby},
    },
    store::LockedStore,
};
use adytum_evidence::clock::SystemClock;
use adytum_governance::recovery::{
    arrangement::Arrangement,
    sharing::{RecoveryIdentity, Share},
};
use adytum_ratls::connector::AttestedSession;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tonic::{Request, Status};

use crate::fixture::Fixture;

/// A broker that serves without its root key.
pub(crate) struct Waiting {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Waiting {
    pub(crate) async fn start(fixture: &Fixture, program: &str, cause: Cause) -> Self {
        let standby = Arc::new(Standby::new(
            fixture.genesis.clone(),
            fixture.attester(program),
            Arc::new(fixture.platform.collateral_source()),
            Arc::new(SystemClock),
            cause,
        ));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let limits = fixture.limits;
        let serving = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            serve_standby(listener, standby, limits, stopped).await.unwrap();
        });
        Self { address, stop, serving }
    }

    /// Of a state directory that does not open here.
    pub(crate) async fn for_recovery(fixture: &Fixture, directory: &Path) -> (Self, Arc<PendingRecovery>) {
        let Ok(Opening::Awaiting(awaiting)) = reopen(fixture, "broker", directory).await else { panic!() };
        let awaiting: Arc<PendingRecovery> = awaiting.into();
        (Self::start(fixture, "broker", Cause::Awaiting(awaiting.clone())).await, awaiting)
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
    }
}

/// What this program finds in the directory, once those who had it have left.
pub(crate) async fn reopen(
    fixture: &Fixture,
    program: &str,
    directory: &Path,
) -> Result<Opening, adytum_broker::store::StoreError> {
    let genesis = fixture.genesis.digest();
    let locked = crate::fixture::eventually("the directory is free", async || {
        LockedStore::open(directory, genesis).ok()
    })
    .await;
    opening::open(locked, fixture.attester(program).sealing_key().unwrap())
}

/// How the broker at the other end of this session can be recovered.
pub(crate) async fn recovery(session: &AttestedSession) -> RecoveryStatus {
    let mut client = BrokerAdministrationClient::new(session.channel.clone());
    let request = GetStatusRequest { seen: None, recovery: true };
    client.get_status(Request::new(request)).await.unwrap().into_inner().recovery.unwrap()
}

/// What a holder of this key unwraps.
pub(crate) fn unwrapped(arrangement: &Arrangement, key: &RecoveryIdentity) -> Share {
    key.unwrap(&arrangement.share_of(&key.recipient()).unwrap().wrapped).unwrap()
}

/// A share as it is sent.
pub(crate) fn supply(arrangement: &Arrangement, key: &RecoveryIdentity) -> SupplyShareRequest {
    SupplyShareRequest {
        arrangement: arrangement.id().to_vec(),
        recipient: key.recipient().to_string(),
        share: unwrapped(arrangement, key).expose().to_vec(),
    }
}

pub(crate) async fn send(
    session: &AttestedSession,
    request: SupplyShareRequest,
) -> Result<RecoveryStatus, Status> {
    let mut client = BrokerRecoveryClient::new(session.channel.clone());
    Ok(client.supply_share(Request::new(request)).await?.into_inner().status.unwrap())
}
