//! Tests with a TEE that hangs.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{task::JoinHandle, time::timeout};

use super::*;

/// A TEE whose quotes begin at once, and fail when they are let.
struct Hanging {
    begun: AtomicUsize,
    ends: Semaphore,
}

#[async_trait]
impl Attester for Hanging {
    async fn evidence(&self, _report_data: ReportData) -> Result<Evidence, AttesterError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.ends.acquire().await.unwrap().forget();
        Err(AttesterError::NoTee { looked_for: "nothing".to_owned() })
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        Ok(None)
    }

    fn platform(&self) -> TeePlatform {
        TeePlatform::Simulation
    }
}

#[derive(Default)]
struct Counts {
    waiting: Arc<Mutex<usize>>,
    making: Arc<Mutex<usize>>,
}

struct Counted(Arc<Mutex<usize>>);

impl Counted {
    fn enter(count: &Arc<Mutex<usize>>) -> Box<dyn Send> {
        *count.lock().unwrap() += 1;
        Box::new(Self(Arc::clone(count)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0.lock().unwrap() -= 1;
    }
}

impl QuoteWatch for Counts {
    fn waiting(&self) -> Box<dyn Send> {
        Counted::enter(&self.waiting)
    }

    fn making(&self) -> Box<dyn Send> {
        Counted::enter(&self.making)
    }

    fn made(&self, _took: Duration) {}
}

struct Fixture {
    tee: Arc<Hanging>,
    counts: Arc<Counts>,
    quotes: Quotes,
}

impl Fixture {
    fn new(at_once: usize, waiting: usize) -> Self {
        let tee = Arc::new(Hanging { begun: AtomicUsize::new(0), ends: Semaphore::new(0) });
        let counts = Arc::new(Counts::default());
        let attester: Arc<dyn Attester> = tee.clone();
        let quotes = Quotes::new(attester, QuoteLimits { at_once, waiting }, counts.clone());
        Self { tee, counts, quotes }
    }

    /// A handshake that asks for a quote.
    fn ask(attester: &Arc<dyn Attester>) -> JoinHandle<Result<Evidence, AttesterError>> {
        let limited = Arc::clone(attester);
        tokio::spawn(async move { limited.evidence(ReportData([0; 64])).await })
    }

    fn known(&self) -> JoinHandle<Result<Evidence, AttesterError>> {
        Self::ask(&self.quotes.for_known)
    }

    async fn code(asked: JoinHandle<Result<Evidence, AttesterError>>) -> &'static str {
        let answer = timeout(Duration::from_secs(5), asked).await.expect("an answer at once");
        answer.unwrap().unwrap_err().code()
    }

    fn begun(&self) -> usize {
        self.tee.begun.load(Ordering::SeqCst)
    }

    fn counts(&self) -> (usize, usize) {
        (*self.counts.making.lock().unwrap(), *self.counts.waiting.lock().unwrap())
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
    let asked = fixture.known();
    until(|| fixture.begun() == 1).await;
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    assert_eq!(Fixture::code(fixture.known()).await, "overloaded");
    assert_eq!((fixture.begun(), fixture.counts()), (1, (1, 0)));
    // The end of the quote frees it.
    fixture.tee.ends.add_permits(2);
    until(|| fixture.counts() == (0, 0)).await;
    assert_eq!(Fixture::code(fixture.known()).await, "attester-no-tee");
    assert_eq!(fixture.begun(), 2);
}

#[tokio::test]
async fn who_goes_away_before_the_quote_has_begun_costs_none() {
    let fixture = Fixture::new(1, 1);
    let first = fixture.known();
    until(|| fixture.begun() == 1).await;
    let second = fixture.known();
    until(|| fixture.counts() == (1, 1)).await;
    assert_eq!(Fixture::code(fixture.known()).await, "overloaded");
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    assert_eq!(fixture.counts(), (1, 0));
    fixture.tee.ends.add_permits(2);
    assert_eq!(Fixture::code(first).await, "attester-no-tee");
    assert_eq!(Fixture::code(fixture.known()).await, "attester-no-tee");
    assert_eq!(fixture.begun(), 2);
}

#[tokio::test]
async fn strangers_leave_some_to_those_who_are_known() {
    let fixture = Fixture::new(1, 7);
    let strangers: Vec<_> = (0..6).map(|_| Fixture::ask(&fixture.quotes.for_strangers)).collect();
    until(|| fixture.counts() == (1, 5)).await;
    assert_eq!(Fixture::code(Fixture::ask(&fixture.quotes.for_strangers)).await, "overloaded");
    let known = [fixture.known(), fixture.known()];
    until(|| fixture.counts() == (1, 7)).await;
    fixture.tee.ends.add_permits(8);
    for asked in strangers.into_iter().chain(known) {
        assert_eq!(Fixture::code(asked).await, "attester-no-tee");
    }
}
