//! Limits for one address. Peers are distinguished by their address (of IPv6,
//! by the network that one site has), and many may share one: behind a
//! translation of addresses a whole cluster does. So these limits are wide; they
//! keep one address from taking everything.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::overload::Overload;

/// Limits of one address.
#[derive(Clone, Copy, Debug)]
pub struct PeerLimits {
    /// Connections a second, on average; 0 is no limit.
    pub rate: u32,
    /// At most this number at once, when there were none for a while.
    pub burst: u32,
    pub handshakes: usize,
    /// Open sessions without evidence.
    pub unattested_sessions: usize,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self { rate: 1000, burst: 4000, handshakes: 384, unattested_sessions: 128 }
    }
}

/// The most addresses that are distinguished; further ones share a place.
const MAXIMUM_PEERS: usize = 8192;
/// The table is searched for idle addresses at most so often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum PeerKey {
    V4([u8; 4]),
    /// A network of 64 bits: an address has no cost within it.
    V6([u8; 8]),
    /// All that no place is left for.
    Others,
}

impl PeerKey {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => Self::V6(network(address)),
        }
    }
}

fn network(address: Ipv6Addr) -> [u8; 8] {
    let mut network = [0; 8];
    network.copy_from_slice(&address.octets()[..8]);
    network
}

#[derive(Debug)]
struct Peer {
    /// Connections that it may open now.
    tokens: f64,
    refilled: Instant,
    handshakes: usize,
    unattested_sessions: usize,
}

impl Peer {
    fn refill(&mut self, limits: &PeerLimits, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.tokens = (self.tokens + passed * f64::from(limits.rate)).min(f64::from(limits.burst));
        self.refilled = now;
    }

    fn idle(&self, limits: &PeerLimits) -> bool {
        let full = limits.rate == 0 || self.tokens >= f64::from(limits.burst);
        self.handshakes == 0 && self.unattested_sessions == 0 && full
    }
}

/// The addresses that are known now.
#[derive(Debug)]
pub(super) struct Peers {
    limits: PeerLimits,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    peers: HashMap<PeerKey, Peer>,
    swept: Option<Instant>,
}

/// A thing that counts against an address while it lasts.
#[derive(Clone, Copy, Debug)]
enum Held {
    Handshake,
    UnattestedSession,
}

/// A place of an address, given back when it is dropped.
#[derive(Debug)]
pub(super) struct PeerPlace {
    peers: Arc<Peers>,
    key: PeerKey,
    held: Held,
}

impl PeerPlace {
    /// Whom it is counted for.
    pub(super) fn key(&self) -> PeerKey {
        self.key
    }
}

impl Peers {
    pub(super) fn new(limits: PeerLimits) -> Arc<Self> {
        Arc::new(Self { limits, table: Mutex::new(Table { peers: HashMap::new(), swept: None }) })
    }

