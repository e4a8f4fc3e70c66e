//! Accepts connections and gives each to the serving thread that has the fewest.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit as Permit, Semaphore, mpsc, watch};

use super::{
    listener::{Accepted, AsyncSocket, Socket},
    worker::Handed,
};
use crate::connection::Place;

/// After a failed accept (no file descriptors left, say) this long is waited.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) type Handover = (mpsc::Sender<Handed>, Arc<AtomicUsize>);

/// Runs until `stop` says so. Serving threads learn from its end, which drops the
/// `handovers`, that no more connections come: only then are the clients of the
/// open ones sent away, so that they find the port closed when they connect again,
/// and not a connection that no thread accepts. `place` is the listener's among all,
/// `places` are those of the connections of all listeners.
pub(super) fn run(
    listener: Socket,
    place: usize,
    handovers: Vec<Handover>,
    places: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime to accept connections on");
            return;
        }
    };
    let acceptor = Acceptor { listener: place, handovers, places };
    runtime.block_on(acceptor.run(listener, async {
        // An error means that the server itself is gone.
        let _ = stop.wait_for(|stop| *stop).await;
    }));
}

struct Acceptor {
    listener: usize,
    handovers: Vec<Handover>,
    places: Arc<Semaphore>,
}

impl Acceptor {
    async fn run(&self, listener: Socket, stop: impl Future<Output = ()>) {
        let listener = match listener.into_async() {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "connections can't be accepted");
                return;
            }
        };
        let mut stop = pin!(stop);
        loop {
            // A connection that was accepted is always handed over, so `stop` is
            // only looked at between two.
            let (stream, place) = tokio::select! {
                () = &mut stop => break,
                accepted = self.accept(&listener) => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection failed");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
            };
            if !self.hand_over(stream, place).await {
                return;
            }
        }
        match listener.into_std() {
            Ok(listener) => self.accept_waiting(&listener).await,
            Err(error) => tracing::warn!(%error, "connections that wait are not accepted"),
        }
    }

    /// The next connection, once there is a place for it.
    async fn accept(&self, listener: &AsyncSocket) -> io::Result<(Accepted, Permit)> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        Ok((listener.accept().await?, place))
    }

    /// The connections that the kernel has made already: a port that is closed
    /// resets them, whatever their clients have sent.
    async fn accept_waiting(&self, listener: &Socket) {
        while let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            let stream = match listener.accept() {
                Ok(stream) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "a connection that waits is not accepted");
                    return;
                }
            };
            if !self.hand_over(stream, place).await {
                return;
            }
        }
    }

    /// Gives a connection to a thread; false if there is none any more.
    async fn hand_over(&self, stream: Accepted, permit: Permit) -> bool {
        if let Err(error) = stream.prepare() {
            tracing::debug!(%error, "a connection was lost");
            return true;
        }
        let Some((thread, count)) =
            self.handovers.iter().min_by_key(|(_, count)| count.load(Ordering::Relaxed))
        else {
            return false;
        };
        let place = Place::new(Arc::clone(count), permit);
        if thread.send(Handed { stream, place, listener: self.listener }).await.is_err() {
            tracing::error!("a serving thread is gone");
            return false;
        }
        true
    }
}
