//! `BrokerAdministration`: for owners.

use adytum_api::broker::{
    CommandResult, GetStatusRequest, GetStatusResponse, SignedCommand,
    broker_administration_server::BrokerAdministration,
};
use tonic::{Request, Response, Status};

use super::{Services, session};

#[tonic::async_trait]
impl BrokerAdministration for Services {
    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let _admitted = self.admit()?;
        Ok(Response::new(self.broker.status()))
    }

    async fn execute(&self, request: Request<SignedCommand>) -> Result<Response<CommandResult>, Status> {
        let _admitted = self.admit()?;
        let session = session(&request)?;
        let answer = self.broker.execute(&session, request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}
