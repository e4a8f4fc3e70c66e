//! `KeyBroker`: for workloads.

use adytum_api::broker::{GetSecretsRequest, GetSecretsResponse, key_broker_server::KeyBroker};
use adytum_governance::head::StateHead;
use adytum_ratls::session::Peer;
use tonic::{Request, Response, Status};

use super::{Services, session};
use crate::broker::confirmation::SeenError;

#[tonic::async_trait]
impl KeyBroker for Services {
    async fn get_secrets(
        &self,
        request: Request<GetSecretsRequest>,
    ) -> Result<Response<GetSecretsResponse>, Status> {
        let session = session(&request)?;
        let mut request = request.into_inner();
        let renewal = request.seen.is_some();
        if let (Peer::Attested { .. }, Some(seen)) = (&session.peer, request.seen.take()) {
            let seen = StateHead::try_from(seen).map_err(SeenError::from);
            let continues = match seen {
                Ok(seen) => self.broker.continues(&seen).await,
                Err(error) => Err(error),
            };
            if let Err(error) = continues {
                self.broker.refuse(&session, error.code(), error.to_string()).await?;
                return Err(error.into());
            }
        }
        let answer = self.broker.release(&session, &request).await?;
        if renewal {
            self.broker.metrics().lease_renewals.inc();
        }
        Ok(Response::new(answer))
    }
}
