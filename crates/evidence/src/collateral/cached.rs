//! Collateral kept while it is valid.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    kinds::{Collateral, CollateralRequest},
    source::CollateralSource,
};
use crate::{
    certificate::validity::{Part, PartKind},
    clock::{Clock, UnixSeconds},
    error::CollateralError,
};

/// The source serves collateral that was issued before the collateral that is kept.
///
/// Do: refresh the PCCS or the collateral directory; until then the kept collateral serves.
///
/// Retry: later
const COLLATERAL_OLDER: &str = "collateral-older";
/// Answers kept, one for each platform family. A fleet has a handful.
const MAXIMUM_ENTRIES: usize = 64;
/// Collateral is fetched again at this age even though it is valid for longer:
/// vendors publish revocations before the next update is due.
const REFRESH_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// After a fetch, however it ended, the next follows at the soonest after this
/// time while there is something to serve.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(5 * 60);
/// The same for collateral that verification has refused: it serves nobody.
const RETRY_AFTER_REFUSAL: Duration = Duration::from_secs(30);
/// A caller waits this long for collateral that is not there. A handshake has 10 s
/// by default, and shall end with the reason rather than by its own limit.
const WAIT_LIMIT: Duration = Duration::from_secs(8);

type Outcome = Result<Collateral, CollateralError>;
/// A fetch under way; holds its outcome once it has ended.
type Fetch = watch::Receiver<Option<Outcome>>;

/// Keeps what another source gives until the earliest `nextUpdate` of its
/// parts, by the clock handed in.
///
/// One fetch is under way for each platform family at a time; other callers that need the
/// same wait for it, and it goes on when they give up. When kept collateral is a day old,
/// or has only a quarter of its time left, it is fetched again in the background while the
/// old is served; and the old is served to its end when the source fails.
///
/// The newest issue counts, not the latest end. Collateral with a document older than
/// that of verified collateral never replaces it: that would undo revocations. Collateral
/// that verification refuses is fetched again soon, and is replaced by the next answer,
/// else to the last verified one.
///
/// Chips' endorsement keys are not kept: each guest asks for its own only.
pub struct CachedSource<S> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    clock: Arc<dyn Clock>,
    entries: Mutex<HashMap<CollateralRequest, Arc<Mutex<State>>>>,
    source: S,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    /// The last that verification held with: the measure of what is older.
    proven: Option<Kept>,
    under_way: Option<Fetch>,
    /// Asked for by hand: the next answer replaces unverified collateral, whatever its
    /// date.
    replace: bool,
    /// That was asked for during a fetch, which may have read the previous answer.
    again: bool,
}

#[derive(Clone)]
struct Kept {
    collateral: Collateral,
    parts: Vec<Part>,
    from: UnixSeconds,
    until: UnixSeconds,
    /// When a fetch last ended.
    fetched: UnixSeconds,
    refresh_at: UnixSeconds,
    /// Verification failed because of it, and has never held with it.
    suspect: bool,
}

impl Kept {
    /// `None` for what can't be read: the verifier says what is wrong with it.
    fn new(collateral: &Collateral, now: UnixSeconds) -> Option<Self> {
        let parts = collateral.parts().ok()?;
        let from = parts.iter().map(|part| part.from).max()?;
        let until = parts.iter().map(|part| part.until).min()?;
        let quarter = until.0.saturating_sub(from.0) / 4;
        let refresh_at = UnixSeconds(until.0.saturating_sub(quarter))
            .min(now.plus(REFRESH_AFTER))
            // The source may have nothing newer than what is near its end.
            .max(now.plus(RETRY_AFTER_FAILURE));
        Some(Self {
            collateral: collateral.clone(),
            parts,
            from,
            until,
            fetched: now,
            refresh_at,
            suspect: false,
        })
    }

    fn is_valid(&self, now: UnixSeconds) -> bool {
        (self.from..=self.until).contains(&now)
    }

    /// Is it to be served? Suspect collateral is, until it may be fetched again: the
    /// verifier names the fault.
    fn serves(&self, now: UnixSeconds) -> bool {
        self.is_valid(now) && (!self.suspect || now < self.refresh_at)
    }

    fn is(&self, collateral: &Collateral) -> bool {
        self.collateral.is(collateral)
    }
}

