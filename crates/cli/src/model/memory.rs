//! The memory that a model takes while it is loaded and afterwards, measured on this process.

use std::fs;

use serde::Serialize;

/// Measured memory, in bytes.
#[derive(Debug, Serialize)]
pub(crate) struct ModelMemory {
    /// Bytes that the loaded model takes.
    pub(crate) rest_bytes: u64,
    /// The most that loading took at one time, the file included.
    pub(crate) load_peak_bytes: u64,
}

/// Bytes of a line of `/proc/self/status`; 0 where there is no such file.
fn status(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|text| text.strip_prefix(line));
    let kilobytes = value.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0).saturating_mul(1024)
}

/// The memory of this process, in bytes.
pub(crate) struct Resident {
    /// Bytes that it allocated: pages of no file.
    allocated: u64,
    /// Bytes in pages of files: the program itself, as far as it ran.
    files: u64,
    /// The most of both since [`forget_peak`].
    peak: u64,
}

impl Resident {
    pub(crate) fn now() -> Self {
        Self { allocated: status("RssAnon:"), files: status("RssFile:"), peak: status("VmHWM:") }
    }

    /// The memory that loading a file of this length added. The file was in memory before.
    pub(crate) fn since(&self, before: &Self, file: u64) -> ModelMemory {
        let without = before.allocated.saturating_sub(file);
        ModelMemory {
            rest_bytes: self.allocated.saturating_sub(without),
            load_peak_bytes: self.peak.saturating_sub(self.files).saturating_sub(without),
        }
    }
}

/// Makes the peak what is resident now (proc(5), `clear_refs`). Where that is not allowed, the peak
/// is that of the process.
pub(crate) fn forget_peak() {
    drop(fs::write("/proc/self/clear_refs", "5"));
}
