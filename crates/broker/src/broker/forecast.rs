//! What this broker will refuse: the evidence of peers that it has granted something is
//! judged by the evaluation that their vendor has published and does not apply yet.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use adytum_api::{broker as wire, names::WorkloadName};
use adytum_evidence::{
    claims::Claims,
    clock::{Day, UnixSeconds},
    collateral::{
        Collateral, CollateralRequest, CollateralSource, NewerEvaluation, evaluation_number, newer_evaluation,
    },
    verifier::Verifier,
};
use adytum_governance::{
    audit::events::Event,
    forecast::{Cause, ForeseenRefusal, Outlook, foresee},
    rules::AdmittedManifest,
};
use tokio::time::Instant;

use super::{Broker, seen::SeenPeer};

/// How often a broker looks by itself: a vendor gives weeks, and collateral is a day old.
const INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);
/// The first time after a start: replicas have come back by then.
const FIRST: Duration = Duration::from_secs(10 * 60);
/// A forecast that is asked for is at most so old.
const FRESH: Duration = Duration::from_secs(60);
/// How long one kind of collateral may take.
const SOURCE_LIMIT: Duration = Duration::from_secs(20);
/// How many machines a line names.
const NAMED: usize = 4;

/// A refusal that is foreseen of a workload on several machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeseenGroup {
    pub workload: WorkloadName,
    pub platforms: BTreeSet<String>,
    /// The first second of it.
    pub from: UnixSeconds,
    pub cause: Cause,
    pub reason: String,
}

/// The knowledge of what follows one kind of collateral.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextEvaluation {
    /// The one that is published and does not count yet.
    Newer(NewerEvaluation),
    /// Nothing, for this reason; not that nothing changes.
    Unknown(String),
}

/// What a broker will refuse, as far as it knows.
#[derive(Clone, Debug)]
pub struct Forecast {
    pub made: UnixSeconds,
    /// The refusals that are foreseen, the earliest first.
    pub refusals: Vec<ForeseenGroup>,
    /// By name: the number of the evaluation that counts, and the next one.
    pub sources: BTreeMap<String, (Option<u32>, NextEvaluation)>,
    /// Workloads of which no evidence was seen.
    pub unseen: BTreeSet<WorkloadName>,
}

/// The last forecast, and what was recorded of it.
#[derive(Default)]
pub(super) struct Foreseen {
    last: Mutex<Option<(Instant, Arc<Forecast>)>>,
    recorded: Mutex<BTreeSet<(WorkloadName, Cause)>>,
    /// One is made at a time.
    making: tokio::sync::Mutex<()>,
}

/// The collateral of one kind.
struct Source {
    standard: Option<Collateral>,
    early: Option<Collateral>,
    next: NextEvaluation,
}

impl Source {
    fn unknown(standard: Option<Collateral>, reason: String) -> Self {
        Self { standard, early: None, next: NextEvaluation::Unknown(reason) }
    }

    /// Both kinds of collateral, within [`SOURCE_LIMIT`].
    async fn ask(source: &dyn CollateralSource, request: &CollateralRequest) -> Self {
        if !matches!(request, CollateralRequest::Dcap(_)) {
            let reason =
                "AMD publishes no evaluation ahead of time: see its security bulletins for minimum_snp_tcb";
            return Self::unknown(None, reason.to_owned());
        }
        let both = async { (source.collateral(request).await, source.early(request).await) };
        let (standard, early) = match tokio::time::timeout(SOURCE_LIMIT, both).await {
            Ok((Ok(standard), early)) => (standard, early),
            Ok((Err(error), _)) => return Self::unknown(None, error.to_string()),
            Err(_) => return Self::unknown(None, format!("no answer within {} s", SOURCE_LIMIT.as_secs())),
        };
        let early = match early {
            Ok(Some(early)) => early,
            Ok(None) => {
                let reason = "its source has no early collateral (update=early)".to_owned();
                return Self::unknown(Some(standard), reason);
            }
            Err(error) => return Self::unknown(Some(standard), error.to_string()),
        };
        match newer_evaluation(&standard, &early) {
            Ok(Some(newer)) => {
                Self { standard: Some(standard), early: Some(early), next: NextEvaluation::Newer(newer) }
            }
            Ok(None) => {
                let reason = "its source answers update=early with the evaluation that counts: either none is ahead, \
                              or it does not know the parameter";
                Self::unknown(Some(standard), reason.to_owned())
            }
            Err(reason) => Self::unknown(Some(standard), reason),
        }
    }
}

