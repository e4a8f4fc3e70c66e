//! What a benchmark found, in the reference benchmark's words.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::error::ClientError;

/// One measured request. Prints as the reference's line.
#[derive(Debug)]
pub struct Query<'a> {
    /// Was it sent over TLS?
    pub is_tls: bool,
    /// Which task sent it, from 0.
    pub task: usize,
    /// Which of the task's requests it was, from 0.
    pub loop_index: u64,
    /// From its first byte to the answer's last.
    pub latency: Duration,
    /// Why there is no answer.
    pub error: Option<&'a ClientError>,
}

impl fmt::Display for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, loop_index, .. } = self;
        let channel = if self.is_tls { "secure" } else { "insecure" };
        let latency = milliseconds(self.latency);
        write!(
            f,
            "query: {channel} channel, task {task}, loop_idx {loop_index}, latency(ms) {latency:.1}, "
        )?;
        match self.error {
            None => write!(f, "tps: {:.1}", 1000.0 / latency),
            Some(error) => write!(f, "error {}: {error}", error.code()),
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Latencies of answered requests, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// The mean, in milliseconds.
    pub average: f64,
    /// Half are not slower.
    pub p50: f64,
    /// Nine of ten are not slower.
    pub p90: f64,
    /// 99 of 100 are not slower.
    pub p99: f64,
    pub max: f64,
}

/// What a benchmark found. Prints as the reference's summary with lines of our
/// own after it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Tasks at the same time.
    pub cnum: usize,
    /// Requests that were answered.
    pub answered: u64,
    pub failed: u64,
    /// From the first request to the last answer, in seconds.
    pub seconds: f64,
    /// Answered requests a second.
    pub tps: f64,
    pub latency_ms: Latency,
    /// Failed requests by the code of their error.
    pub errors: BTreeMap<String, u64>,
    /// How often a request was sent again because its connection was lost.
    pub repeated: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cnum, seconds, tps, .. } = self;
        let Latency { average, p50, p90, p99, max } = self.latency_ms;
        write!(
            f,
            "summary: cnum {cnum}, e2e time(s) {seconds:.6}, average latency(ms) {average:.3}, tps: {tps:.3}"
        )?;
        write!(f, "\nlatency(ms): p50 {p50:.3}, p90 {p90:.3}, p99 {p99:.3}, max {max:.3}")?;
        write!(f, "\nrequests: {} answered, {} failed", self.answered, self.failed)?;
        if self.repeated > 0 {
            write!(f, ", {} sent anew after a lost connection", self.repeated)?;
        }
        for (code, count) in &self.errors {
            write!(f, "\nerror {code}: {count}")?;
        }
        Ok(())
    }
}

/// The counts of a running benchmark.
pub(super) struct Tally {
    /// Of answered requests, in microseconds.
    latencies: Histogram<u64>,
    total: Duration,
    errors: BTreeMap<String, u64>,
    repeated: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { latencies: latencies(), total: Duration::ZERO, errors: BTreeMap::new(), repeated: 0 }
    }
}

/// Three digits of every latency, however long.
#[expect(clippy::expect_used, reason = "the constructor only refuses more than five digits")]
fn latencies() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are allowed")
}

impl Tally {
    pub(super) fn record(&mut self, latency: Duration, error: Option<&ClientError>) {
        match error {
            None => {
                let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                // It grows as needed; what no u64 of microseconds holds counts as the most.
                if self.latencies.record(microseconds).is_err() {
                    self.latencies.saturating_record(microseconds);
                }
                self.total += latency;
            }
            Some(error) => *self.errors.entry(error.code().to_owned()).or_default() += 1,
        }
    }

    pub(super) fn count_repeated(&mut self, count: u64) {
        self.repeated += count;
    }

    pub(super) fn add(&mut self, other: Self) {
        // Both have the same precision and grow, so this can't fail.
        let _ = self.latencies.add(&other.latencies);
        self.total += other.total;
        self.repeated += other.repeated;
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
    }

    pub(super) fn report(self, cnum: usize, elapsed: Duration) -> Report {
        let answered = self.latencies.len();
        let seconds = elapsed.as_secs_f64();
        let quantile = |q| self.latencies.value_at_quantile(q) as f64 / 1000.0;
        let latency_ms = if answered == 0 {
            Latency::default()
        } else {
            Latency {
                average: milliseconds(self.total) / answered as f64,
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                max: self.latencies.max() as f64 / 1000.0,
            }
        };
        Report {
            cnum,
            answered,
            failed: self.errors.values().sum(),
            seconds,
            tps: if seconds > 0.0 { answered as f64 / seconds } else { 0.0 },
            latency_ms,
            errors: self.errors,
            repeated: self.repeated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline() -> ClientError {
        ClientError::Deadline { server: "localhost:1".to_owned(), limit: Duration::from_secs(1) }
    }

    #[test]
    fn a_query_prints_as_the_reference_does() {
        let mut query = Query {
            is_tls: true,
            task: 3,
            loop_index: 7,
            latency: Duration::from_micros(86_640),
            error: None,
        };
        assert_eq!(
            query.to_string(),
            "query: secure channel, task 3, loop_idx 7, latency(ms) 86.6, tps: 11.5"
        );
        query.is_tls = false;
        assert!(query.to_string().starts_with("query: insecure channel, task 3, "));
        let error = deadline();
        query.error = Some(&error);
        assert!(
            query.to_string().contains("latency(ms) 86.6, error deadline-exceeded: no answer"),
            "{query}"
        );
    }

    #[test]
    fn the_summary_counts_answers_and_errors_apart() {
        let mut tally = Tally::default();
        for milliseconds in 1..=100 {
            tally.record(Duration::from_millis(milliseconds), None);
        }
        let mut other = Tally::default();
        other.record(Duration::from_secs(1), Some(&deadline()));
        other.count_repeated(2);
        tally.add(other);
        let report = tally.report(4, Duration::from_secs(10));

        assert_eq!((report.answered, report.failed, report.repeated), (100, 1, 2));
        assert_eq!(report.errors, [("deadline-exceeded".to_owned(), 1)].into());
        assert!((report.latency_ms.average - 50.5).abs() < 1e-9);
        for (found, wanted) in [
            (report.latency_ms.p50, 50.0),
            (report.latency_ms.p90, 90.0),
            (report.latency_ms.p99, 99.0),
            (report.latency_ms.max, 100.0),
        ] {
            assert!((found / wanted - 1.0).abs() < 0.002, "{found} {wanted}");
        }
        let text = report.to_string();
        assert!(
            text.starts_with(
                "summary: cnum 4, e2e time(s) 10.000000, average latency(ms) 50.500, tps: 10.000\n"
            ),
            "{text}"
        );
        assert!(text.contains("\nlatency(ms): p50 "), "{text}");
        assert!(text.ends_with("\nerror deadline-exceeded: 1"), "{text}");
    }

    #[test]
    fn nothing_answered_is_no_division_by_nothing() {
        let report = Tally::default().report(1, Duration::ZERO);
        assert_eq!((report.tps, report.latency_ms), (0.0, Latency::default()));
        assert!(serde_json::to_string(&report).unwrap().contains("\"tps\":0.0"));
    }
}