impl<S: CollateralSource + 'static> CachedSource<S> {
    /// Keeps what `source` gives.
    pub fn new(source: S, clock: Arc<dyn Clock>) -> Self {
        Self { inner: Arc::new(Inner { clock, entries: Mutex::default(), source }) }
    }

    /// The fetch under way, or one that begins now. It has a task of its own, so
    /// that it does not end with the handshake that needed it first.
    fn fetch(&self, request: &CollateralRequest, entry: &Arc<Mutex<State>>, state: &mut State) -> Fetch {
        // One whose task was ended from outside has no sender any more.
        if let Some(fetch) = state.under_way.as_ref().filter(|fetch| fetch.has_changed().is_ok()) {
            return fetch.clone();
        }
        let (sender, fetch) = watch::channel(None);
        state.under_way = Some(fetch.clone());
        let (inner, entry, request) = (Arc::clone(&self.inner), Arc::clone(entry), request.clone());
        tokio::spawn(async move {
            let fetched = inner.source.collateral(&request).await;
            let now = inner.clock.now();
            let outcome = lock(&entry).ended(&request, fetched, now);
            // An error means that nobody waits any more.
            let _ = sender.send(Some(outcome));
        });
        fetch
    }
}

#[async_trait]
impl<S: CollateralSource + 'static> CollateralSource for CachedSource<S> {
    async fn collateral(&self, request: &CollateralRequest) -> Outcome {
        if let CollateralRequest::Vcek(_) = request {
            return self.inner.source.collateral(request).await;
        }
        let now = self.inner.clock.now();
        let entry = self.inner.entry(request, now);
        let fetch = {
            let mut state = lock(&entry);
            let served = state.kept.as_ref().filter(|kept| kept.serves(now));
            let served = served.map(|kept| (kept.collateral.clone(), now >= kept.refresh_at));
            if let Some((collateral, due)) = served {
                if due {
                    self.fetch(request, &entry, &mut state);
                }
                return Ok(collateral);
            }
            self.fetch(request, &entry, &mut state)
        };
        awaited(request, fetch).await
    }

    /// Not kept: it is seldom asked for.
    async fn early(&self, request: &CollateralRequest) -> Result<Option<Collateral>, CollateralError> {
        self.inner.source.early(request).await
    }

    fn refresh(&self) {
        let now = self.inner.clock.now();
        for entry in lock(&self.inner.entries).values() {
            lock(entry).refresh(now);
        }
    }

    fn verified(&self, request: &CollateralRequest, collateral: &Collateral) {
        if let Some(entry) = self.inner.existing(request) {
            lock(&entry).verified(collateral);
        }
    }

    fn refused(&self, request: &CollateralRequest, collateral: &Collateral) {
        if let Some(entry) = self.inner.existing(request) {
            lock(&entry).refused(collateral);
        }
    }
}

async fn awaited(request: &CollateralRequest, mut fetch: Fetch) -> Outcome {
    let failed = |reason| CollateralError::Unreachable { origin: format!("for {request}"), reason };
    let outcome = async { fetch.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone()) };
    match tokio::time::timeout(WAIT_LIMIT, outcome).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Err(failed("the fetch ended abnormally".to_owned())),
        Err(_) => Err(failed(format!("no answer within {} s; it is still awaited", WAIT_LIMIT.as_secs()))),
    }
}

impl<S> Inner<S> {
    fn existing(&self, request: &CollateralRequest) -> Option<Arc<Mutex<State>>> {
        lock(&self.entries).get(request).cloned()
    }

    fn entry(&self, request: &CollateralRequest, now: UnixSeconds) -> Arc<Mutex<State>> {
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get(request) {
            return Arc::clone(entry);
        }
        if entries.len() >= MAXIMUM_ENTRIES {
            // First what is of no use, then whatever.
            entries.retain(|_, entry| lock(entry).kept.as_ref().is_some_and(|kept| kept.is_valid(now)));
            if entries.len() >= MAXIMUM_ENTRIES
                && let Some(any) = entries.keys().next().cloned()
            {
                entries.remove(&any);
            }
        }
        Arc::clone(entries.entry(request.clone()).or_default())
    }
}

