//! The C library's allocator, set to keep little.
//!
//! By default glibc has eight arenas a core, and each keeps what was once used
//! in it: with a run's buffers of some ten megabytes that is more than half of
//! a ResNet-50 again, in an enclave whose memory is fixed. With one arena a core
//! the next run on any thread uses what the last one left. (With fewer, threads
//! that serve small models wait for each other's lock.)
//!
//! Other C libraries have no such settings, and nothing is done there.

#![allow(unsafe_code)]

/// Unused memory at the heap's end above this is given back: 8 MiB.
const TRIM_THRESHOLD: i32 = 8 << 20;

/// Allocations from here on come from the system one by one: 32 MiB, the most
/// that glibc lets be set. Below are a run's buffers, which are allocated again
/// with each run and would cost a page fault for each page then.
const MAP_THRESHOLD: i32 = 32 << 20;

/// Sets the limits. To be called before threads are started.
pub fn limit_retention(cores: usize) {
    let arenas = i32::try_from(cores).unwrap_or(i32::MAX);
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value) in [
        (libc::M_ARENA_MAX, arenas),
        (libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD),
        (libc::M_MMAP_THRESHOLD, MAP_THRESHOLD),
    ] {
        // SAFETY: mallopt(3) takes two integers, may be called at any time and
        // only sets parameters; a value it doesn't like it refuses with 0.
        if unsafe { libc::mallopt(parameter, value) } != 1 {
            tracing::debug!(parameter, value, "mallopt");
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = (arenas, TRIM_THRESHOLD, MAP_THRESHOLD);
}

/// Gives back what is free: after a model was loaded or unloaded, and when runs
/// have ended. The end of a heap other than the first stays below [`TRIM_THRESHOLD`]:
/// glibc has no call that gives it back.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) takes the allocator's own locks and touches only
    // memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
