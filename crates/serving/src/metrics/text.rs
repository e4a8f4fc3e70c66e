//! Prometheus' text format, version 0.0.4.

use std::{
    fmt::Write as _,
    fs,
    sync::{Arc, atomic::Ordering},
};

use super::{
    APIS, Api, ENTRYPOINTS, Entrypoint, ModelMetrics,
    histogram::{Histogram, bounds},
};

type Models<'a> = [(&'a str, Arc<ModelMetrics>)];

/// The names of gRPC's codes, by their numbers.
const CODES: [&str; super::CODES] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

pub(super) fn render(models: &Models<'_>, memory: &[(String, i64, u64)]) -> String {
    let mut out = String::new();
    head(&mut out, ":tensorflow:serving:request_count", "counter", "Requests by their status.");
    for (name, metrics) in models {
        for (code, count) in CODES.iter().zip(&metrics.requests) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                let labels = format!("model_name=\"{}\",status=\"{code}\"", escape(name));
                sample(&mut out, ":tensorflow:serving:request_count", &labels, count);
            }
        }
    }
    let latency = ":tensorflow:serving:request_latency";
    head(&mut out, latency, "histogram", "Time from a request to its answer in microseconds.");
    for (name, metrics) in models {
        for (api, entrypoints) in APIS.iter().zip(&metrics.latency) {
            for (entrypoint, values) in ENTRYPOINTS.iter().zip(entrypoints) {
                let (api, entrypoint) = (api_name(*api, *entrypoint), entrypoint_name(*entrypoint));
                let labels =
                    format!("model_name=\"{}\",API=\"{api}\",entrypoint=\"{entrypoint}\"", escape(name));
                histogram(&mut out, latency, &labels, values);
            }
        }
    }
    render_runs(&mut out, models);
    render_loads(&mut out, models);
    head(&mut out, "adytum_model_memory_bytes", "gauge", "Memory that is set aside for a loaded version.");
    for (name, version, bytes) in memory {
        let labels = format!("model_name=\"{}\",version=\"{version}\"", escape(name));
        sample(&mut out, "adytum_model_memory_bytes", &labels, *bytes);
    }
    if let Some(bytes) = resident_memory() {
        head(&mut out, "process_resident_memory_bytes", "gauge", "Resident memory of the process.");
        let _ = writeln!(out, "process_resident_memory_bytes {bytes}");
    }
    out
}

/// A metric that each model has one histogram of.
struct OfRuns {
    name: &'static str,
    help: &'static str,
    labels: &'static str,
    values: fn(&ModelMetrics) -> &Histogram,
}

const OF_RUNS: [OfRuns; 3] = [
    OfRuns {
        name: ":tensorflow:serving:runtime_latency",
        help: "Time in the engine in microseconds.",
        labels: ",API=\"Predict\",runtime=\"adytum\"",
        values: |metrics| &metrics.runtime,
    },
    OfRuns {
        name: ":tensorflow:serving:batching_session:queuing_latency",
        help: "Time from a request to its run in microseconds.",
        labels: "",
        values: |metrics| &metrics.queue,
    },
    OfRuns {
        name: ":tensorflow:serving:batching_session:batch_size",
        help: "Examples in a run.",
        labels: "",
        values: |metrics| &metrics.batch,
    },
];

fn render_runs(out: &mut String, models: &Models<'_>) {
    for metric in &OF_RUNS {
        head(out, metric.name, "histogram", metric.help);
        for (name, metrics) in models {
            let labels = format!("model_name=\"{}\"{}", escape(name), metric.labels);
            histogram(out, metric.name, &labels, (metric.values)(metrics));
        }
    }
}

fn render_loads(out: &mut String, models: &Models<'_>) {
    let loads = "adytum_model_loads_total";
    head(out, loads, "counter", "Versions that were loaded, and that could not be.");
    for (name, metrics) in models.iter().filter(|(name, _)| !name.is_empty()) {
        for (result, count) in [("loaded", &metrics.loads), ("failed", &metrics.failed_loads)] {
            let labels = format!("model_name=\"{}\",result=\"{result}\"", escape(name));
            sample(out, loads, &labels, count.load(Ordering::Relaxed));
        }
    }
    let time = "adytum_model_load_microseconds_total";
    head(out, time, "counter", "Time that loading took in microseconds.");
    for (name, metrics) in models.iter().filter(|(name, _)| !name.is_empty()) {
        sample(
            out,
            time,
            &format!("model_name=\"{}\"", escape(name)),
            metrics.load_time.load(Ordering::Relaxed),
        );
    }
}

/// TensorFlow Serving writes the names of calls in its two ways too.
fn api_name(api: Api, entrypoint: Entrypoint) -> &'static str {
    match (api, entrypoint) {
        (Api::Predict, Entrypoint::Grpc) => "Predict",
        (Api::Classify, Entrypoint::Grpc) => "Classify",
        (Api::Regress, Entrypoint::Grpc) => "Regress",
        (Api::MultiInference, _) => "MultiInference",
        (Api::Predict, Entrypoint::Rest) => "predict",
        (Api::Classify, Entrypoint::Rest) => "classify",
        (Api::Regress, Entrypoint::Rest) => "regress",
        (Api::Infer, _) => "infer",
    }
}

fn entrypoint_name(entrypoint: Entrypoint) -> &'static str {
    match entrypoint {
        Entrypoint::Grpc => "GRPC",
        Entrypoint::Rest => "REST",
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(out: &mut String, name: &str, labels: &str, value: u64) {
    let _ = writeln!(out, "{name}{{{labels}}} {value}");
}

/// A histogram with values in it.
fn histogram(out: &mut String, name: &str, labels: &str, values: &Histogram) {
    let (counts, sum) = values.read();
    let total = counts.last().copied().unwrap_or(0);
    if total == 0 {
        return;
    }
    for (bound, count) in bounds().zip(&counts) {
        // Six digits, as TensorFlow Serving writes them.
        let bound: f64 = format!("{bound:.5e}").parse().unwrap_or(bound);
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
    }
    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}");
    let _ = writeln!(out, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {total}");
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// What the system says of this process, in bytes.
fn resident_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
