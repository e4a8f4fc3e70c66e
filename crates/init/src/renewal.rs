//! The right to what a broker released, kept as long as the broker grants it.
//!
//! At a third of the lease everything is asked for again; changes are
//! put in place. A broker that refuses ends the matter at once. While none can
//! be reached it is tried again, until lease and grace are over. All of this is
//! counted on a monotonic clock, from the moment of asking, so never longer than
//! the broker's own count.
//!
//! Each renewal opens a session of its own, and so attests again: the broker then
//! holds no memory for replicas that have nothing to ask, and a replica whose
//! platform is no longer trusted is noticed within a third of its lease.
//!
//! A source that lends nothing is not asked again, unless the measured configuration limits its
//! secrets (`[lease]`): what it gave is used until the program ends.

use std::{fmt, future::pending, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    answer::Answer,
    exit_code,
    fetch::{AttemptError, Backoff, Fetcher},
    health::DrainReason,
    secret::{Lease, Released},
};

/// The lease is over, no broker was reached, and the replica goes on for the grace period.
///
/// Do: check that the broker runs and that the replica can reach it, before the grace is over.
///
/// Retry: later
const LEASE_ON_GRACE: &str = "lease-on-grace";
/// The lease was renewed, and secrets that had changed are in their places.
///
/// Do: nothing; the program has the new values.
///
/// Retry: no
const SECRETS_RENEWED: &str = "secrets-renewed";
/// The lease was renewed, and no secret had changed.
///
/// Do: nothing; this is how every renewal should end.
///
/// Retry: no
const LEASE_RENEWED: &str = "lease-renewed";
/// The lease was renewed, and a secret that had changed could not be put in its place.
///
/// Do: read the system's reason in the message and repair the place; the next renewal tries again.
///
/// Retry: later
const RENEWAL_NOT_APPLIED: &str = "renewal-not-applied";

/// However much a renewal is wanted, this long passes between two of them, so that
/// nobody can make replicas press the broker.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(10);

/// Why this replica may no longer use what it got.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseEnd {
    /// The broker no longer grants what this replica has.
    ///
    /// Do: read the broker's reason in the message; `adytum manifest explain --replica
    /// HOST:PORT FILE` shows which rule of a manifest refuses the replica.
    #[error("the broker no longer grants what this replica has: {0}")]
    Revoked(#[source] AttemptError),
    /// The lease and its grace are over, and no broker renewed the lease.
    ///
    /// Do: check that the broker runs and that the replica can reach it; then start the
    /// replica again.
    #[error(
        "the lease of {} seconds and its grace of {} are over, and no broker renewed it; the last attempt: {}; \
         check that the broker runs and can be reached",
        lease.duration.as_secs(),
        lease.grace.as_secs(),
        last.as_ref().map_or_else(|| "not answered in time".to_owned(), ToString::to_string)
    )]
    Expired {
        /// The lease that is over.
        lease: Lease,
        /// Why the last attempt failed, if one did.
        last: Option<AttemptError>,
    },
}

impl LeaseEnd {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Revoked(_) => "lease-revoked",
            Self::Expired { .. } => "lease-expired",
        }
    }

    /// What a process that ends by this ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Revoked(_) => exit_code::REFUSED,
            Self::Expired { .. } => exit_code::UNREACHABLE,
        }
    }

    /// The answer for probes.
    pub fn drain_reason(&self) -> DrainReason {
        match self {
            Self::Revoked(_) => DrainReason::Revoked,
            Self::Expired { .. } => DrainReason::LeaseExpired,
        }
    }
}

/// A lease, and since when.
#[derive(Clone, Copy)]
struct Term {
    lease: Lease,
    since: Instant,
}

impl Term {
    fn expiry(self) -> Instant {
        self.since + self.lease.duration
    }

    fn end(self) -> Instant {
        self.expiry() + self.lease.grace
    }

    /// How long until it is renewed; a little earlier by chance, so that replicas
    /// that started together don't stay together.
    fn interval(self, fraction: f64) -> Duration {
        self.lease.duration.div_f64(3.0).mul_f64(0.9 + 0.1 * fraction)
    }

    /// No delay between attempts is longer.
    fn longest_delay(self) -> Duration {
        (self.lease.duration / 10).min(Backoff::CAP)
    }
}

/// Keeps a lease, if there is one; made with the first answer of a source.
pub struct Renewal {
    /// `None` where nothing was lent.
    kept: Option<Kept>,
    wanted: Arc<Notify>,
}

/// A lease that is kept.
struct Kept {
    fetcher: Fetcher,
    backoff: Backoff,
    term: Term,
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lease = self.kept.as_ref().map(|kept| kept.term.lease);
        f.debug_struct("Renewal").field("lease", &lease).finish_non_exhaustive()
    }
}