impl State {
    fn refresh(&mut self, now: UnixSeconds) {
        self.replace = true;
        self.again = self.under_way.is_some();
        if let Some(kept) = &mut self.kept {
            kept.refresh_at = now;
        }
    }

    fn verified(&mut self, collateral: &Collateral) {
        if self.proven.as_ref().is_some_and(|proven| proven.is(collateral)) {
            return;
        }
        if let Some(kept) = self.kept.as_mut().filter(|kept| kept.is(collateral)) {
            kept.suspect = false;
            self.proven = Some(kept.clone());
        }
    }

    /// Collateral that has verified once is genuine: then the evidence may be at fault, and
    /// anybody can send that.
    fn refused(&mut self, collateral: &Collateral) {
        let proven = self.proven.as_ref().is_some_and(|proven| proven.is(collateral));
        if let Some(kept) = self.kept.as_mut().filter(|kept| kept.is(collateral)) {
            kept.suspect = !proven;
            let after = if proven { RETRY_AFTER_FAILURE } else { RETRY_AFTER_REFUSAL };
            kept.refresh_at = kept.refresh_at.min(kept.fetched.plus(after));
        }
    }

    /// A fetch has ended so.
    fn ended(&mut self, request: &CollateralRequest, fetched: Outcome, now: UnixSeconds) -> Outcome {
        self.under_way = None;
        let outcome = self.outcome(request, fetched, now);
        if mem::take(&mut self.again) {
            self.replace = true;
            if let Some(kept) = &mut self.kept {
                kept.refresh_at = now;
            }
        }
        outcome
    }

    fn outcome(&mut self, request: &CollateralRequest, fetched: Outcome, now: UnixSeconds) -> Outcome {
        let collateral = match fetched {
            Ok(collateral) => collateral,
            Err(error) => {
                let Some(held) = self.fall_back(now) else { return Err(error) };
                tracing::warn!(%request, %error, code = error.code(), "collateral not refreshed; serving what is kept");
                return Ok(held);
            }
        };
        let Some(fresh) = Kept::new(&collateral, now) else {
            let Some(held) = self.fall_back(now) else {
                self.kept = None;
                return Ok(collateral);
            };
            tracing::warn!(%request, code = "collateral-malformed", "collateral not refreshed; serving what is kept");
            return Ok(held);
        };
        let asked = mem::take(&mut self.replace);
        if let Some((older, held)) = self.older(&fresh, asked, now) {
            tracing::warn!(
                %request,
                what = older.what,
                fetched = %older.from,
                kept = %held.from,
                code = COLLATERAL_OLDER,
                "the source serves an older issue than the one kept, which stays; a restart would forget it"
            );
            // When what has verified is past its end, the verifier says so.
            let kept = self.fall_back(now);
            let kept = kept.or_else(|| self.proven.as_ref().map(|proven| proven.collateral.clone()));
            return Ok(kept.unwrap_or(collateral));
        }
        self.kept = Some(fresh);
        Ok(collateral)
    }

    /// A document of `fresh` that is older than one of what it may not replace,
    /// and that one. A date in the future by the clock is no measure.
    fn older(&self, fresh: &Kept, asked: bool, now: UnixSeconds) -> Option<(Part, Part)> {
        let proven = self.proven.as_ref().filter(|proven| proven.from <= now);
        let kept = self.kept.as_ref().filter(|kept| !asked && !kept.suspect && kept.is_valid(now));
        [proven, kept].into_iter().flatten().find_map(|held| {
            let documents = fresh.parts.iter().zip(&held.parts);
            documents
                .filter(|(fresh, held)| fresh.kind == PartKind::Document && fresh.from < held.from)
                .map(|(fresh, held)| (*fresh, *held))
                .next()
        })
    }

    /// Goes on with what is kept, or else with what has verified before, until the
    /// next try.
    fn fall_back(&mut self, now: UnixSeconds) -> Option<Collateral> {
        if !self.kept.as_ref().is_some_and(|kept| kept.is_valid(now) && !kept.suspect) {
            self.kept = Some(self.proven.as_ref().filter(|proven| proven.is_valid(now))?.clone());
        }
        let kept = self.kept.as_mut()?;
        kept.fetched = now;
        kept.refresh_at = now.plus(RETRY_AFTER_FAILURE);
        Some(kept.collateral.clone())
    }
}

/// Nothing in here is left half-changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
