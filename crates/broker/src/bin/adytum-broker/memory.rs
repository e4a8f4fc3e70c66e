//! The memory of many sessions is given back when they have ended. glibc keeps what
//! was freed in the middle of its heaps; in an enclave, whose memory is fixed,
//! nobody else can have it then. Other C libraries have no such call.
//!
//! The count of sessions does not say when: a session is counted as ended before its buffers are
//! free, on a busy machine seconds before. So the memory itself is looked at.

use std::time::Duration;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Unused memory that is worth giving back, which takes some milliseconds: 4 MiB.
const WORTH: usize = 4 << 20;

/// For this number of looks memory must have been unused. So sessions that come and go all the
/// time keep theirs.
const LOOKS: usize = 3;

/// Gives back again and again.
pub(crate) async fn keep_giving_back() {
    let mut unused = Unused::default();
    loop {
        tokio::time::sleep(INTERVAL).await;
        // Not on a thread that answers requests: both take the allocator's locks.
        let Ok(bytes) = tokio::task::spawn_blocking(allocator::unused).await else { continue };
        let Some(bytes) = bytes else { return };
        if unused.is_worth_it(bytes) {
            let _ = tokio::task::spawn_blocking(allocator::give_back).await;
            if let Ok(Some(left)) = tokio::task::spawn_blocking(allocator::unused).await {
                unused.was_given_back(left);
                tracing::debug!(bytes, left, "unused memory was given back");
            }
        }
    }
}

/// The unused memory of the last looks.
#[derive(Debug, Default)]
struct Unused {
    looks: [usize; LOOKS],
    /// Bytes that could not be given back: parts of pages that are used.
    rest: usize,
}

impl Unused {
    /// Takes a look. Whether so much was unused all the time that it is worth giving back.
    fn is_worth_it(&mut self, bytes: usize) -> bool {
        self.looks.rotate_left(1);
        self.looks[LOOKS - 1] = bytes;
        let least = self.looks.iter().copied().min().unwrap_or(0);
        self.rest = self.rest.min(least);
        least >= self.rest + WORTH
    }

    fn was_given_back(&mut self, left: usize) {
        (self.looks, self.rest) = ([left; LOOKS], left);
    }
}

/// The C library's allocator.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod allocator {
    #![allow(unsafe_code)]

    /// Bytes that the process has and does not use; `None` if that can't be known.
    pub(super) fn unused() -> Option<usize> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        // SAFETY: mallinfo2(3) takes the allocator's own locks and only reads.
        let heap = unsafe { libc::mallinfo2() };
        Some((kibibytes << 10).saturating_sub(heap.uordblks + heap.hblkhd))
    }

    /// Gives back what is free.
    pub(super) fn give_back() {
        // SAFETY: malloc_trim(3) takes the allocator's own locks and touches only
        // memory that is free.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod allocator {
    pub(super) fn unused() -> Option<usize> {
        None
    }

    pub(super) fn give_back() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_stays_unused_is_worth_giving_back() {
        let mut unused = Unused::default();
        assert!(!unused.is_worth_it(9 * WORTH));
        assert!(!unused.is_worth_it(9 * WORTH));
        assert!(unused.is_worth_it(9 * WORTH));
        unused.was_given_back(2 * WORTH);
        // The rest that could not be given back is not tried again.
        assert!((0..10).all(|_| !unused.is_worth_it(2 * WORTH)));
        // Memory that is used again meanwhile is left alone.
        assert!((0..10).all(|look| !unused.is_worth_it(if look % 2 == 0 { 9 * WORTH } else { WORTH })));
        assert!((0..LOOKS).any(|_| unused.is_worth_it(9 * WORTH)));
    }
}
