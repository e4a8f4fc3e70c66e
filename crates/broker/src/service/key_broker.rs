//! `KeyBroker`: for workloads.

use adytum_api::broker::{GetSecretsRequest, GetSecretsResponse, key_broker_server::KeyBroker};
use tonic::{Request, Response, Status};

use super::{Services, session};

#[tonic::async_trait]
impl KeyBroker for Services {
    async fn get_secrets(
        &self,
        request: Request<GetSecretsRequest>,
    ) -> Result<Response<GetSecretsResponse>, Status> {
        let _admitted = self.admit()?;
        let session = session(&request)?;
        let answer = self.broker.release(&session, &request.into_inner().names).await?;
        Ok(Response::new(answer))
    }
}
