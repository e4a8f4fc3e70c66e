//! The gRPC services: thin; what they do is in [`crate::broker::release`] and
//! [`crate::broker::administration`].

mod administration;
mod key_broker;
mod recovery;
mod standby;

use std::sync::Arc;

use adytum_api::broker::{
    broker_administration_server::BrokerAdministrationServer, broker_recovery_server::BrokerRecoveryServer,
    broker_succession_server::BrokerSuccessionServer, key_broker_server::KeyBrokerServer,
};
use adytum_governance::command::MAXIMUM_BODY_LENGTH;
use adytum_ratls::session::SessionInfo;
use tonic::{Request, Status};

pub(crate) use self::standby::StandbyServices;
use super::status;
use crate::broker::Broker;

/// The longest request to either service, in bytes: a command of the greatest
/// length and its signatures.
pub const MAXIMUM_REQUEST_LENGTH: usize = MAXIMUM_BODY_LENGTH + 16 * 1024;
/// The longest request for secrets, in bytes.
const MAXIMUM_RELEASE_REQUEST_LENGTH: usize = 16 * 1024;

/// Both services of a broker.
#[derive(Clone)]
pub(crate) struct Services {
    broker: Arc<Broker>,
}

impl Services {
    /// The services of this broker. Admission is before them: see
    /// [`crate::server`].
    pub(crate) fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
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

fn session<T>(request: &Request<T>) -> Result<SessionInfo, Status> {
    request.extensions().get::<SessionInfo>().cloned().ok_or_else(status::no_session)
}
