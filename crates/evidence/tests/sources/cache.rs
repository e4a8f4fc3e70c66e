//! Collateral kept while it is valid.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use adytum_evidence::{
    attester::Attester,
    claims::TeeKind,
    clock::{FixedClock, UnixSeconds},
    collateral::{
        CachedSource, Collateral, CollateralError, CollateralRequest, CollateralSource, DcapRequest, PckCa,
        QuoteCollateralV3,
    },
    evidence::Evidence,
    measurement::{Fmspc, ReportData, WorkloadIdentity},
    verifier::{VerificationError, Verifier, parse_dcap},
};
use adytum_sim::{COLLATERAL_LIFETIME, Platform, SimAttester};
use async_trait::async_trait;

const NOW: UnixSeconds = UnixSeconds(1_780_000_000);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A source that counts, can be down, and takes its time.
struct Source {
    collateral: Mutex<Arc<QuoteCollateralV3>>,
    down: AtomicBool,
    panics: AtomicBool,
    /// How long an answer takes, in milliseconds.
    takes: AtomicU64,
    fetches: AtomicUsize,
}

#[async_trait]
impl CollateralSource for Source {
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(self.takes.load(Ordering::SeqCst))).await;
        assert!(!self.panics.load(Ordering::SeqCst), "injected");
        if self.down.load(Ordering::SeqCst) {
            return Err(CollateralError::Unreachable {
                origin: request.to_string(),
                reason: "down".to_owned(),
            });
        }
        Ok(Collateral::Dcap(self.collateral.lock().unwrap().clone()))
    }
}

struct Fixture {
    platform: Arc<Platform>,
    clock: Arc<FixedClock>,
    source: Arc<Source>,
    cached: Arc<CachedSource<Arc<Source>>>,
}

impl Fixture {
    fn new() -> Self {
        let clock = Arc::new(FixedClock::new(NOW));
        let platform = Platform::builder().clock(clock.clone()).ephemeral().unwrap();
        let source = Arc::new(Source {
            collateral: Mutex::new(platform.collateral()),
            down: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            takes: AtomicU64::new(100),
            fetches: AtomicUsize::new(0),
        });
        let cached = Arc::new(CachedSource::new(Arc::clone(&source), clock.clone()));
        Self { platform, clock, source, cached }
    }

    fn request(&self) -> DcapRequest {
        DcapRequest { tee: TeeKind::Sgx, fmspc: self.platform.fmspc(), ca: self.platform.pck_ca() }
    }

    async fn get(&self) -> Result<Arc<QuoteCollateralV3>, CollateralError> {
        match self.cached.collateral(&self.request().into()).await? {
            Collateral::Dcap(collateral) => Ok(collateral),
            other => panic!("{other:?}"),
        }
    }

    fn at(&self, since_start: Duration) {
        self.clock.set(NOW.plus(since_start));
    }

    fn fetches(&self) -> usize {
        self.source.fetches.load(Ordering::SeqCst)
    }

    fn down(&self, down: bool) {
        self.source.down.store(down, Ordering::SeqCst);
    }

    fn takes(&self, time: Duration) {
        self.source.takes.store(time.as_millis().try_into().unwrap(), Ordering::SeqCst);
    }

    fn serve(&self, collateral: &Arc<QuoteCollateralV3>) {
        *self.source.collateral.lock().unwrap() = Arc::clone(collateral);
    }

    /// Verifies a quote of the platform with what the cache gives.
    async fn verify(&self) -> Result<(), VerificationError> {
        let roots = vec![self.platform.trust_root().unwrap()];
        let verifier = Verifier::new(roots, self.cached.clone(), self.clock.clone());
        let attester = SimAttester::new(Arc::clone(&self.platform), WorkloadIdentity([1; 32]));
        let evidence = attester.evidence(ReportData([2; 64])).await.unwrap();
        verifier.verify(&evidence).await.map(|_| ())
    }

    /// The source has newer collateral from here on.
    fn publish(&self) -> Arc<QuoteCollateralV3> {
        self.platform.renew_collateral(adytum_evidence::clock::Clock::now(&*self.clock)).unwrap();
        let fresh = self.platform.collateral();
        *self.source.collateral.lock().unwrap() = Arc::clone(&fresh);
        fresh
    }
}

/// The same with a signature that does not hold.
fn forged(genuine: &QuoteCollateralV3) -> Arc<QuoteCollateralV3> {
    let mut forged = genuine.clone();
    forged.tcb_info_signature[7] ^= 1;
    Arc::new(forged)
}

