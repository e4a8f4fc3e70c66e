//! What the process itself costs, as the kernel says; a LibOS may say nothing,
//! and then these stay at zero.

use std::{fs, path::Path};

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

/// Metrics under the names that every exporter gives them.
#[derive(Debug)]
pub(super) struct Process {
    resident: Gauge,
    open_files: Gauge,
    threads: Gauge,
}

impl Process {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let gauge = |registry: &mut Registry, name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        Self {
            resident: gauge(registry, "process_resident_memory_bytes", "Resident memory"),
            open_files: gauge(registry, "process_open_fds", "Open file descriptors"),
            threads: gauge(registry, "process_threads", "Threads"),
        }
    }

    /// Asks the kernel.
    pub(super) fn look(&self) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<i64>().ok()
        };
        if let Some(kibibytes) = number("VmRSS:") {
            self.resident.set(kibibytes.saturating_mul(1024));
        }
        if let Some(threads) = number("Threads:") {
            self.threads.set(threads);
        }
        if let Ok(entries) = fs::read_dir(Path::new("/proc/self/fd")) {
            self.open_files.set(i64::try_from(entries.count()).unwrap_or(i64::MAX));
        }
    }
}
