//! What a broker counts, for Prometheus. Labels come from small fixed sets
//! ([`codes`]); no secret, workload or peer is named.
//!
//! Every metric is a value that belongs to one broker and is registered in one
//! place, [`Metrics::new`]: there are no globals, and nothing comes into being by
//! being used.

mod codes;
mod process;
mod store_activity;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

pub(crate) use self::{codes::Service, store_activity::StoreActivity};
use self::{
    codes::{CodeCounter, RequestCounter},
    process::Process,
    store_activity::durations,
};

/// The media type of [`Metrics::encode`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a broker says of itself when its metrics are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetricsReading {
    /// Records in the audit log.
    pub(crate) audit_size: u64,
    /// Version of the manifest in force; 0 is none.
    pub(crate) manifest_version: u64,
    /// How often it was started.
    pub(crate) epoch: u64,
    pub(crate) ready: bool,
    /// The earliest time that is believed, in seconds since 1970.
    pub(crate) clock_floor: u64,
    /// Is the host's clock before that?
    pub(crate) clock_is_below_floor: bool,
}

/// What a forecast comes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForecastReading {
    /// When it was made, in seconds since 1970.
    pub(crate) made: u64,
    /// Workloads that will be refused, counted once for each machine.
    pub(crate) refusals: usize,
    /// From when on, in seconds since 1970; 0 if none.
    pub(crate) earliest: u64,
    /// Kinds of collateral of which the next evaluation is not known.
    pub(crate) unknown_sources: usize,
    /// Workloads of which no evidence was seen.
    pub(crate) unseen_workloads: usize,
}

/// The metrics of one broker.
pub struct Metrics {
    pub(crate) sessions: Gauge,
    /// Open sessions of peers that gave no evidence.
    pub(crate) unattested_sessions: Gauge,
    /// Handshakes that are under way.
    pub(crate) handshakes_in_flight: Gauge,
    /// Requests that are being read or answered.
    pub(crate) requests_in_flight: Gauge,
    /// Quotes that the TEE is making.
    pub(crate) quotes_in_flight: Gauge,
    /// Handshakes that wait until the TEE is free.
    pub(crate) quotes_waiting: Gauge,
    pub(crate) quote_seconds: Histogram,
    /// Releases to replicas that have seen this broker before.
    pub(crate) lease_renewals: Counter,
    handshakes: CodeCounter,
    handshake_seconds: Histogram,
    requests: RequestCounter,
    release_seconds: Histogram,
    administration_seconds: Histogram,
    audit_records: Gauge,
    manifest_version: Gauge,
    epoch: Gauge,
    ready: Gauge,
    clock_floor: Gauge,
    clock_below_floor: Gauge,
    forecast_made: Gauge,
    forecast_refusals: Gauge,
    forecast_earliest: Gauge,
    forecast_unknown: Gauge,
    forecast_unseen: Gauge,
    process: Process,
    registry: Mutex<Registry>,
}

