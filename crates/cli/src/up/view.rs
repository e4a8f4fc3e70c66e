//! How the service is: a table on a terminal, plain lines elsewhere.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::metrics::Page;
use crate::output;

/// Between two plain lines of figures.
const PLAIN: Duration = Duration::from_secs(60);

/// TensorFlow Serving's names.
const REQUESTS: &str = ":tensorflow:serving:request_count";
const LATENCY: &str = ":tensorflow:serving:request_latency";

/// The figures of a replica.
#[derive(Clone, Debug, Default)]
pub(super) struct Replica {
    pub(super) address: String,
    page: Page,
    seen: Option<Instant>,
    version: Option<u64>,
    rate: f64,
    mean: Option<Duration>,
    slow: Option<Duration>,
    memory: f64,
    errors: Vec<(String, f64)>,
}

impl Replica {
    /// A replica of which nothing is known yet.
    pub(super) fn at(address: String) -> Self {
        Self { address, ..Self::default() }
    }

    /// The newest version that it has loaded.
    pub(super) fn version(&self) -> Option<u64> {
        self.version
    }

    /// Takes note of a newer page; `now` is when it was read.
    pub(super) fn note(&mut self, page: Page, now: Instant) {
        self.version = page.highest("adytum_model_memory_bytes", "version");
        self.memory = page.sum("process_resident_memory_bytes");
        self.errors = page.by_label(REQUESTS, "status");
        self.errors.retain(|(status, _)| status != "OK");
        if let Some(seen) = self.seen {
            let seconds = now.duration_since(seen).as_secs_f64().max(0.001);
            let since = |name: &str| (page.sum(name) - self.page.sum(name)).max(0.0);
            self.rate = since(REQUESTS) / seconds;
            let count = since(&format!("{LATENCY}_count"));
            let sum = since(&format!("{LATENCY}_sum"));
            self.mean = (count > 0.0).then(|| microseconds(sum / count));
            self.slow = page.quantile_since(&self.page, LATENCY, 0.99).map(microseconds);
        }
        self.page = page;
        self.seen = Some(now);
    }
}

/// The figures of a broker.
#[derive(Clone, Debug, Default)]
pub(super) struct Broker {
    pub(super) sessions: f64,
    pub(super) renewals: f64,
    pub(super) refusals: Vec<(String, f64)>,
    /// That of the manifest in force; `None` if it is not known.
    pub(super) manifest_version: Option<u64>,
}

impl Broker {
    /// From its page.
    pub(super) fn of(page: &Page) -> Self {
        let mut refusals = page.by_label("adytum_broker_requests_total", "code");
        refusals.extend(page.by_label("adytum_broker_handshakes_total", "code"));
        refusals.retain(|(code, _)| code != "ok" && code != "accepted");
        Self {
            sessions: page.sum("adytum_broker_sessions"),
            renewals: page.sum("adytum_broker_lease_renewals_total"),
            refusals,
            manifest_version: page.count("adytum_broker_manifest_version"),
        }
    }
}

/// The figures of the whole service.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) replicas: Vec<Replica>,
    pub(super) broker: Broker,
}

impl Figures {
    /// A table.
    fn table(&self) -> String {
        let mut lines = vec![format!(
            "{:<16} {:>4} {:>8} {:>9} {:>9} {:>9}",
            "replica", "ver.", "req/s", "mean", "p99", "memory"
        )];
        for replica in &self.replicas {
            lines.push(format!(
                "{:<16} {:>4} {:>8.1} {:>9} {:>9} {:>9}",
                replica.address,
                replica.version.map_or_else(|| "-".to_owned(), |version| version.to_string()),
                replica.rate,
                milliseconds(replica.mean),
                milliseconds(replica.slow),
                megabytes(replica.memory),
            ));
        }
        lines.push(format!(
            "{:<16} {} attested sessions, {} lease renewals",
            "broker", self.broker.sessions, self.broker.renewals
        ));
        let refused = self.refused();
        if !refused.is_empty() {
            lines.push(format!("{:<16} {refused}", "refused"));
        }
        lines.push("Ctrl-C stops everything.".to_owned());
        lines.join("\n")
    }