/// The same with TCB info that ends at another time; its signature does not hold.
fn ending(genuine: &QuoteCollateralV3, until: UnixSeconds) -> Arc<QuoteCollateralV3> {
    let (before, after) = genuine.tcb_info.split_once("\"nextUpdate\":\"").unwrap();
    let (_, after) = after.split_once('"').unwrap();
    let tcb_info = format!("{before}\"nextUpdate\":\"{until}\"{after}");
    Arc::new(QuoteCollateralV3 { tcb_info, ..genuine.clone() })
}

/// Background work gets its turn (the time is paused, so this costs none).
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn kept_while_fresh() {
    let fixture = Fixture::new();
    let first = fixture.get().await.unwrap();
    for hours in [0, 1, 23] {
        fixture.at(hours * HOUR);
        assert!(Arc::ptr_eq(&fixture.get().await.unwrap(), &first));
    }
    a_while().await;
    assert_eq!(fixture.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_asks_at_once_is_served_by_one_fetch() {
    let fixture = Fixture::new();
    let answers = futures_util::future::join_all((0..50).map(|_| fixture.get())).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(fixture.fetches(), 1);

    // A failure is shared as well, and the next caller tries again.
    let fixture = Fixture::new();
    fixture.down(true);
    let answers = futures_util::future::join_all((0..50).map(|_| fixture.get())).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(CollateralError::retry)));
    assert_eq!(fixture.fetches(), 1);
    fixture.down(false);
    fixture.get().await.unwrap();
    assert_eq!(fixture.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn refreshed_in_the_background_before_it_expires() {
    let fixture = Fixture::new();
    let first = fixture.get().await.unwrap();
    fixture.at(2 * DAY);
    let fresh = fixture.publish();
    // The caller does not wait.
    for _ in 0..10 {
        assert!(Arc::ptr_eq(&fixture.get().await.unwrap(), &first));
    }
    a_while().await;
    assert_eq!(fixture.fetches(), 2);
    assert!(Arc::ptr_eq(&fixture.get().await.unwrap(), &fresh));
}

#[tokio::test(start_paused = true)]
async fn served_to_its_end_when_the_source_is_down_and_not_beyond() {
    let fixture = Fixture::new();
    let first = fixture.get().await.unwrap();
    fixture.down(true);
    for days in 1..29 {
        fixture.at(days * DAY);
        assert!(Arc::ptr_eq(&fixture.get().await.unwrap(), &first), "day {days}");
        a_while().await;
    }
    // Tried, but not at each request.
    let tried = fixture.fetches();
    assert!((3..=60).contains(&tried), "{tried}");
    for _ in 0..100 {
        fixture.get().await.unwrap();
        a_while().await;
    }
    assert_eq!(fixture.fetches(), tried);

    fixture.at(COLLATERAL_LIFETIME + DAY);
    let error = fixture.get().await.unwrap_err();
    assert_eq!(error.code(), "collateral-unreachable");
    fixture.down(false);
    let fresh = fixture.publish();
    assert!(Arc::ptr_eq(&fixture.get().await.unwrap(), &fresh));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_falls_behind_does_not_replace_what_is_newer() {
    let fixture = Fixture::new();
    let old = fixture.get().await.unwrap();
    fixture.at(2 * DAY);
    let fresh = fixture.publish();
    fixture.get().await.unwrap();
    a_while().await;
    // Back to the old one, still valid.
    fixture.serve(&old);
    fixture.at(4 * DAY);
    fixture.get().await.unwrap();
    a_while().await;
    assert_eq!(fixture.fetches(), 3);
    assert!(Arc::ptr_eq(&fixture.get().await.unwrap(), &fresh));
}

#[tokio::test(start_paused = true)]
async fn a_newer_issue_counts_even_if_it_ends_earlier() {
    let fixture = Fixture::new();
    fixture.get().await.unwrap();
    fixture.at(2 * DAY);
    let emergency = ending(&fixture.publish(), NOW.plus(9 * DAY));
    fixture.serve(&emergency);
    fixture.get().await.unwrap();
    a_while().await;
    assert!(Arc::ptr_eq(&fixture.get().await.unwrap(), &emergency));
}

#[tokio::test(start_paused = true)]
async fn one_document_that_is_older_is_enough() {
    let fixture = Fixture::new();
    let old = fixture.get().await.unwrap();
    fixture.at(2 * DAY);
    let fresh = fixture.publish();
    fixture.verify().await.unwrap();
    a_while().await;
    fixture.verify().await.unwrap();
    // Newer TCB info, and the revocation list from before.
    fixture.at(4 * DAY);
    let mixed = QuoteCollateralV3 { pck_crl: old.pck_crl.clone(), ..(*fixture.publish()).clone() };
    fixture.serve(&Arc::new(mixed));
    fixture.verify().await.unwrap();
    a_while().await;
    assert_eq!(fixture.fetches(), 3);
    assert!(Arc::ptr_eq(&fixture.get().await.unwrap(), &fresh));
}

#[tokio::test(start_paused = true)]
async fn what_verification_refuses_gives_way_whatever_its_dates() {
    let fixture = Fixture::new();
    let genuine = fixture.platform.collateral();
    fixture.at(2 * DAY);
    fixture.serve(&forged(&fixture.publish()));
    assert_eq!(fixture.verify().await.unwrap_err().code(), "collateral-invalid");
    // The source has recovered. It is not asked with each handshake...
    fixture.serve(&genuine);
    assert_eq!(fixture.verify().await.unwrap_err().code(), "collateral-invalid");
    assert_eq!(fixture.fetches(), 1);
    // ... but soon.
    fixture.at(2 * DAY + MINUTE);
    fixture.verify().await.unwrap();
    assert_eq!(fixture.fetches(), 2);
    assert!(Arc::ptr_eq(&fixture.get().await.unwrap(), &genuine));
}

#[tokio::test(start_paused = true)]
async fn a_forgery_in_between_opens_no_way_back_behind_what_has_verified() {
    for down in [false, true] {
        let fixture = Fixture::new();
        let old = fixture.platform.collateral();
        fixture.at(2 * DAY);
        let fresh = fixture.publish();
        fixture.verify().await.unwrap();
        fixture.at(4 * DAY);
        fixture.serve(&forged(&fixture.publish()));
        fixture.verify().await.unwrap();
        a_while().await;
        assert_eq!(fixture.verify().await.unwrap_err().code(), "collateral-invalid");
        // Then the old one, genuine and still valid, or nothing.
        fixture.serve(&old);
        fixture.down(down);
        fixture.at(4 * DAY + MINUTE);
        fixture.verify().await.unwrap();
        assert_eq!(fixture.fetches(), 3);
        assert!(Arc::ptr_eq(&fixture.get().await.unwrap(), &fresh));
    }
}

#[tokio::test(start_paused = true)]
async fn asked_for_by_hand_it_replaces_what_has_not_verified() {
    for verified in [false, true] {
        let fixture = Fixture::new();
        let old = fixture.platform.collateral();
        fixture.at(2 * DAY);
        let fresh = fixture.publish();
        fixture.get().await.unwrap();
        if verified {
            fixture.verify().await.unwrap();
        }
        fixture.serve(&old);
        fixture.cached.refresh();
        assert!(Arc::ptr_eq(&fixture.get().await.unwrap(), &fresh));
        a_while().await;
        assert_eq!(fixture.fetches(), 2);
        let expected = if verified { &fresh } else { &old };
        assert!(Arc::ptr_eq(&fixture.get().await.unwrap(), expected), "{verified}");
    }
}

#[tokio::test(start_paused = true)]
async fn asked_for_by_hand_during_a_fetch_it_is_fetched_once_more() {
    let fixture = Fixture::new();
    fixture.get().await.unwrap();
    fixture.at(2 * DAY);
    fixture.get().await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    fixture.cached.refresh();
    a_while().await;
    assert_eq!(fixture.fetches(), 2);
    let fresh = fixture.publish();
    fixture.get().await.unwrap();
    a_while().await;
    assert_eq!(fixture.fetches(), 3);
    assert!(Arc::ptr_eq(&fixture.get().await.unwrap(), &fresh));
}

#[tokio::test(start_paused = true)]
async fn near_its_end_it_is_not_fetched_with_each_request() {
    let fixture = Fixture::new();
    fixture.get().await.unwrap();
    fixture.at(25 * DAY);
    for _ in 0..10 {
        fixture.get().await.unwrap();
        a_while().await;
    }
    assert_eq!(fixture.fetches(), 2);
    fixture.at(25 * DAY + 6 * MINUTE);
    fixture.get().await.unwrap();
    a_while().await;
    assert_eq!(fixture.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_goes_on_when_who_needed_it_has_gone() {
    let fixture = Fixture::new();
    fixture.takes(Duration::from_secs(3));
    tokio::time::timeout(Duration::from_secs(1), fixture.get()).await.unwrap_err();
    // A caller that comes then waits for the rest of it.
    let began = tokio::time::Instant::now();
    fixture.get().await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(2500), "{:?}", began.elapsed());
    fixture.get().await.unwrap();
    assert_eq!(fixture.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_source_is_unreachable_before_a_handshake_ends_and_its_answer_is_kept() {
    let fixture = Fixture::new();
    fixture.takes(Duration::from_secs(12));
    let began = tokio::time::Instant::now();
    let error = fixture.get().await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!((error.code(), error.retry()), ("collateral-unreachable", true), "{error}");
    assert!(error.to_string().contains("no answer within 8 s"), "{error}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    fixture.get().await.unwrap();
    assert_eq!(fixture.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_panics_is_an_error_and_the_next_tries_anew() {
    let fixture = Fixture::new();
    fixture.source.panics.store(true, Ordering::SeqCst);
    let error = fixture.get().await.unwrap_err();
    assert_eq!(error.code(), "collateral-unreachable", "{error}");
    fixture.source.panics.store(false, Ordering::SeqCst);
    fixture.get().await.unwrap();
    assert_eq!(fixture.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn expired_collateral_is_handed_on_for_the_verifier_to_name_and_not_kept() {
    let fixture = Fixture::new();
    fixture.at(COLLATERAL_LIFETIME + DAY);
    let expired = fixture.get().await.unwrap();
    let fresh = fixture.publish();
    assert!(!Arc::ptr_eq(&expired, &fresh));
    assert!(Arc::ptr_eq(&fixture.get().await.unwrap(), &fresh));
}

#[tokio::test(start_paused = true)]
async fn families_are_kept_apart_and_not_without_limit() {
    let fixture = Fixture::new();
    for number in 0..1000u32 {
        let [a, b, c, d] = number.to_be_bytes();
        let request = DcapRequest { fmspc: Fmspc([a, b, c, d, 0, 0]), ..fixture.request() };
        fixture.cached.collateral(&request.into()).await.unwrap();
    }
    assert_eq!(fixture.fetches(), 1000);
    for ca in [PckCa::Processor, PckCa::Platform] {
        for tee in [TeeKind::Sgx, TeeKind::Tdx] {
            let request = DcapRequest { tee, ca, ..fixture.request() };
            fixture.cached.collateral(&request.into()).await.unwrap();
        }
    }
    assert_eq!(fixture.fetches(), 1004);
}

#[tokio::test(start_paused = true)]
async fn strangers_cause_no_fetch() {
    let fixture = Fixture::new();
    let verifier = Verifier::new(
        vec![fixture.platform.trust_root().unwrap()],
        Arc::new(fixture.source.clone()),
        fixture.clock.clone(),
    );
    // Another platform's quote, with the trusted root's certificate put in: the
    // root's certificate is public, its signature is not to be had.
    let stranger = Platform::builder().clock(fixture.clock.clone()).ephemeral().unwrap();
    let quote = |platform: &Arc<Platform>| {
        let attester = SimAttester::new(Arc::clone(platform), WorkloadIdentity([1; 32]));
        async move { attester.evidence(ReportData([2; 64])).await.unwrap().bytes }
    };
    let (genuine, forged) = (quote(&fixture.platform).await, quote(&stranger).await);
    let chain = |quote: &[u8]| {
        let structures = parse_dcap(quote).unwrap().structures;
        structures.into_iter().find(|(what, _)| *what == "PCK chain").unwrap().1
    };
    let split = |quote: &[u8]| {
        let text = String::from_utf8(quote[chain(quote)].to_vec()).unwrap();
        text.split_inclusive("-----END CERTIFICATE-----\n").map(str::to_owned).collect::<Vec<_>>()
    };
    let (ours, theirs) = (split(&genuine), split(&forged));
    // With the trusted root alone, and with the trusted CA as well.
    for certificates in [[&theirs[0], &theirs[1], &ours[2]], [&theirs[0], &ours[1], &ours[2]]] {
        let text = certificates.map(String::as_str).concat();
        let at = chain(&forged);
        let mut bytes = forged[..at.start - 4].to_vec();
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.as_bytes());
        // The length of the authentication data lies after header and report.
        let length = (bytes.len() - 48 - 384 - 4) as u32;
        bytes[48 + 384..][..4].copy_from_slice(&length.to_le_bytes());
        let error = verifier.verify(&Evidence::dcap_quote(bytes)).await.unwrap_err();
        assert_eq!(error.code(), "evidence-invalid", "{error}");
        assert!(error.to_string().contains("not signed by"), "{error}");
    }
    assert_eq!(fixture.fetches(), 0);
    verifier.verify(&Evidence::dcap_quote(genuine)).await.unwrap();
    assert_eq!(fixture.fetches(), 1);
}