impl Broker {
    /// Makes a forecast, unless there is one of this minute.
    pub(super) async fn recent_forecast(&self) {
        let recent = |(made, _): &(Instant, Arc<Forecast>)| made.elapsed() < FRESH;
        if !self.last_forecast().as_ref().is_some_and(recent) {
            self.forecast().await;
        }
    }

    /// Makes a forecast, logs it, counts it, and records what is new of it.
    pub async fn forecast(&self) -> Arc<Forecast> {
        let _making = self.foreseen.making.lock().await;
        let forecast = Arc::new(self.make_forecast().await);
        *self.foreseen.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), Arc::clone(&forecast)));
        self.metrics().forecast(&forecast_reading(&forecast));
        self.tell(&forecast).await;
        forecast
    }

    /// The last one, and when it was made.
    fn last_forecast(&self) -> Option<(Instant, Arc<Forecast>)> {
        self.foreseen.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last one as an answer.
    pub(super) fn forecast_answer(&self) -> Option<wire::Forecast> {
        self.last_forecast().map(|(_, forecast)| answer(&forecast))
    }

    /// Makes one again and again.
    pub async fn keep_foreseeing(&self) {
        tokio::time::sleep(FIRST).await;
        loop {
            self.forecast().await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn make_forecast(&self) -> Forecast {
        let (state, peers) = (self.state(), self.seen.all());
        let verifier = Arc::clone(&self.verifier.borrow());
        let mut sources: HashMap<CollateralRequest, Source> = HashMap::new();
        for peer in &peers {
            // Evidence whose root is not trusted any more is refused already.
            let Ok(request) = verifier.request(&peer.evidence) else { continue };
            if let Entry::Vacant(place) = sources.entry(request) {
                let source = Source::ask(&*self.collateral, place.key()).await;
                place.insert(source);
            }
        }
        let (made, now) = (self.now(), self.grace_time());
        // Signatures and policies take a while: not on a thread that answers requests.
        let (admitted, judged) = (state.admitted.clone(), Arc::clone(&verifier));
        let judging = tokio::task::spawn_blocking(move || {
            let judged = judge(admitted.as_deref(), &judged, &peers, &sources, now);
            (judged, sources)
        });
        let Ok(((refusals, seen), sources)) = judging.await else {
            return Forecast {
                made,
                refusals: Vec::new(),
                sources: BTreeMap::new(),
                unseen: BTreeSet::new(),
            };
        };
        let unseen = state
            .manifest()
            .into_iter()
            .flat_map(|manifest| manifest.workloads.keys())
            .filter(|name| !seen.contains(*name))
            .cloned()
            .collect();
        let sources = sources.into_iter().map(|(request, source)| {
            let number = source.standard.as_ref().and_then(evaluation_number);
            (request.to_string(), (number, source.next))
        });
        Forecast { made, refusals: grouped(refusals), sources: sources.collect(), unseen }
    }

    /// Each refusal is logged with each forecast, and recorded once in a run.
    async fn tell(&self, forecast: &Forecast) {
        for refusal in &forecast.refusals {
            let (code, text) = (refusal.cause.code(), refusal.to_string());
            tracing::warn!(code, workload = %refusal.workload, from = %refusal.from, "{text}");
            let key = (refusal.workload.clone(), refusal.cause);
            let known = self.foreseen.recorded.lock().unwrap_or_else(PoisonError::into_inner).contains(&key);
            if known {
                continue;
            }
            let manifest_version = self.state().manifest_version();
            match self.record(&[Event::Noticed { code, text, manifest_version }]).await {
                Ok(()) => {
                    self.foreseen.recorded.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
                }
                Err(error) => tracing::warn!(code = error.code(), %error, "the forecast was not recorded"),
            }
        }
        for (source, (_, next)) in &forecast.sources {
            if let NextEvaluation::Unknown(reason) = next {
                tracing::info!(%source, %reason, "no forecast");
            }
        }
    }
}

/// The refusals that are foreseen of each peer, and the workloads that peers show now.
fn judge(
    admitted: Option<&AdmittedManifest>,
    verifier: &Verifier,
    peers: &[SeenPeer],
    sources: &HashMap<CollateralRequest, Source>,
    now: UnixSeconds,
) -> (Vec<ForeseenRefusal>, BTreeSet<WorkloadName>) {
    let (mut refusals, mut seen) = (Vec::new(), BTreeSet::new());
    let Some(admitted) = admitted else { return (refusals, seen) };
    for peer in peers {
        let Some(source) = verifier.request(&peer.evidence).ok().and_then(|request| sources.get(&request))
        else {
            continue;
        };
        let verified = |collateral: &Collateral| {
            let claims = verifier.verify_with(&peer.evidence, collateral)?;
            Ok::<Claims, adytum_evidence::verifier::VerificationError>(claims.announcing(peer.announced))
        };
        let Some(Ok(claims)) = source.standard.as_ref().map(verified) else { continue };
        let early = source.early.as_ref().map(|early| verified(early).map_err(|error| error.to_string()));
        let outlook = match (&source.next, &early) {
            (NextEvaluation::Newer(evaluation), Some(early)) => {
                Some(Outlook { evaluation: *evaluation, claims: early.as_ref().map_err(Clone::clone) })
            }
            _ => None,
        };
        for name in admitted.candidates.of(&claims) {
            let Some(workload) = admitted.manifest.workloads.get(name) else { continue };
            if workload.admits(&claims, now).is_some() {
                seen.insert(name.clone());
                refusals.extend(foresee(name, workload, &claims, outlook.as_ref(), now));
            }
        }
    }
    (refusals, seen)
}

/// One entry for all machines of which the same is foreseen, the earliest first.
fn grouped(refusals: Vec<ForeseenRefusal>) -> Vec<ForeseenGroup> {
    let mut groups: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for ForeseenRefusal { workload, platform, from, cause, reason } in refusals {
        groups.entry((from, workload, cause, reason)).or_default().insert(platform);
    }
    let group = |((from, workload, cause, reason), platforms)| ForeseenGroup {
        workload,
        platforms,
        from,
        cause,
        reason,
    };
    groups.into_iter().map(group).collect()
}

impl std::fmt::Display for ForeseenGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { workload, platforms, from, cause, reason } = self;
        let named: Vec<&str> = platforms.iter().take(NAMED).map(String::as_str).collect();
        let more = platforms.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let about = if cause.is_expected() { "about " } else { "" };
        write!(
            f,
            "workload {workload} on {} platform(s) ({}{more}) will be refused from {about}{} on: {reason}; {}",
            platforms.len(),
            named.join(", "),
            Day::of(*from),
            cause.next_step()
        )
    }
}

