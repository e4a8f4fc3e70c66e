//! The services of a broker without its root key.

use std::sync::Arc;

use adytum_api::broker::{
    CommandResult, GetSecretsRequest, GetSecretsResponse, GetStatusRequest, GetStatusResponse, SignedCommand,
    SupplyShareRequest, SupplyShareResponse, TakeOverRequest, TakeOverResponse,
    broker_administration_server::{BrokerAdministration, BrokerAdministrationServer},
    broker_recovery_server::{BrokerRecovery, BrokerRecoveryServer},
    broker_succession_server::{BrokerSuccession, BrokerSuccessionServer},
    key_broker_server::{KeyBroker, KeyBrokerServer},
};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{MAXIMUM_RELEASE_REQUEST_LENGTH, MAXIMUM_REQUEST_LENGTH, session};
use crate::start::standby::Standby;

/// All services, most of which say why there is no answer.
#[derive(Clone)]
pub(crate) struct StandbyServices {
    standby: Arc<Standby>,
}

impl StandbyServices {
    pub(crate) fn new(standby: Arc<Standby>) -> Self {
        Self { standby }
    }

    pub(crate) fn key_broker(&self) -> KeyBrokerServer<Self> {
        KeyBrokerServer::new(self.clone()).max_decoding_message_size(MAXIMUM_RELEASE_REQUEST_LENGTH)
    }

    pub(crate) fn administration(&self) -> BrokerAdministrationServer<Self> {
        BrokerAdministrationServer::new(self.clone()).max_decoding_message_size(MAXIMUM_REQUEST_LENGTH)
    }

    pub(crate) fn recovery(&self) -> BrokerRecoveryServer<Self> {
        BrokerRecoveryServer::new(self.clone()).max_decoding_message_size(MAXIMUM_RELEASE_REQUEST_LENGTH)
    }

    pub(crate) fn succession(&self) -> BrokerSuccessionServer<Self> {
        BrokerSuccessionServer::new(self.clone()).max_decoding_message_size(MAXIMUM_RELEASE_REQUEST_LENGTH)
    }
}

#[tonic::async_trait]
impl KeyBroker for StandbyServices {
    async fn get_secrets(
        &self,
        _request: Request<GetSecretsRequest>,
    ) -> Result<Response<GetSecretsResponse>, Status> {
        Err(self.standby.refusal().into())
    }
}

#[tonic::async_trait]
impl BrokerAdministration for StandbyServices {
    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(self.standby.status()))
    }

    async fn execute(&self, request: Request<SignedCommand>) -> Result<Response<CommandResult>, Status> {
        // It may carry a secret.
        drop(zeroize::Zeroizing::new(request.into_inner().body));
        Err(self.standby.refusal().into())
    }
}

#[tonic::async_trait]
impl BrokerRecovery for StandbyServices {
    async fn supply_share(
        &self,
        request: Request<SupplyShareRequest>,
    ) -> Result<Response<SupplyShareResponse>, Status> {
        let peer = session(&request)?.peer_address;
        match self.standby.supply(peer, request.into_inner()).await? {
            Ok(status) => Ok(Response::new(SupplyShareResponse { status: Some(status) })),
            Err(error) => {
                if let Some(suppressed) = self.standby.log_limiter().may_write(Instant::now()) {
                    tracing::warn!(%peer, code = error.code(), %error, suppressed, "a share was refused");
                }
                Err(error.into())
            }
        }
    }
}

#[tonic::async_trait]
impl BrokerSuccession for StandbyServices {
    async fn take_over(
        &self,
        request: Request<TakeOverRequest>,
    ) -> Result<Response<TakeOverResponse>, Status> {
        let session = session(&request)?;
        Ok(Response::new(self.standby.hand_over(&session, request.get_ref())??))
    }
}
