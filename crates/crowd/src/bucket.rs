//! How often an address may do something on average. What turned out not to be a
//! stranger's is given back, so that only strangers use it up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::address::Address;

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// A second, on average; 0 is no limit.
    pub per_second: u32,
    /// At most this number at once, when there were none for a while.
    pub burst: u32,
}

/// The most addresses that are distinguished; further ones share a bucket.
const MAXIMUM_ADDRESSES: usize = 8192;
/// The table is searched for full buckets at most this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A bucket of tokens for each address.
#[derive(Debug)]
pub struct Buckets {
    rate: Rate,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Buckets that are not full. `None`: of all addresses that no room is left for.
    buckets: HashMap<Option<Address>, Bucket>,
    swept: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * f64::from(rate.per_second)).min(f64::from(rate.burst));
        self.filled = self.filled.max(now);
    }
}

impl Buckets {
    /// Full buckets for everybody.
    pub fn new(rate: Rate) -> Arc<Self> {
        Arc::new(Self { rate, table: Mutex::default() })
    }

    /// Takes one of this address; an error says after which time there is one.
    pub fn take(self: &Arc<Self>, address: Address, now: Instant) -> Result<Token, Duration> {
        let mut token = Token { buckets: Arc::clone(self), of: None };
        if self.rate.per_second == 0 {
            return Ok(token);
        }
        let mut table = self.lock();
        let of = table.place(address, self.rate, now);
        let full = Bucket { tokens: f64::from(self.rate.burst), filled: now };
        let bucket = table.buckets.entry(of).or_insert(full);
        bucket.fill(self.rate, now);
        if bucket.tokens < 1.0 {
            let seconds = (1.0 - bucket.tokens) / f64::from(self.rate.per_second);
            return Err(Duration::from_secs_f64(seconds));
        }
        bucket.tokens -= 1.0;
        token.of = Some(of);
        Ok(token)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A use of a bucket. It counts, unless it is given back.
#[derive(Debug)]
#[must_use = "dropped, it is used up"]
pub struct Token {
    buckets: Arc<Buckets>,
    /// The bucket; `None` without a limit.
    of: Option<Option<Address>>,
}

impl Token {
    /// It was no stranger's.
    pub fn give_back(self) {
        let Some(of) = self.of else { return };
        let burst = f64::from(self.buckets.rate.burst);
        if let Some(bucket) = self.buckets.lock().buckets.get_mut(&of) {
            bucket.tokens = (bucket.tokens + 1.0).min(burst);
        }
    }
}

impl Table {
    /// Where this address is counted.
    fn place(&mut self, address: Address, rate: Rate, now: Instant) -> Option<Address> {
        let own = Some(address);
        if self.buckets.contains_key(&own) || self.buckets.len() < MAXIMUM_ADDRESSES {
            return own;
        }
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_INTERVAL) {
            self.swept = Some(now);
            self.buckets.retain(|_, bucket| {
                bucket.fill(rate, now);
                bucket.tokens < f64::from(rate.burst)
            });
        }
        if self.buckets.len() < MAXIMUM_ADDRESSES { own } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 20 };

    fn address(number: u32) -> Address {
        IpAddr::from(number.to_be_bytes()).into()
    }

    fn taken(buckets: &Arc<Buckets>, number: u32, now: Instant) -> usize {
        (0..1000).map_while(|_| buckets.take(address(number), now).ok()).count()
    }

    #[test]
    fn an_address_has_a_burst_and_then_a_rate_and_others_have_theirs() {
        let (buckets, start) = (Buckets::new(RATE), Instant::now());
        assert_eq!((taken(&buckets, 1, start), taken(&buckets, 2, start)), (20, 20));
        let later = start + Duration::from_secs(1);
        assert_eq!(taken(&buckets, 1, later), 10);
        assert_eq!(buckets.take(address(1), later).unwrap_err(), Duration::from_millis(100));
        assert_eq!(taken(&buckets, 1, later + Duration::from_secs(3600)), 20);
    }

    #[test]
    fn what_is_given_back_was_never_used() {
        let (buckets, now) = (Buckets::new(RATE), Instant::now());
        for _ in 0..1000 {
            buckets.take(address(1), now).unwrap().give_back();
        }
        assert_eq!(taken(&buckets, 1, now), 20);
        let unlimited = Buckets::new(Rate { per_second: 0, burst: 0 });
        assert_eq!(taken(&unlimited, 1, now), 1000);
        unlimited.take(address(1), now).unwrap().give_back();
        assert!(unlimited.lock().buckets.is_empty());
    }

    #[test]
    fn the_table_is_bounded_and_forgets_full_buckets() {
        let (buckets, start) = (Buckets::new(RATE), Instant::now());
        for number in 0..3 * MAXIMUM_ADDRESSES as u32 {
            let _ = buckets.take(address(number), start);
        }
        assert_eq!(buckets.lock().buckets.len(), MAXIMUM_ADDRESSES + 1);
        // Those without a bucket of their own share one.
        assert!(buckets.take(address(u32::MAX), start).is_err());
        let later = start + Duration::from_secs(60);
        assert!(buckets.take(address(u32::MAX), later).is_ok());
        assert_eq!(buckets.lock().buckets.len(), 1);
    }
}
