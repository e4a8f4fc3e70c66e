//! The floor under the broker's clock outlives the process (ARCHITECTURE.md, invariant 8).
//! What the floor is, is in [`adytum_evidence::clock::floor`].

use adytum_evidence::clock::{UnixSeconds, floor::FloorClock};

use crate::store::{Change, Store};

/// Keeps the dates that were seen in the store whenever they rise, until the clock is
/// dropped.
pub async fn keep_floor(clock: &FloorClock, store: &Store) {
    let mut kept = clock.kept();
    loop {
        let risen = *kept.borrow_and_update();
        if risen > UnixSeconds(0) {
            let change = Change { clock_floor: Some(risen), ..Change::default() };
            if let Err(error) = store.commit(change).await {
                tracing::warn!(code = error.code(), %error, "the floor under the clock was not kept");
            }
        }
        if kept.changed().await.is_err() {
            return;
        }
    }
}
