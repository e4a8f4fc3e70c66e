//! Collateral kept while it is valid.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Mutex as AsyncMutex;

use super::{CollateralError, CollateralRequest, CollateralSource, QuoteCollateralV3, validity};
use crate::clock::{Clock, UnixSeconds};

/// Platform families kept. A fleet has a handful.
const MAXIMUM_ENTRIES: usize = 64;
/// Collateral is fetched anew at this age even though it is valid for longer:
/// vendors publish revocations before the next update is due.
const REFRESH_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// A refresh that failed is tried again after this time.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(5 * 60);

/// Keeps what another source gives until the earliest `nextUpdate` of its
/// parts, by the clock handed in.
///
/// One fetch is under way for each platform family at a time; whoever else
/// needs the same waits for it. When kept collateral is a day old, or has only a
/// quarter of its time left, it is fetched anew in the background while the old
/// is served; and the old is served to its end when the source fails.
pub struct CachedSource<S: ?Sized> {
    inner: Arc<Inner<S>>,
}

struct Inner<S: ?Sized> {
    clock: Arc<dyn Clock>,
    entries: Mutex<HashMap<CollateralRequest, Arc<Entry>>>,
    source: S,
}

#[derive(Default)]
struct Entry {
    state: Mutex<State>,
    /// Held while fetching.
    fetching: AsyncMutex<()>,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    /// Counts fetches that ended, so that who waited for one knows its outcome.
    fetches: u64,
    last: Option<Result<Arc<QuoteCollateralV3>, CollateralError>>,
}

#[derive(Clone)]
struct Kept {
    collateral: Arc<QuoteCollateralV3>,
    from: UnixSeconds,
    until: UnixSeconds,
    refresh_at: UnixSeconds,
}

impl Kept {
    /// `None` for what can't be read: the verifier says what is wrong with it.
    fn new(collateral: &Arc<QuoteCollateralV3>, now: UnixSeconds) -> Option<Self> {
        let parts = validity::parts(collateral).ok()?;
        let from = parts.iter().map(|part| part.from).max()?;
        let until = parts.iter().map(|part| part.until).min()?;
        let quarter = until.0.saturating_sub(from.0) / 4;
        let refresh_at = UnixSeconds(until.0.saturating_sub(quarter)).min(now.plus(REFRESH_AFTER));
        Some(Self { collateral: Arc::clone(collateral), from, until, refresh_at })
    }

    fn is_valid(&self, now: UnixSeconds) -> bool {
        (self.from..=self.until).contains(&now)
    }
}

impl<S> CachedSource<S> {
    /// Keeps what `source` gives.
    pub fn new(source: S, clock: Arc<dyn Clock>) -> Self {
        Self { inner: Arc::new(Inner { clock, entries: Mutex::default(), source }) }
    }
}

#[async_trait]
impl<S: CollateralSource + 'static> CollateralSource for CachedSource<S> {
    async fn collateral(
        &self,
        request: &CollateralRequest,
    ) -> Result<Arc<QuoteCollateralV3>, CollateralError> {
        let now = self.inner.clock.now();
        let entry = self.inner.entry(request, now);
        let seen = {
            let state = lock(&entry.state);
            match state.kept.as_ref().filter(|kept| kept.is_valid(now)) {
                Some(kept) => {
                    if now >= kept.refresh_at {
                        self.refresh_in_background(request, &entry);
                    }
                    return Ok(Arc::clone(&kept.collateral));
                }
                None => state.fetches,
            }
        };
        let _fetching = entry.fetching.lock().await;
        {
            // Somebody else's fetch may have ended in the meantime.
            let state = lock(&entry.state);
            if state.fetches != seen
                && let Some(outcome) = &state.last
            {
                return outcome.clone();
            }
        }
        self.inner.fetch(request, &entry).await
    }

    fn refresh(&self) {
        let now = self.inner.clock.now();
        for entry in lock(&self.inner.entries).values() {
            if let Some(kept) = &mut lock(&entry.state).kept {
                kept.refresh_at = now;
            }
        }
    }
}

impl<S: CollateralSource + 'static> CachedSource<S> {
    fn refresh_in_background(&self, request: &CollateralRequest, entry: &Arc<Entry>) {
        let (inner, entry, request) = (Arc::clone(&self.inner), Arc::clone(entry), request.clone());
        // Not more than one at a time; who comes second has nothing to do.
        if entry.fetching.try_lock().is_err() {
            return;
        }
        tokio::spawn(async move {
            let Ok(_fetching) = entry.fetching.try_lock() else { return };
            let now = inner.clock.now();
            if lock(&entry.state).kept.as_ref().is_some_and(|kept| now < kept.refresh_at) {
                return;
            }
            if let Err(error) = inner.fetch(&request, &entry).await {
                tracing::warn!(%request, %error, code = error.code(), "collateral not refreshed; serving what is kept");
            }
        });
    }
}

impl<S: CollateralSource + ?Sized> Inner<S> {
    fn entry(&self, request: &CollateralRequest, now: UnixSeconds) -> Arc<Entry> {
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get(request) {
            return Arc::clone(entry);
        }
        if entries.len() >= MAXIMUM_ENTRIES {
            // First what is of no use, then whatever.
            entries
                .retain(|_, entry| lock(&entry.state).kept.as_ref().is_some_and(|kept| kept.is_valid(now)));
            if entries.len() >= MAXIMUM_ENTRIES
                && let Some(any) = entries.keys().next().cloned()
            {
                entries.remove(&any);
            }
        }
        Arc::clone(entries.entry(request.clone()).or_default())
    }

    /// The caller holds `entry.fetching`.
    async fn fetch(
        &self,
        request: &CollateralRequest,
        entry: &Entry,
    ) -> Result<Arc<QuoteCollateralV3>, CollateralError> {
        let fetched = self.source.collateral(request).await;
        let now = self.clock.now();
        let mut state = lock(&entry.state);
        let outcome = state.outcome(fetched, now);
        state.fetches += 1;
        state.last = Some(outcome.clone());
        outcome
    }
}

impl State {
    fn outcome(
        &mut self,
        fetched: Result<Arc<QuoteCollateralV3>, CollateralError>,
        now: UnixSeconds,
    ) -> Result<Arc<QuoteCollateralV3>, CollateralError> {
        let old = self.kept.as_mut().filter(|kept| kept.is_valid(now));
        let collateral = match fetched {
            Ok(collateral) => collateral,
            Err(error) => {
                if let Some(old) = old {
                    old.refresh_at = now.plus(RETRY_AFTER_FAILURE);
                }
                return Err(error);
            }
        };
        let fresh = Kept::new(&collateral, now);
        if let Some(old) = old
            && fresh.as_ref().is_none_or(|fresh| fresh.until < old.until)
        {
            // A source that has fallen behind does not replace what is newer.
            old.refresh_at = now.plus(RETRY_AFTER_FAILURE);
            return Ok(Arc::clone(&old.collateral));
        }
        self.kept = fresh;
        Ok(collateral)
    }
}

/// Nothing in here is left half-changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
