//! The TEE makes few quotes at a time, each takes long, and anybody who connects asks for
//! one. So few are asked for at once, few handshakes wait, and one more is refused at
//! once: those that wait still get an answer in time. Strangers get at most three
//! quarters, so that peers that are known find one.
//!
//! A quote that has begun can't be taken back, and one that hangs holds a thread: it keeps
//! its place until it ends, whether or not its handshake still waits.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use adytum_evidence::{
    attester::{Attester, AttesterError, SealingKey, TeePlatform},
    evidence::Evidence,
    measurement::ReportData,
};
use async_trait::async_trait;
use tokio::sync::{Semaphore, oneshot};

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

/// Counts quotes. Whatever the methods return is dropped when the quote has come so far.
pub trait QuoteWatch: Send + Sync {
    /// A handshake waits until the TEE is free.
    fn waiting(&self) -> Box<dyn Send>;
    /// The TEE makes a quote.
    fn making(&self) -> Box<dyn Send>;
    /// A quote took this long.
    fn made(&self, took: Duration);
}

/// Counts nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl QuoteWatch for Unwatched {
    fn waiting(&self) -> Box<dyn Send> {
        Box::new(())
    }

    fn making(&self) -> Box<dyn Send> {
        Box::new(())
    }

    fn made(&self, _took: Duration) {}
}

/// A TEE within limits: one attester for strangers, one for peers that are known.
#[derive(Clone)]
pub struct Quotes {
    pub for_strangers: Arc<dyn Attester>,
    pub for_known: Arc<dyn Attester>,
}

impl Quotes {
    /// Both share `limits`.
    pub fn new(attester: Arc<dyn Attester>, limits: QuoteLimits, watch: Arc<dyn QuoteWatch>) -> Self {
        let all = limits.at_once.saturating_add(limits.waiting);
        let queue = Arc::new(Queue {
            attester,
            watch,
            at_once: Arc::new(Semaphore::new(limits.at_once)),
            admitted: Arc::new(Semaphore::new(all)),
            strangers: Arc::new(Semaphore::new((all - all / 4).max(1))),
        });
        Self {
            for_strangers: Arc::new(LimitedAttester { queue: Arc::clone(&queue), strangers: true }),
            for_known: Arc::new(LimitedAttester { queue, strangers: false }),
        }
    }
}

struct Queue {
    attester: Arc<dyn Attester>,
    watch: Arc<dyn QuoteWatch>,
    at_once: Arc<Semaphore>,
    /// Being made or waiting.
    admitted: Arc<Semaphore>,
    /// Of these, those of strangers.
    strangers: Arc<Semaphore>,
}

struct LimitedAttester {
    queue: Arc<Queue>,
    strangers: bool,
}

#[async_trait]
impl Attester for LimitedAttester {
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError> {
        let queue = &self.queue;
        let of = |places: &Arc<Semaphore>| {
            Arc::clone(places).try_acquire_owned().map_err(|_| AttesterError::Overloaded)
        };
        let strangers = if self.strangers { Some(of(&queue.strangers)?) } else { None };
        let admitted = of(&queue.admitted)?;
        let waiting = queue.watch.waiting();
        let turn = Arc::clone(&queue.at_once).acquire_owned().await.map_err(|_| AttesterError::Overloaded)?;
        drop(waiting);
        let held = (strangers, admitted, turn, queue.watch.making());
        let (attester, watch) = (Arc::clone(&queue.attester), Arc::clone(&queue.watch));
        let (answer, answered) = oneshot::channel();
        tokio::spawn(async move {
            // Nobody wants it any more.
            if answer.is_closed() {
                return;
            }
            let began = Instant::now();
            let evidence = attester.evidence(report_data).await;
            watch.made(began.elapsed());
            drop(held);
            // An error means that the handshake has ended meanwhile.
            let _ = answer.send(evidence);
        });
        answered.await.unwrap_or_else(|_| {
            Err(AttesterError::Interface {
                interface: queue.attester.platform().to_string(),
                operation: "make a quote",
                reason: "it ended abnormally".to_owned(),
            })
        })
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        self.queue.attester.sealing_key()
    }

    fn platform(&self) -> TeePlatform {
        self.queue.attester.platform()
    }
}

#[cfg(test)]
mod tests;