impl Metrics {
    /// All of them, each at zero. The store counts by itself.
    pub(crate) fn new(store: &StoreActivity) -> Self {
        let mut root = Registry::default();
        let process = Process::register(&mut root);
        let own = root.sub_registry_with_prefix("adytum_broker");
        own.register("build", "Which build this is", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        own.register("store_commits", "Transactions made durable", store.commits.clone());
        own.register("store_changes", "Changes made durable by them", store.changes.clone());
        own.register("store_failures", "Transactions that failed", store.failures.clone());
        let took = "How long transactions took";
        own.register_with_unit("store_commit", took, Unit::Seconds, store.seconds.clone());
        Self {
            sessions: gauge(own, "sessions", "Open attested sessions"),
            unattested_sessions: gauge(
                own,
                "unattested_sessions",
                "Open sessions of peers that gave no evidence, such as owners' tools",
            ),
            handshakes_in_flight: gauge(own, "handshakes_in_flight", "Handshakes under way"),
            requests_in_flight: gauge(own, "requests_in_flight", "Requests being read or answered"),
            quotes_in_flight: gauge(own, "quotes_in_flight", "Quotes being made by the TEE"),
            quotes_waiting: gauge(own, "quotes_waiting", "Handshakes that wait for the TEE"),
            quote_seconds: histogram(own, "quote", "How long the TEE took for a quote"),
            lease_renewals: counter(
                own,
                "lease_renewals",
                "Releases to replicas that have seen this broker before",
            ),
            handshakes: CodeCounter::register(
                own,
                "handshakes",
                "Connections by outcome: accepted, or why they did not become a session",
            ),
            handshake_seconds: histogram(own, "handshake", "How long handshakes took"),
            requests: RequestCounter::register(
                own,
                "requests",
                "Requests by what they were for and by outcome: ok, or the code of the refusal",
            ),
            release_seconds: histogram(own, "release", "How long requests for secrets took"),
            administration_seconds: histogram(own, "administration", "How long requests of owners took"),
            audit_records: gauge(own, "audit_records", "Records in the audit log"),
            manifest_version: gauge(own, "manifest_version", "Version of the manifest in force; 0 is none"),
            epoch: gauge(own, "epoch", "How often this broker was started"),
            ready: gauge(own, "ready", "1 while the broker is ready, else 0"),
            clock_floor: gauge(
                own,
                "clock_floor_timestamp_seconds",
                "The earliest time that this broker believes, in seconds since 1970",
            ),
            clock_below_floor: gauge(
                own,
                "clock_below_floor",
                "1 while the host's clock is before the floor and is not believed, else 0",
            ),
            forecast_made: gauge(
                own,
                "forecast_timestamp_seconds",
                "When the last forecast was made, in seconds since 1970; 0 is never",
            ),
            forecast_refusals: gauge(
                own,
                "forecast_refusals",
                "Workloads that are accepted on a machine now and will be refused, by the last forecast",
            ),
            forecast_earliest: gauge(
                own,
                "forecast_earliest_timestamp_seconds",
                "From when on the first of them will be refused, in seconds since 1970; 0 is none",
            ),
            forecast_unknown: gauge(
                own,
                "forecast_unknown_sources",
                "Kinds of collateral whose source says nothing of what is to come",
            ),
            forecast_unseen: gauge(
                own,
                "forecast_unseen_workloads",
                "Workloads of which no evidence was seen in this run, so that nothing is foreseen",
            ),
            process,
            registry: Mutex::new(root),
        }
    }

    /// Sessions that are open now.
    pub fn open_sessions(&self) -> i64 {
        self.sessions.get()
    }

    /// Of a broker without its root key.
    pub(crate) fn without_store() -> Self {
        Self::new(&StoreActivity::default())
    }

    /// A connection was turned away before a handshake, or its session was displaced.
    pub(crate) fn turned_away(&self, code: &str) {
        self.handshakes.count(code);
    }

    /// A handshake came to this end after such a time.
    pub(crate) fn handshake(&self, code: &str, took: Duration) {
        self.handshakes.count(code);
        self.handshake_seconds.observe(took.as_secs_f64());
    }

    /// A request came to this end after such a time.
    pub(crate) fn request(&self, service: Service, code: &str, took: Duration) {
        self.requests.count(service, code);
        let seconds = match service {
            Service::Release | Service::Kbs | Service::Occlum => &self.release_seconds,
            Service::Administration => &self.administration_seconds,
        };
        seconds.observe(took.as_secs_f64());
    }

    /// A forecast was made.
    pub(crate) fn forecast(&self, reading: &ForecastReading) {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.forecast_made.set(signed(reading.made));
        self.forecast_refusals.set(count(reading.refusals));
        self.forecast_earliest.set(signed(reading.earliest));
        self.forecast_unknown.set(count(reading.unknown_sources));
        self.forecast_unseen.set(count(reading.unseen_workloads));
    }

    /// All of them in the text form of OpenMetrics.
    pub(crate) fn encode(&self, reading: MetricsReading) -> String {
        self.audit_records.set(signed(reading.audit_size));
        self.manifest_version.set(signed(reading.manifest_version));
        self.epoch.set(signed(reading.epoch));
        self.ready.set(i64::from(reading.ready));
        self.clock_floor.set(signed(reading.clock_floor));
        self.clock_below_floor.set(i64::from(reading.clock_is_below_floor));
        self.process.look();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut encoded = String::new();
        // Writing into a String can't fail.
        let _ = text::encode(&mut encoded, &registry);
        encoded
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn histogram(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = durations();
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}

/// Adds one while it lives.
pub(crate) struct GaugeGuard(Gauge);

impl GaugeGuard {
    pub(crate) fn enter(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
