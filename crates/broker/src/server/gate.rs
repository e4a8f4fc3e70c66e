//! The door: decides during a handshake whether it goes on, and gives the session its place.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use adytum_crowd::{
    bucket::{Buckets, Token},
    known::Known,
    places::Place,
    quotes::{QuoteWatch, Quotes},
};
use adytum_evidence::{attester::Attester, measurement::Sha256Digest};
use adytum_ratls::{
    error::Refusal,
    gate::{Gate, overloaded},
    session::Peer,
};

use super::{
    ServerLimits,
    overload::Overload,
    standing::{SessionPlaces, Standing},
};
use crate::telemetry::metrics::{GaugeGuard, Metrics};

/// Keys of peers with evidence that are remembered: as long as these use a key.
const KNOWN_KEYS: usize = 16 * 1024;
const KNOWN_LIFETIME: Duration = Duration::from_secs(3600);
/// The shortest time after which a peer is asked to come back.
const SHORTEST_RETRY: Duration = Duration::from_secs(1);

/// What all handshakes share.
pub(super) struct Door {
    quotes: Quotes,
    /// The rate of strangers' handshakes, by address.
    rate: Arc<Buckets>,
    known: Known,
    sessions: SessionPlaces,
}

impl Door {
    pub(super) fn new(attester: Arc<dyn Attester>, metrics: Arc<Metrics>, limits: &ServerLimits) -> Self {
        Self {
            quotes: Quotes::new(attester, limits.quotes, Arc::new(Watch(metrics))),
            rate: Buckets::new(limits.strangers),
            known: Known::new(KNOWN_KEYS, KNOWN_LIFETIME),
            sessions: SessionPlaces::new(
                limits.maximum_sessions,
                limits.maximum_owner_sessions,
                limits.maximum_unattested_sessions,
            ),
        }
    }
}

/// One handshake at the door.
pub(super) struct AtTheDoor {
    door: Arc<Door>,
    place: Arc<Place>,
    passed: Mutex<Passed>,
}

#[derive(Default)]
struct Passed {
    token: Option<Token>,
    standing: Option<Arc<Standing>>,
    refused: Option<Overload>,
}

impl AtTheDoor {
    pub(super) fn new(door: Arc<Door>, place: Arc<Place>) -> Self {
        Self { door, place, passed: Mutex::default() }
    }

    /// The session's place, if the handshake came so far.
    pub(super) fn standing(&self) -> Option<Arc<Standing>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).standing.take()
    }

    /// The limit that it was beyond.
    pub(super) fn refused(&self) -> Option<Overload> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).refused
    }

    fn refuse(&self, overload: Overload, after: Duration) -> Refusal {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).refused = Some(overload);
        overloaded(after.max(SHORTEST_RETRY), overload.message())
    }
}

impl Gate for AtTheDoor {
    fn admit(&self, key: Option<&Sha256Digest>) -> Result<Option<Arc<dyn Attester>>, Refusal> {
        let (now, door) = (Instant::now(), &self.door);
        self.place.touch(now);
        if key.is_some_and(|key| door.known.knows(&key.0, now)) {
            return Ok(Some(Arc::clone(&door.quotes.for_known)));
        }
        let token = door
            .rate
            .take(self.place.address(), now)
            .map_err(|after| self.refuse(Overload::Strangers, after))?;
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).token = Some(token);
        Ok(Some(Arc::clone(&door.quotes.for_strangers)))
    }

    fn open(&self, peer: &Peer, key: Option<&Sha256Digest>) -> Result<(), Refusal> {
        let (now, door) = (Instant::now(), &self.door);
        self.place.touch(now);
        let attested = matches!(peer, Peer::Attested { .. });
        if attested {
            // A peer with evidence was no stranger.
            let token = self.passed.lock().unwrap_or_else(PoisonError::into_inner).token.take();
            token.into_iter().for_each(Token::give_back);
            key.into_iter().for_each(|key| door.known.remember(key.0, now));
        }
        let standing = door.sessions.take(peer, self.place.address(), now).map_err(|full| {
            let overload = if attested { Overload::Sessions } else { Overload::Unattested };
            self.refuse(overload, full.retry_after)
        })?;
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).standing = Some(standing);
        Ok(())
    }
}

/// Counts quotes in the broker's metrics.
struct Watch(Arc<Metrics>);

impl QuoteWatch for Watch {
    fn waiting(&self) -> Box<dyn Send> {
        Box::new(GaugeGuard::enter(&self.0.quotes_waiting))
    }

    fn making(&self) -> Box<dyn Send> {
        Box::new(GaugeGuard::enter(&self.0.quotes_in_flight))
    }

    fn made(&self, took: Duration) {
        self.0.quote_seconds.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests;
