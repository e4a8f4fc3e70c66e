//! `BrokerAdministration`: for owners.

use adytum_api::broker::{
    CommandResult, GetStatusRequest, GetStatusResponse, SignedCommand,
    broker_administration_server::BrokerAdministration,
};
use adytum_governance::head::StateHead;
use tonic::{Request, Response, Status};

use super::{Services, session};
use crate::broker::confirmation::SeenError;

#[tonic::async_trait]
impl BrokerAdministration for Services {
    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let GetStatusRequest { seen, recovery } = request.into_inner();
        if let Some(seen) = seen {
            let seen = StateHead::try_from(seen).map_err(SeenError::from)?;
            self.broker.continues(&seen).await?;
        }
        let mut status = self.broker.status();
        if recovery {
            status.recovery = Some(self.broker.recovery_status().await?);
        }
        Ok(Response::new(status))
    }

    async fn execute(&self, request: Request<SignedCommand>) -> Result<Response<CommandResult>, Status> {
        let session = session(&request)?;
        let answer = self.broker.execute(&session, request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}
