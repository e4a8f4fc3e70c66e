//! `BrokerRecovery` and `BrokerSuccession`: how a root key comes and goes.

use adytum_api::broker::{
    SupplyShareRequest, SupplyShareResponse, TakeOverRequest, TakeOverResponse,
    broker_recovery_server::BrokerRecovery, broker_succession_server::BrokerSuccession,
};
use tonic::{Request, Response, Status};

use super::{Services, session};
use crate::server::status;

#[tonic::async_trait]
impl BrokerRecovery for Services {
    async fn supply_share(
        &self,
        request: Request<SupplyShareRequest>,
    ) -> Result<Response<SupplyShareResponse>, Status> {
        // Wiped unread.
        drop(zeroize::Zeroizing::new(request.into_inner().share));
        Err(status::not_awaiting_recovery())
    }
}

#[tonic::async_trait]
impl BrokerSuccession for Services {
    async fn take_over(
        &self,
        request: Request<TakeOverRequest>,
    ) -> Result<Response<TakeOverResponse>, Status> {
        let session = session(&request)?;
        Ok(Response::new(self.broker.hand_over(&session, request.into_inner()).await?))
    }
}
