//! The gRPC services: TensorFlow Serving's, and the one of the Open Inference Protocol.

pub(crate) mod classify;
mod management;
pub(crate) mod metadata;
mod method;
pub(crate) mod model_status;
mod predict;
mod request;
pub(crate) mod target;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

pub use crate::inference::{AnswerOptions, Inference};
pub use management::{Management, ManagementError};
pub use method::{InferenceServer, NAMES};

use crate::models::{Answered, Pinned};

/// The largest request that carries no tensors, in bytes.
pub const SMALL_MESSAGE: usize = 64 << 10;

/// The services.
#[derive(Clone)]
pub struct Services {
    pub(crate) inference: Arc<Inference>,
    management: Option<Management>,
    draining: Arc<AtomicBool>,
}

impl Services {
    /// Services on these models.
    pub fn new(inference: Inference) -> Self {
        Self { inference: Arc::new(inference), management: None, draining: Arc::default() }
    }

    /// The services, with changes of the configuration by clients.
    #[must_use]
    pub fn with_management(mut self, management: Management) -> Self {
        self.management = Some(management);
        self
    }

    /// The services as a request in an attested session sees them.
    pub(crate) fn in_session(&self, pinned: &Arc<Pinned>, answered: &Answered) -> Self {
        let models = self.inference.models.in_session(pinned, answered);
        let inference = Inference { models, ..self.inference.as_ref().clone() };
        Self { inference: Arc::new(inference), management: None, draining: Arc::clone(&self.draining) }
    }

    /// Whether each model answers requests, and the server does not end.
    pub(crate) fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && self.inference.models.all_ready()
    }

    /// The server does not take requests for long any more.
    pub(crate) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }
}
