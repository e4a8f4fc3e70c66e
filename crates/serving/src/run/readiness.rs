//! When the server can be sent requests.

use std::future::pending;

use adytum_init::health::Health;
use tokio::sync::watch;

use crate::{
    loading::{LoadingError, Round},
    models::Models,
    server::Server,
};

/// Waits until each model answers, or until waiting is of no use: nothing can be served,
/// and that was so in two rounds with the same files, if there is more than one round.
pub(super) async fn first(
    mut progress: watch::Receiver<Option<Round>>,
    models: &Models,
    polls: bool,
) -> Result<(), LoadingError> {
    let mut before = None;
    loop {
        if models.all_ready() {
            return Ok(());
        }
        let round = progress.borrow_and_update().clone().unwrap_or_default();
        let hopeless = round.hopeless.map(|error| (error, round.files));
        if let Some((error, _)) = &hopeless
            && (!polls || hopeless == before)
        {
            return Err(error.clone());
        }
        before = hopeless;
        progress.changed().await.map_err(|_| LoadingError::Ended)?;
    }
}

/// Waits for the next round.
pub(super) async fn round(progress: &mut watch::Receiver<Option<Round>>) {
    if progress.changed().await.is_err() {
        // The thread is gone; the models that are there go on.
        pending::<()>().await;
    }
}

/// Says of the server what is so of its models.
pub(super) async fn follow(models: &Models, server: &Server, health: &Health) {
    let ready = models.all_ready();
    server.set_serving(ready).await;
    if ready {
        health.set_ready();
    } else {
        health.set_unready();
    }
}