    /// One line.
    fn line(&self) -> String {
        let rate: f64 = self.replicas.iter().map(|replica| replica.rate).sum();
        let memory: f64 = self.replicas.iter().map(|replica| replica.memory).sum();
        let slow = self.replicas.iter().filter_map(|replica| replica.slow).max();
        let refused = self.refused();
        format!(
            "{} replicas, {rate:.1} requests a second, p99 {}, {}{}",
            self.replicas.len(),
            milliseconds(slow),
            megabytes(memory),
            if refused.is_empty() { String::new() } else { format!("; refused: {refused}") }
        )
    }

    /// What the broker and the replicas refused, with how often.
    fn refused(&self) -> String {
        let broker = self.broker.refusals.iter().map(|(code, count)| format!("{code} {count} (broker)"));
        let replicas = self.replicas.iter().flat_map(|replica| &replica.errors);
        let replicas = replicas.map(|(status, count)| format!("{status} {count}"));
        broker.chain(replicas).collect::<Vec<_>>().join(", ")
    }
}

/// A time in microseconds, as metrics have it; the last bucket has no bound.
fn microseconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value / 1e6).unwrap_or(Duration::MAX)
}

fn milliseconds(value: Option<Duration>) -> String {
    match value {
        Some(Duration::MAX) => "long".to_owned(),
        Some(value) => format!("{:.1} ms", value.as_secs_f64() * 1e3),
        None => "-".to_owned(),
    }
}

fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

/// Where figures and events are shown.
pub(super) struct View {
    table: Option<ProgressBar>,
    next_line: Instant,
}

impl View {
    /// A table if this is a terminal.
    pub(super) fn new() -> Self {
        let table = io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout_with_hz(4));
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { table, next_line: Instant::now() + PLAIN }
    }

    /// Something has happened.
    pub(super) fn event(&self, line: &str) -> anyhow::Result<()> {
        match &self.table {
            Some(table) => {
                table.println(line);
                Ok(())
            }
            None => output::line(line),
        }
    }

    /// Shows figures.
    pub(super) fn show(&mut self, figures: &Figures) -> anyhow::Result<()> {
        if let Some(table) = &self.table {
            table.set_message(figures.table());
            table.tick();
        } else if Instant::now() >= self.next_line {
            self.next_line = Instant::now() + PLAIN;
            return output::line(figures.line());
        }
        Ok(())
    }

    /// Takes the table away.
    pub(super) fn close(&self) {
        if let Some(table) = &self.table {
            table.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_time_between_two_pages() {
        let page = |count: u32| {
            let text = format!(
                "{REQUESTS}{{model_name=\"m\",status=\"OK\"}} {count}\n\
                 {REQUESTS}{{model_name=\"m\",status=\"NOT_FOUND\"}} 1\n\
                 {LATENCY}_count{{model_name=\"m\"}} {count}\n{LATENCY}_sum{{model_name=\"m\"}} {}\n\
                 adytum_model_memory_bytes{{model_name=\"m\",version=\"3\"}} 5\n\
                 process_resident_memory_bytes 42500000\n",
                count * 2000
            );
            Page::from(text)
        };
        let began = Instant::now();
        let mut replica = Replica::at("localhost:1".to_owned());
        replica.note(page(10), began);
        replica.note(page(30), began + Duration::from_secs(2));
        assert_eq!(
            (replica.rate, replica.mean, replica.version()),
            (10.0, Some(Duration::from_millis(2)), Some(3))
        );
        let figures = Figures { replicas: vec![replica], broker: Broker::default() };
        let table = figures.table();
        assert!(table.contains("10.0") && table.contains("2.0 ms") && table.contains("42.5 MB"), "{table}");
        assert!(figures.line().contains("refused: NOT_FOUND 1"), "{}", figures.line());
    }
}
