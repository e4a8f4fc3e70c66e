//! What the server counts, as Prometheus reads it.
//!
//! The host reads all of this. Names of models come from the configuration only, and
//! nothing that a client sent gets in here: a request for a name that is not there counts
//! for no model. Names and buckets are TensorFlow Serving's where it has the metric.

mod histogram;
mod text;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tonic::Code;

use histogram::Histogram;

/// The call that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Predict,
    Classify,
    Regress,
    MultiInference,
    /// The Open Inference Protocol's.
    Infer,
}

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrypoint {
    Grpc,
    Rest,
}

const APIS: [Api; 5] = [Api::Predict, Api::Classify, Api::Regress, Api::MultiInference, Api::Infer];
const ENTRYPOINTS: [Entrypoint; 2] = [Entrypoint::Grpc, Entrypoint::Rest];

/// gRPC's status codes.
const CODES: usize = 17;

/// What is counted of one model.
#[derive(Debug, Default)]
pub struct ModelMetrics {
    requests: [AtomicU64; CODES],
    latency: [[Histogram; ENTRYPOINTS.len()]; APIS.len()],
    /// The time in the engine.
    runtime: Histogram,
    /// The time between a request's arrival and its run.
    queue: Histogram,
    /// Examples in a run.
    batch: Histogram,
    loads: AtomicU64,
    failed_loads: AtomicU64,
    load_time: AtomicU64,
}

impl ModelMetrics {
    /// A request was answered, well or with this status, after this time.
    pub fn request(&self, api: Api, entrypoint: Entrypoint, code: Code, took: Duration) {
        if let Some(count) = usize::try_from(i32::from(code)).ok().and_then(|code| self.requests.get(code)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let apis = self.latency.get(position(&APIS, api));
        if let Some(histogram) = apis.and_then(|all| all.get(position(&ENTRYPOINTS, entrypoint))) {
            histogram.observe(micros(took));
        }
    }

    /// The engine ran for this time.
    pub fn run(&self, took: Duration) {
        self.runtime.observe(micros(took));
    }

    /// A request waited for this time until it was run.
    pub fn queued(&self, waited: Duration) {
        self.queue.observe(micros(waited));
    }

    /// A run had so many examples.
    pub fn batch(&self, size: usize) {
        self.batch.observe(size as u64);
    }

    /// A version was loaded, or could not be, after this time.
    pub fn load(&self, loaded: bool, took: Duration) {
        let count = if loaded { &self.loads } else { &self.failed_loads };
        count.fetch_add(1, Ordering::Relaxed);
        self.load_time.fetch_add(micros(took), Ordering::Relaxed);
    }
}

fn position<T: PartialEq>(all: &[T], one: T) -> usize {
    all.iter().position(|other| *other == one).unwrap_or(0)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What is counted of all models. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    models: Arc<RwLock<BTreeMap<String, Arc<ModelMetrics>>>>,
    /// Requests for models that are not there.
    unknown: Arc<ModelMetrics>,
}

impl Metrics {
    /// What is counted of a model of the configuration.
    pub fn declare(&self, name: &str) -> Arc<ModelMetrics> {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(models.entry(name.to_owned()).or_default())
    }

    /// What is counted of a model by the name that a client gave: if there is none of
    /// that name, of no model.
    pub fn of(&self, name: &str) -> Arc<ModelMetrics> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(models.get(name).unwrap_or(&self.unknown))
    }

    /// All of it in Prometheus' text format, version 0.0.4. `memory` has the bytes of
    /// each loaded version.
    pub fn render(&self, memory: &[(String, i64, u64)]) -> String {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let named = models.iter().map(|(name, metrics)| (name.as_str(), Arc::clone(metrics)));
        let all: Vec<_> = named.chain([("", Arc::clone(&self.unknown))]).collect();
        text::render(&all, memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clients_are_no_labels() {
        let metrics = Metrics::default();
        metrics.declare("digits");
        metrics.of("digits").request(Api::Predict, Entrypoint::Grpc, Code::Ok, Duration::from_micros(25));
        metrics.of("sesame").request(Api::Predict, Entrypoint::Rest, Code::NotFound, Duration::ZERO);
        metrics.of("digits").run(Duration::from_micros(12));
        metrics.of("digits").load(true, Duration::from_millis(3));
        let text = metrics.render(&[("digits".to_owned(), 3, 4096)]);
        assert!(!text.contains("sesame"), "{text}");
        for line in [
            "# TYPE :tensorflow:serving:request_count counter",
            ":tensorflow:serving:request_count{model_name=\"digits\",status=\"OK\"} 1",
            ":tensorflow:serving:request_count{model_name=\"\",status=\"NOT_FOUND\"} 1",
            ":tensorflow:serving:request_latency_bucket{model_name=\"digits\",API=\"Predict\",entrypoint=\"GRPC\",le=\"10\"} 0",
            ":tensorflow:serving:request_latency_bucket{model_name=\"digits\",API=\"Predict\",entrypoint=\"GRPC\",le=\"32.4\"} 1",
            ":tensorflow:serving:request_latency_bucket{model_name=\"digits\",API=\"Predict\",entrypoint=\"GRPC\",le=\"+Inf\"} 1",
            ":tensorflow:serving:request_latency_sum{model_name=\"digits\",API=\"Predict\",entrypoint=\"GRPC\"} 25",
            ":tensorflow:serving:runtime_latency_count{model_name=\"digits\",API=\"Predict\",runtime=\"adytum\"} 1",
            "adytum_model_memory_bytes{model_name=\"digits\",version=\"3\"} 4096",
            "adytum_model_loads_total{model_name=\"digits\",result=\"loaded\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn every_line_is_a_comment_or_a_sample() {
        let metrics = Metrics::default();
        for api in APIS {
            for entrypoint in ENTRYPOINTS {
                metrics.declare("m").request(
                    api,
                    entrypoint,
                    Code::Unavailable,
                    Duration::from_secs(1 << 40),
                );
            }
        }
        metrics.declare("m").batch(8);
        metrics.declare("m").queued(Duration::MAX);
        let text = metrics.render(&[]);
        for line in text.lines() {
            let is_sample = line
                .rsplit_once(' ')
                .is_some_and(|(name, value)| !name.is_empty() && value.parse::<f64>().is_ok());
            assert!(line.starts_with("# ") || is_sample, "{line}");
        }
    }
}
