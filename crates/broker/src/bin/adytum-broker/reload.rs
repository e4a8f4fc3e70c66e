//! SIGHUP: reads again everything that may change while the broker runs. After a failure
//! the previous value stays in force. Genesis, TEE, addresses and limits are fixed until
//! the end; owners change the manifest and secrets.

use std::sync::Arc;

use adytum_evidence::collateral::CollateralSource;
use tokio::signal::unix::Signal;

use crate::logs::Logs;

/// The log filter can't be read again, so the previous filter stays in force.
///
/// Do: correct the file of `--log-filter-file`, then send SIGHUP again.
///
/// Retry: no
const RELOAD_FAILED: &str = "reload-failed";

/// Reloads with each signal.
pub(crate) async fn on_signal(mut hangup: Signal, logs: Logs, collateral: Arc<dyn CollateralSource>) {
    while hangup.recv().await.is_some() {
        match logs.reload() {
            Ok(true) => tracing::info!("SIGHUP: the log filter was read again"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(
                    code = RELOAD_FAILED,
                    "the previous log filter stays in force; correct --log-filter-file: {error:#}"
                );
            }
        }
        collateral.refresh();
        tracing::info!("SIGHUP: collateral is fetched again with the next use");
    }
}
