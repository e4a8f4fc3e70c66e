//! The place of an open session, and what it says about its peer: one with evidence, one
//! that has shown an owner's signature, or a stranger. Each kind has places of its own, so
//! that strangers take none of the others'.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use adytum_crowd::{
    address::Address,
    places::{Full, Place, Places},
};
use adytum_ratls::session::Peer;

/// How long a session of a peer with evidence, or of an owner, is idle before it is displaced
/// to another of an address with as many.
const IDLE_GRACE: Duration = Duration::from_secs(10);
/// Requests in progress on the session of a stranger.
const STRANGERS_REQUESTS: usize = 8;

/// The places of all open sessions.
#[derive(Clone, Debug)]
pub(super) struct SessionPlaces {
    attested: Arc<Places>,
    owners: Arc<Places>,
    strangers: Arc<Places>,
}

impl SessionPlaces {
    pub(super) fn new(attested: usize, owners: usize, strangers: usize) -> Self {
        Self {
            attested: Places::new(attested, IDLE_GRACE),
            owners: Places::new(owners, IDLE_GRACE),
            // The newest stranger always comes in: it may be an owner who has still to say so.
            strangers: Places::new(strangers, Duration::ZERO),
        }
    }

    /// A place for a session with this peer.
    pub(super) fn take(&self, peer: &Peer, address: Address, now: Instant) -> Result<Arc<Standing>, Full> {
        let (kind, places) = match peer {
            Peer::Attested { .. } => (Kind::Attested, &self.attested),
            Peer::Unattested => (Kind::Stranger, &self.strangers),
        };
        let held = Mutex::new(Held { kind, place: places.take(address, now)? });
        Ok(Arc::new(Standing { held, owners: Arc::clone(&self.owners), requests: AtomicUsize::new(0) }))
    }
}

/// The kind of a session's peer, by what it has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has shown accepted evidence.
    Attested,
    /// It has shown an owner's signature over a command of this session.
    Owner,
    /// It has shown nothing.
    Stranger,
}

#[derive(Debug)]
struct Held {
    kind: Kind,
    place: Place,
}

/// The place of one open session.
#[derive(Debug)]
pub(super) struct Standing {
    held: Mutex<Held>,
    owners: Arc<Places>,
    requests: AtomicUsize,
}

impl Standing {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn kind(&self) -> Kind {
        self.lock().kind
    }

    pub(super) fn address(&self) -> Address {
        self.lock().place.address()
    }

    /// The peer has shown an owner's signature: strangers don't displace it any more.
    pub(super) fn show_owner(&self, now: Instant) {
        let mut held = self.lock();
        if held.kind != Kind::Stranger || held.place.is_displaced() {
            return;
        }
        // If there is none, the session stays where it is.
        if let Ok(place) = self.owners.take(held.place.address(), now) {
            *held = Held { kind: Kind::Owner, place };
        }
    }

    /// A request begins, if the session may have one more.
    pub(super) fn begin(self: &Arc<Self>, now: Instant) -> Option<InRequest> {
        let held = self.lock();
        match held.kind {
            Kind::Stranger if self.requests.load(Ordering::Relaxed) >= STRANGERS_REQUESTS => return None,
            // A stranger that asks for something slow is no better than one that is idle.
            Kind::Stranger => held.place.touch(now),
            Kind::Attested | Kind::Owner => held.place.begin_work(now),
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        Some(InRequest(Arc::clone(self)))
    }

    /// Ready once the session has to end. A waker is kept only with `Pending`.
    pub(super) fn poll_displaced(&self, context: &mut Context<'_>) -> Poll<()> {
        self.lock().place.poll_displaced(context)
    }
}

/// A request in progress.
#[derive(Debug)]
pub(super) struct InRequest(Arc<Standing>);

impl Drop for InRequest {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
        self.0.lock().place.end_work(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(last: u8) -> Address {
        IpAddr::from([10, 0, 0, last]).into()
    }

    fn gone(standing: &Standing) -> bool {
        standing.lock().place.is_displaced()
    }

    #[test]
    fn strangers_displace_strangers_and_no_owner() {
        let (places, now) = (SessionPlaces::new(4, 2, 3), Instant::now());
        let take = |last| places.take(&Peer::Unattested, address(last), now).unwrap();
        let owner = take(1);
        owner.show_owner(now);
        assert_eq!(owner.kind(), Kind::Owner);
        // From the owner's own address and from others.
        let strangers: Vec<_> = (0..100).map(|n| take(1 + n % 4)).collect();
        assert!(!gone(&owner));
        assert_eq!(strangers.iter().filter(|one| !gone(one)).count(), 3);
        // The newest is there, and what it shows counts while it is.
        let last = strangers.last().unwrap();
        last.show_owner(now);
        assert_eq!((gone(last), last.kind()), (false, Kind::Owner));
        strangers[0].show_owner(now);
        assert_eq!((gone(&strangers[0]), strangers[0].kind()), (true, Kind::Stranger));
    }

    #[test]
    fn a_stranger_has_few_requests() {
        let (places, now) = (SessionPlaces::new(4, 2, 3), Instant::now());
        let stranger = places.take(&Peer::Unattested, address(1), now).unwrap();
        let mut requests: Vec<_> = (0..100).map_while(|_| stranger.begin(now)).collect();
        assert_eq!(requests.len(), STRANGERS_REQUESTS);
        requests.pop();
        assert!(stranger.begin(now).is_some() && stranger.begin(now).is_some());
        stranger.show_owner(now);
        let owners: Vec<_> = (0..20).map_while(|_| stranger.begin(now)).collect();
        assert_eq!(owners.len(), 20);
    }
}
