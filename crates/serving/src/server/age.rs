//! How old a connection may become.
//!
//! Clients keep connections forever, so a replica that is added gets none of
//! theirs. Connections that end now and then are opened again, wherever the
//! cluster's load balancing sends them. Not all at once, so each has an age of
//! its own.

use std::time::Duration;

use rand::RngExt;

/// A connection's own age is this part of the set one more or less.
const JITTER: f64 = 0.1;

/// The age at which one connection ends.
pub(super) fn of_one(age: Duration) -> Duration {
    age.mul_f64(rand::rng().random_range(1.0 - JITTER..=1.0 + JITTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_spread_over_a_tenth_to_both_sides() {
        let ages: Vec<f64> = (0..1000).map(|_| of_one(Duration::from_secs(100)).as_secs_f64()).collect();
        assert!(ages.iter().all(|age| (90.0..=110.0).contains(age)));
        assert!(ages.iter().any(|age| *age < 92.0) && ages.iter().any(|age| *age > 108.0));
    }
}
