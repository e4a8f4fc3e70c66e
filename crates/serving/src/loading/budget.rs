//! The memory that models may take, so that loading one never ends the process.

use std::fs;

/// The peak of loading, in percent of the file, and bytes on top (measured: at most 1.6
/// times the file and 32 MB).
const PEAK: (u64, u64) = (160, 32 << 20);

/// What stays when a model is loaded, in percent of the file, and the most bytes on top
/// (measured: at most 1.4 times the file and 16 MB; small models take less).
const STEADY: (u64, u64) = (140, 16 << 20);

/// What even the smallest model takes in bytes.
const SMALLEST: u64 = 1 << 20;

/// What happens if a new version does not fit next to the old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub enum WhenShort {
    /// The new version is refused, and the old one goes on.
    #[default]
    Refuse,
    /// The old version is unloaded first. The model answers nothing meanwhile.
    Release,
}

/// The memory for all models.
#[derive(Clone, Copy, Debug)]
pub struct MemoryBudget {
    /// In bytes; `None` without a limit.
    pub limit: Option<u64>,
    /// If a version does not fit.
    pub when_short: WhenShort,
}

/// What a model needs, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// While it is loaded.
    pub(super) peak: u64,
    /// From then on.
    pub(super) steady: u64,
}

impl Need {
    /// Of a model whose files have so many bytes.
    pub(super) fn of(size: u64) -> Self {
        let scaled = |percent: u64| size.div_ceil(100).saturating_mul(percent);
        let more = STEADY.1.min(size.saturating_add(SMALLEST));
        Self { peak: scaled(PEAK.0).saturating_add(PEAK.1), steady: scaled(STEADY.0).saturating_add(more) }
    }
}

impl MemoryBudget {
    /// Whether a model fits next to those that take `used` bytes.
    pub(super) fn fits(&self, used: u64, need: Need) -> bool {
        self.limit.is_none_or(|limit| used.saturating_add(need.peak) <= limit)
    }
}

/// The memory that this process may use, in bytes: its cgroup's limit, else the
/// machine's memory. The host says it, and can only make the server refuse models.
pub fn available_memory() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let limit = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let group =
        limit("/sys/fs/cgroup/memory.max").or_else(|| limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    let machine = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.to_owned();
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    group.into_iter().chain(machine).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_fits_while_its_peak_does() {
        let need = Need::of(100 << 20);
        assert!(need.peak >= 192 << 20 && need.peak < 193 << 20);
        assert!(Need::of(1000).steady < 2 << 20);
        let budget = |limit| MemoryBudget { limit, when_short: WhenShort::Refuse };
        assert!(budget(Some(193 << 20)).fits(0, need));
        assert!(!budget(Some(193 << 20)).fits(2 << 20, need));
        assert!(budget(None).fits(u64::MAX, need));
        assert!(!budget(Some(u64::MAX - 1)).fits(u64::MAX, Need::of(u64::MAX)));
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(available_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