impl Renewal {
    pub(crate) fn new(fetcher: Fetcher, backoff: Backoff, lease: Option<Lease>, since: Instant) -> Self {
        let kept = lease.map(|lease| Kept { fetcher, backoff, term: Term { lease, since } });
        Self { kept, wanted: Arc::default() }
    }

    /// Asks for a renewal before it is due, for a key or a rule that the broker may have
    /// got. At least 10 seconds pass between two renewals.
    pub fn wanted(&self) -> Arc<Notify> {
        Arc::clone(&self.wanted)
    }

    /// Renews until that is over, and says why. `apply` gets what each renewal
    /// changed, and puts it in place or fails; then the same is tried again with
    /// the next renewal.
    ///
    /// Cancelling the future ends the renewing, and nothing else.
    pub async fn run<E: fmt::Display>(self, apply: impl FnMut(&Released) -> Result<(), E>) -> LeaseEnd {
        match self.kept {
            Some(kept) => kept.run(self.wanted, apply).await,
            None => pending().await,
        }
    }
}

impl Kept {
    async fn run<E: fmt::Display>(
        mut self,
        wanted: Arc<Notify>,
        mut apply: impl FnMut(&Released) -> Result<(), E>,
    ) -> LeaseEnd {
        loop {
            let next = self.next();
            let earliest = self.term.since + SHORTEST_INTERVAL;
            tokio::select! {
                () = sleep_until(next) => {}
                () = async {
                    wanted.notified().await;
                    sleep_until(earliest).await;
                } => {}
            }
            // This renewal is for all that was asked until now.
            let mut asked = pin!(wanted.notified());
            asked.as_mut().enable();
            match self.renew(&mut apply).await {
                Ok(renewed) => self.term = renewed,
                Err(end) => return end,
            }
        }
    }

    /// When to ask again: at a third of the lease, or when a certificate is due.
    fn next(&mut self) -> Instant {
        let term = self.term;
        let interval = term.interval(self.backoff.fraction());
        let renewal = term.since + interval;
        let due = self.fetcher.certificate_due().map_or(renewal, |due| due.min(renewal));
        // A certificate that is due and does not come is no reason to hurry.
        due.max(Instant::now() + interval / 10)
    }

    async fn renew<E: fmt::Display>(
        &mut self,
        apply: &mut impl FnMut(&Released) -> Result<(), E>,
    ) -> Result<Term, LeaseEnd> {
        let term = self.term;
        self.backoff.restrict(term.longest_delay());
        let mut last = None;
        let mut on_grace = false;
        loop {
            let Ok(attempt) = timeout_at(term.end(), self.fetcher.attempt()).await else { break };
            let error = match attempt {
                Ok((answer, asked)) => {
                    // A source that lent something says for how long each time.
                    let lease = answer.lease.unwrap_or(term.lease);
                    self.take(answer, asked, apply);
                    return Ok(Term { lease, since: asked });
                }
                Err(error) if error.is_revocation() => return Err(LeaseEnd::Revoked(error)),
                Err(error) => error,
            };
            let delay = self.backoff.next_delay_after(error.retry_after());
            tracing::warn!(
                code = error.code(),
                retry_in_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                "the lease was not renewed: {error}"
            );
            if !on_grace && Instant::now() >= term.expiry() {
                on_grace = true;
                tracing::warn!(
                    code = LEASE_ON_GRACE,
                    grace_seconds = term.lease.grace.as_secs(),
                    "the lease is over and no broker was reached: going on for the grace that the manifest allows"
                );
            }
            last = Some(error);
            let next = Instant::now() + delay;
            sleep_until(next.min(term.end())).await;
            if next >= term.end() {
                break;
            }
        }
        Err(LeaseEnd::Expired { lease: term.lease, last })
    }

    fn take<E: fmt::Display>(
        &mut self,
        answer: Answer,
        asked: Instant,
        apply: &mut impl FnMut(&Released) -> Result<(), E>,
    ) {
        let changed = self.fetcher.changes(answer);
        let (count, manifest_version) = (changed.secrets.len(), changed.manifest_version());
        match apply(&changed) {
            Ok(()) => {
                self.fetcher.record(&changed, asked);
                if count > 0 {
                    tracing::info!(code = SECRETS_RENEWED, changed = count, manifest_version, "renewed");
                } else {
                    tracing::debug!(code = LEASE_RENEWED, manifest_version, "renewed");
                }
            }
            Err(error) => tracing::error!(
                code = RENEWAL_NOT_APPLIED,
                changed = count,
                "the changes could not be put in place, and the next renewal asks for them again: {error}"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
