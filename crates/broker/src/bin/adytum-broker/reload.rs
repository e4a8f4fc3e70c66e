//! What SIGHUP does: read again what may change while the broker runs. What
//! fails leaves what was in force. Genesis, TEE, addresses and limits are fixed
//! until the end; manifest and secrets are owners' business.

use std::sync::Arc;

use adytum_evidence::collateral::CollateralSource;
use tokio::signal::unix::Signal;

use crate::logs::Logs;

/// Reloads with each signal.
pub(crate) async fn on_signal(mut hangup: Signal, logs: Logs, collateral: Arc<dyn CollateralSource>) {
    while hangup.recv().await.is_some() {
        match logs.reload() {
            Ok(true) => tracing::info!("SIGHUP: the log filter was read again"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(code = "reload-failed", "the former log filter stays: {error:#}");
            }
        }
        collateral.refresh();
        tracing::info!("SIGHUP: collateral is fetched anew with the next use");
    }
}
