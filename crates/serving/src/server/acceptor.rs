//! Accepts connections and gives each to the serving thread that has the fewest.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Semaphore, mpsc, watch};

use super::worker::Accepted;
use crate::connection::Place;

/// After a failed accept (no file descriptors left, say) this long is waited.
const PAUSE: Duration = Duration::from_millis(50);

type Handover = (mpsc::Sender<Accepted>, Arc<AtomicUsize>);

/// Runs until `stop` says so.
pub(super) fn run(
    listener: TcpListener,
    handovers: Vec<Handover>,
    limit: usize,
    mut stop: watch::Receiver<bool>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime to accept connections on");
            return;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = accept(listener, &handovers, limit) => {}
        }
    });
}

async fn accept(listener: TcpListener, handovers: &[Handover], limit: usize) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "connections can't be accepted");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(limit));
    loop {
        let Ok(permit) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Answers are written whole: waiting for more to send only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let Some((thread, count)) = handovers.iter().min_by_key(|(_, count)| count.load(Ordering::Relaxed))
        else {
            return;
        };
        match stream.into_std() {
            Ok(stream) => {
                let place = Place::new(Arc::clone(count), permit);
                if thread.send(Accepted { stream, place }).await.is_err() {
                    tracing::error!("a serving thread is gone");
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "a connection was lost"),
        }
    }
}
