//! The TEE makes few quotes at a time, each takes long, and anybody who connects
//! asks for one. So few are asked for at once, few handshakes wait, and one more
//! is refused at once: those that wait still get an answer in time.
//!
//! A quote that has begun can't be taken back, and one that hangs holds a thread:
//! it keeps its place until it ends, whether or not its handshake still waits.

use std::{sync::Arc, time::Instant};

use adytum_evidence::{
    attester::{Attester, AttesterError, SealingKey, TeePlatform},
    evidence::Evidence,
    measurement::ReportData,
};
use async_trait::async_trait;
use tokio::sync::{Semaphore, oneshot};

use crate::telemetry::metrics::{GaugeGuard, Metrics};

/// How many quotes at once.
#[derive(Clone, Copy, Debug)]
pub struct QuoteLimits {
    pub at_once: usize,
    pub waiting: usize,
}

impl Default for QuoteLimits {
    fn default() -> Self {
        Self { at_once: 64, waiting: 320 }
    }
}

/// An attester within limits.
pub(super) struct LimitedAttester {
    attester: Arc<dyn Attester>,
    metrics: Arc<Metrics>,
    at_once: Arc<Semaphore>,
    /// Being made or waiting.
    admitted: Arc<Semaphore>,
}

impl LimitedAttester {
    pub(super) fn new(attester: Arc<dyn Attester>, metrics: Arc<Metrics>, limits: QuoteLimits) -> Self {
        Self {
            attester,
            metrics,
            at_once: Arc::new(Semaphore::new(limits.at_once)),
            admitted: Arc::new(Semaphore::new(limits.at_once.saturating_add(limits.waiting))),
        }
    }
}

#[async_trait]
impl Attester for LimitedAttester {
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError> {
        let metrics = Arc::clone(&self.metrics);
        let admitted =
            Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| AttesterError::Overloaded)?;
        let waiting = GaugeGuard::enter(&metrics.quotes_waiting);
        let turn = Arc::clone(&self.at_once).acquire_owned().await.map_err(|_| AttesterError::Overloaded)?;
        drop(waiting);
        let held = (admitted, turn, GaugeGuard::enter(&metrics.quotes_in_flight));
        let attester = Arc::clone(&self.attester);
        let (answer, answered) = oneshot::channel();
        tokio::spawn(async move {
            // Nobody wants it any more.
            if answer.is_closed() {
                return;
            }
            let began = Instant::now();
            let evidence = attester.evidence(report_data).await;
            metrics.quote_seconds.observe(began.elapsed().as_secs_f64());
            drop(held);
            // An error means that the handshake has ended meanwhile.
            let _ = answer.send(evidence);
        });
        answered.await.unwrap_or_else(|_| {
            Err(AttesterError::Interface {
                interface: self.attester.platform().to_string(),
                operation: "make a quote",
                reason: "it ended abnormally".to_owned(),
            })
        })
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        self.attester.sealing_key()
    }

    fn platform(&self) -> TeePlatform {
        self.attester.platform()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use adytum_testkit::tee::ScriptedTee;
    use tokio::{task::JoinHandle, time::timeout};

    use super::*;

    /// A TEE whose quotes begin at once, and fail when they are let.
    struct Hanging {
        begun: AtomicUsize,
        ends: Semaphore,
    }

    impl Hanging {
        fn attester(self: &Arc<Self>) -> Arc<dyn Attester> {
            let hanging = Arc::clone(self);
            Arc::new(ScriptedTee::new(move |_| {
                let hanging = Arc::clone(&hanging);
                async move {
                    hanging.begun.fetch_add(1, Ordering::SeqCst);
                    hanging.ends.acquire().await.unwrap().forget();
                    Err(AttesterError::NoTee { looked_for: "nothing".to_owned() })
                }
            }))
        }
    }

    struct Fixture {
        tee: Arc<Hanging>,
        metrics: Arc<Metrics>,
        limited: Arc<LimitedAttester>,
    }

    impl Fixture {
        fn new(at_once: usize, waiting: usize) -> Self {
            let tee = Arc::new(Hanging { begun: AtomicUsize::new(0), ends: Semaphore::new(0) });
            let metrics = Arc::new(Metrics::without_store());
            let limits = QuoteLimits { at_once, waiting };
            let limited = Arc::new(LimitedAttester::new(tee.attester(), Arc::clone(&metrics), limits));
            Self { tee, metrics, limited }
        }

        /// A handshake that asks for a quote.
        fn ask(&self) -> JoinHandle<Result<Evidence, AttesterError>> {
            let limited = Arc::clone(&self.limited);
            tokio::spawn(async move { limited.evidence(ReportData([0; 64])).await })
        }

        async fn code(&self) -> &'static str {
            let asked = timeout(Duration::from_secs(5), self.ask()).await.expect("an answer at once");
            asked.unwrap().unwrap_err().code()
        }

        fn begun(&self) -> usize {
            self.tee.begun.load(Ordering::SeqCst)
        }
    }

    async fn until(condition: impl Fn() -> bool) {
        let waiting = async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(5), waiting).await.expect("it comes to that");
    }

    #[tokio::test]
    async fn who_goes_away_frees_no_place_while_the_quote_is_made() {
        let fixture = Fixture::new(1, 0);
        let asked = fixture.ask();
        until(|| fixture.begun() == 1).await;
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        assert_eq!(fixture.code().await, "overloaded");
        assert_eq!((fixture.begun(), fixture.metrics.quotes_in_flight.get()), (1, 1));
        // The end of the quote frees it.
        fixture.tee.ends.add_permits(2);
        until(|| fixture.metrics.quotes_in_flight.get() == 0).await;
        assert_eq!(fixture.code().await, "attester-no-tee");
        assert_eq!((fixture.begun(), fixture.metrics.quotes_in_flight.get()), (2, 0));
    }

    #[tokio::test]
    async fn who_goes_away_before_the_quote_has_begun_costs_none() {
        let fixture = Fixture::new(1, 1);
        let first = fixture.ask();
        until(|| fixture.begun() == 1).await;
        let second = fixture.ask();
        until(|| fixture.metrics.quotes_waiting.get() == 1).await;
        assert_eq!(fixture.code().await, "overloaded");
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled());
        assert_eq!(fixture.metrics.quotes_waiting.get(), 0);
        fixture.tee.ends.add_permits(2);
        assert_eq!(first.await.unwrap().unwrap_err().code(), "attester-no-tee");
        assert_eq!(fixture.code().await, "attester-no-tee");
        assert_eq!(fixture.begun(), 2);
    }
}
