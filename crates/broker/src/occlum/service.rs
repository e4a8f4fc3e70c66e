//! `ratls.GrSecret`: one secret by its name.

use std::{sync::Arc, time::Instant};

use adytum_api::occlum::{SecretReply, SecretRequest, gr_secret_server::GrSecret};
use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::sync::Semaphore;
use tonic::{Code, Request, Response, Status, metadata::MetadataMap};

use super::session::OcclumPeer;
use crate::{
    broker::{
        Broker,
        release::{
            ReleaseError,
            others::{NameOfOthers, ReleasedSecret},
        },
    },
    server::status,
    telemetry::metrics::{GaugeGuard, Service},
};

/// When a refused request is worth trying again.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// The service.
pub(super) struct OcclumService {
    pub(super) broker: Arc<Broker>,
    /// A permit for each request in progress.
    pub(super) working: Arc<Semaphore>,
}

#[tonic::async_trait]
impl GrSecret for OcclumService {
    async fn get_secret(&self, request: Request<SecretRequest>) -> Result<Response<SecretReply>, Status> {
        let (began, metrics) = (Instant::now(), self.broker.metrics());
        let _present = GaugeGuard::enter(&metrics.requests_in_flight);
        let (code, answer) = match self.answer(&request).await {
            Ok(answer) => ("ok", Ok(answer)),
            Err(Refused { code, status }) => (code, Err(status)),
        };
        metrics.request(Service::Occlum, code, began.elapsed());
        answer
    }
}

/// A status, and the code that is counted.
struct Refused {
    code: &'static str,
    status: Status,
}

impl OcclumService {
    async fn answer(&self, request: &Request<SecretRequest>) -> Result<Response<SecretReply>, Refused> {
        let refused = |code, status| Refused { code, status };
        let peer = request.extensions().get::<OcclumPeer>();
        let peer = peer.ok_or_else(|| refused(status::NO_SESSION, status::no_session()))?;
        let _working =
            self.working.try_acquire().map_err(|_| refused("overloaded", status::overloaded(RETRY_AFTER)))?;
        let asked = NameOfOthers::Occlum(&request.get_ref().name);
        let released = self.broker.release_to_others(peer.address, &peer.claims, asked).await;
        let ReleasedSecret { value, lease, .. } =
            released.map_err(|error| refused(error.code(), status_of(error)))?;
        let secret = format!("\"{}\"", STANDARD.encode(value.expose()));
        let mut answer = Response::new(SecretReply { secret });
        let mut say = |name: &'static str, seconds: u32| answer.metadata_mut().insert(name, seconds.into());
        say("adytum-lease-seconds", lease.duration.seconds());
        say("adytum-grace-seconds", lease.grace.seconds());
        Ok(answer)
    }
}

/// As in our own protocol, but that Occlum's has CANCELLED for a name that there is not.
fn status_of(error: ReleaseError) -> Status {
    let unknown = matches!(error, ReleaseError::UnknownToOthers { .. });
    let status = Status::from(error);
    if !unknown {
        return status;
    }
    let metadata: MetadataMap = status.metadata().clone();
    Status::with_metadata(Code::Cancelled, status.message(), metadata)
}