/// What the metrics show of a forecast.
fn forecast_reading(forecast: &Forecast) -> crate::telemetry::metrics::ForecastReading {
    let unknown = |(_, next): &&(Option<u32>, NextEvaluation)| matches!(next, NextEvaluation::Unknown(_));
    crate::telemetry::metrics::ForecastReading {
        made: forecast.made.0,
        refusals: forecast.refusals.iter().map(|refusal| refusal.platforms.len()).sum(),
        earliest: forecast.refusals.first().map_or(0, |refusal| refusal.from.0),
        unknown_sources: forecast.sources.values().filter(unknown).count(),
        unseen_workloads: forecast.unseen.len(),
    }
}

fn answer(forecast: &Forecast) -> wire::Forecast {
    let refusal = |refusal: &ForeseenGroup| wire::ForeseenRefusal {
        workload: refusal.workload.to_string(),
        platforms: refusal.platforms.iter().cloned().collect(),
        from: refusal.from.0,
        expected: refusal.cause.is_expected(),
        code: refusal.cause.code().to_owned(),
        reason: refusal.reason.clone(),
        next_step: refusal.cause.next_step().to_owned(),
    };
    let source = |(collateral, (number, next)): (&String, &(Option<u32>, NextEvaluation))| {
        let (next_number, disclosed, no_forecast) = match next {
            NextEvaluation::Newer(next) => (next.number, next.disclosed.0, String::new()),
            NextEvaluation::Unknown(reason) => (0, 0, reason.clone()),
        };
        let (collateral, number) = (collateral.clone(), number.unwrap_or_default());
        wire::ForecastSource { collateral, number, next_number, disclosed, no_forecast }
    };
    wire::Forecast {
        made: forecast.made.0,
        refusals: forecast.refusals.iter().map(refusal).collect(),
        sources: forecast.sources.iter().map(source).collect(),
        unseen: forecast.unseen.iter().map(ToString::to_string).collect(),
    }
}
