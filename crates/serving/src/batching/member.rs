//! A request that waits for its batch, or is in one.

use std::{sync::Arc, time::Instant};

use adytum_engine::tensor::Tensor;
use tokio::sync::oneshot;

use crate::{
    error::RequestError,
    models::Servable,
    observation::Entry,
    scheduler::{Client, Priority, Share},
};

pub(super) struct Member {
    pub(super) servable: Arc<Servable>,
    pub(super) signature: String,
    pub(super) outputs: Vec<usize>,
    pub(super) inputs: Vec<Tensor>,
    pub(super) rows: usize,
    pub(super) client: Client,
    pub(super) priority: Priority,
    pub(super) submitted: Instant,
    /// Where its run is written down, if it is.
    pub(super) entry: Option<Arc<Entry>>,
    /// Closed when its caller has gone.
    pub(super) answer: oneshot::Sender<Result<Vec<Tensor>, RequestError>>,
}

impl Member {
    pub(super) fn share(&self) -> Share {
        Share { client: self.client, priority: self.priority, rows: self.rows }
    }
}
