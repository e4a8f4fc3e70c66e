//! What many sessions used is given back when they have ended. glibc keeps what
//! was freed in the middle of its heaps; in an enclave, whose memory is fixed,
//! nobody else can have it then. Other C libraries have no such call.

#![allow(unsafe_code)]

use std::{sync::Arc, time::Duration};

use adytum_broker::Broker;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(1);
/// The number of sessions that must have ended: giving memory back costs some milliseconds.
const WORTH: i64 = 32;

/// A session is counted as ended a little before its buffers are free, on a busy machine
/// more than a little. This number of further rounds gives back what was freed since.
const ROUNDS_AFTERWARDS: u32 = 3;

/// Gives back again and again.
pub(crate) async fn keep_giving_back(broker: Arc<Broker>) {
    let mut most = 0;
    let mut rounds = 0_u32;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let open = broker.metrics().open_sessions();
        most = most.max(open);
        // Half of them, so that sessions that come and go all the time are left alone.
        if most - open >= WORTH && 2 * open <= most {
            most = open;
            rounds = ROUNDS_AFTERWARDS + 1;
        }
        if rounds > 0 {
            rounds -= 1;
            // Not on a thread that answers requests.
            let _ = tokio::task::spawn_blocking(give_back).await;
            tracing::debug!(open, "memory of ended sessions was given back");
        }
    }
}

fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) takes the allocator's own locks and touches only
    // memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
