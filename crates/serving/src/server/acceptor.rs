//! Accepts connections and gives each to the serving thread that has the fewest.
//!
//! Connections are limited in number, and anybody can open one and keep it. So when there
//! are too many, the longest idle one of the address with the most is displaced by a new one:
//! answers to pings are no use that a client makes of it.

use std::{
    io,
    net::IpAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use adytum_crowd::places::Places;
use tokio::sync::{mpsc, watch};

use super::{
    listener::{Accepted, Socket},
    worker::Handed,
};
use crate::connection::Place;

/// After a failed accept (no file descriptors left, say) this long is waited.
const PAUSE: Duration = Duration::from_millis(50);

/// Connections that were turned away are logged at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

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
    places: Arc<Places>,
    mut stop: watch::Receiver<bool>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime to accept connections on");
            return;
        }
    };
    let mut acceptor = Acceptor { listener: place, handovers, places, turned_away: TurnedAway::default() };
    runtime.block_on(acceptor.run(listener, async {
        // An error means that the server itself is gone.
        let _ = stop.wait_for(|stop| *stop).await;
    }));
}

struct Acceptor {
    listener: usize,
    handovers: Vec<Handover>,
    places: Arc<Places>,
    turned_away: TurnedAway,
}

/// Connections that found no place since the last line about them.
#[derive(Default)]
struct TurnedAway {
    number: u64,
    logged: Option<Instant>,
}

impl TurnedAway {
    fn add(&mut self, address: IpAddr, now: Instant) {
        self.number += 1;
        if self.logged.is_none_or(|logged| now.saturating_duration_since(logged) >= LOG_INTERVAL) {
            tracing::warn!(
                number = self.number,
                last = %address,
                "connections were closed: all that may be open (--max_connections) are in use"
            );
            *self = Self { number: 0, logged: Some(now) };
        }
    }
}

impl Acceptor {
    async fn run(&mut self, listener: Socket, stop: impl Future<Output = ()>) {
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
            let (stream, address) = tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection failed");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
            };
            if !self.hand_over(stream, address).await {
                return;
            }
        }
        match listener.into_std() {
            Ok(listener) => self.accept_waiting(&listener).await,
            Err(error) => tracing::warn!(%error, "connections that wait are not accepted"),
        }
    }

    /// The connections that the kernel has made already: a port that is closed
    /// resets them, whatever their clients have sent.
    async fn accept_waiting(&mut self, listener: &Socket) {
        loop {
            let (stream, address) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "a connection that waits is not accepted");
                    return;
                }
            };
            if !self.hand_over(stream, address).await {
                return;
            }
        }
    }

    /// Gives a connection to a thread, if there is a place for it; false if there is no
    /// thread any more.
    async fn hand_over(&mut self, stream: Accepted, address: IpAddr) -> bool {
        let now = Instant::now();
        let Ok(place) = self.places.take(address.into(), now) else {
            self.turned_away.add(address, now);
            return true;
        };
        if let Err(error) = stream.prepare() {
            tracing::debug!(%error, "a connection was lost");
            return true;
        }
        let Some((thread, count)) =
            self.handovers.iter().min_by_key(|(_, count)| count.load(Ordering::Relaxed))
        else {
            return false;
        };
        let place = Place::new(Arc::clone(count), Arc::new(place));
        if thread.send(Handed { stream, place, listener: self.listener }).await.is_err() {
            tracing::error!("a serving thread is gone");
            return false;
        }
        true
    }
}