    /// A handshake of this address, or the limit that it is beyond.
    pub(super) fn handshake(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<PeerPlace, Overload> {
        let limits = self.limits;
        let mut table = self.lock();
        let key = table.place(PeerKey::of(address), &limits, now);
        let peer = table.peer(key, &limits, now);
        peer.refill(&limits, now);
        if limits.rate > 0 && peer.tokens < 1.0 {
            return Err(Overload::PeerRate);
        }
        if peer.handshakes >= limits.handshakes {
            return Err(Overload::PeerHandshakes);
        }
        if limits.rate > 0 {
            peer.tokens -= 1.0;
        }
        peer.handshakes += 1;
        Ok(PeerPlace { peers: Arc::clone(self), key, held: Held::Handshake })
    }

    /// A session without evidence of this address, if it may have one more.
    pub(super) fn unattested_session(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<PeerPlace> {
        let limits = self.limits;
        let mut table = self.lock();
        let key = table.place(PeerKey::of(address), &limits, now);
        let peer = table.peer(key, &limits, now);
        if peer.unattested_sessions >= limits.unattested_sessions {
            return None;
        }
        peer.unattested_sessions += 1;
        Some(PeerPlace { peers: Arc::clone(self), key, held: Held::UnattestedSession })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Where this address is counted.
    fn place(&mut self, key: PeerKey, limits: &PeerLimits, now: Instant) -> PeerKey {
        if self.peers.contains_key(&key) || self.peers.len() < MAXIMUM_PEERS {
            return key;
        }
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_INTERVAL) {
            self.swept = Some(now);
            self.peers.retain(|_, peer| {
                peer.refill(limits, now);
                !peer.idle(limits)
            });
        }
        if self.peers.len() < MAXIMUM_PEERS { key } else { PeerKey::Others }
    }

    fn peer(&mut self, key: PeerKey, limits: &PeerLimits, now: Instant) -> &mut Peer {
        let tokens = f64::from(limits.burst);
        let new = Peer { tokens, refilled: now, handshakes: 0, unattested_sessions: 0 };
        self.peers.entry(key).or_insert(new)
    }
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        // An address with a place is not idle, so it is still there.
        if let Some(peer) = self.peers.lock().peers.get_mut(&self.key) {
            match self.held {
                Held::Handshake => peer.handshakes = peer.handshakes.saturating_sub(1),
                Held::UnattestedSession => {
                    peer.unattested_sessions = peer.unattested_sessions.saturating_sub(1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PeerLimits = PeerLimits { rate: 10, burst: 20, handshakes: 1000, unattested_sessions: 2 };

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admitted(peers: &Arc<Peers>, text: &str, now: Instant) -> usize {
        (0..1000).take_while(|_| peers.handshake(address(text), now).is_ok()).count()
    }

    #[test]
    fn an_address_has_a_burst_and_then_a_rate_and_others_have_theirs() {
        let (peers, start) = (Peers::new(LIMITS), Instant::now());
        assert_eq!(admitted(&peers, "10.0.0.1", start), 20);
        assert_eq!(admitted(&peers, "10.0.0.2", start), 20);
        let later = start + Duration::from_secs(1);
        assert_eq!(admitted(&peers, "10.0.0.1", later), 10);
        assert_eq!(admitted(&peers, "10.0.0.1", later + Duration::from_secs(3600)), 20);
        // The same address in IPv6's clothes.
        assert_eq!(admitted(&peers, "::ffff:10.0.0.2", start), 0);
    }

    #[test]
    fn one_network_of_ipv6_is_one_peer() {
        let (peers, start) = (Peers::new(LIMITS), Instant::now());
        assert_eq!(admitted(&peers, "2001:db8:0:1::1", start), 20);
        assert_eq!(admitted(&peers, "2001:db8:0:1:ffff::9", start), 0);
        assert_eq!(admitted(&peers, "2001:db8:0:2::1", start), 20);
    }

    #[test]
    fn without_a_rate_only_what_is_in_flight_counts() {
        let limits = PeerLimits { rate: 0, burst: 0, handshakes: 3, unattested_sessions: 1 };
        let (peers, now) = (Peers::new(limits), Instant::now());
        let mut held: Vec<_> = (0..3).map(|_| peers.handshake(address("10.0.0.1"), now).unwrap()).collect();
        assert_eq!(peers.handshake(address("10.0.0.1"), now).unwrap_err(), Overload::PeerHandshakes);
        held.pop();
        assert!(peers.handshake(address("10.0.0.1"), now).is_ok());
        let session = peers.unattested_session(address("10.0.0.1"), now);
        assert!(session.is_some() && peers.unattested_session(address("10.0.0.1"), now).is_none());
        drop(session);
        assert!(peers.unattested_session(address("10.0.0.1"), now).is_some());
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_is_idle_first() {
        let (peers, start) = (Peers::new(LIMITS), Instant::now());
        let held = peers.handshake(address("10.0.0.1"), start).unwrap();
        for n in 0..3 * MAXIMUM_PEERS as u32 {
            let _ = peers.handshake(IpAddr::from((0x0b00_0000 + n).to_be_bytes()), start);
        }
        assert_eq!(peers.lock().peers.len(), MAXIMUM_PEERS + 1);
        // Those without a place of their own share one, and its limits.
        assert_eq!(peers.handshake(address("12.0.0.1"), start).unwrap_err(), Overload::PeerRate);
        let later = start + Duration::from_secs(60);
        assert!(peers.handshake(address("12.0.0.1"), later).is_ok());
        let table = peers.lock();
        assert!(table.peers.len() <= 3, "{}", table.peers.len());
        assert_eq!(table.peers.get(&PeerKey::of(address("10.0.0.1"))).map(|peer| peer.handshakes), Some(1));
        drop(table);
        drop(held);
    }
}
