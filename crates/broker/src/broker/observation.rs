//! What those see of a broker who run it.

use adytum_evidence::clock::floor::ClockWarning;
use adytum_governance::audit::events::Event;
use tokio::sync::watch;

use super::Broker;
use crate::telemetry::{
    health::{NotReady, Observable},
    metrics::MetricsReading,
};

impl Broker {
    /// Records once in this run that the host's clock is not believed. Ends with the clock.
    pub async fn notice_clock(&self, mut warnings: watch::Receiver<Option<ClockWarning>>) {
        loop {
            let warning = *warnings.borrow_and_update();
            if let Some(warning @ ClockWarning::BelowFloor { .. }) = warning {
                let (code, text) = (warning.code(), warning.to_string());
                let manifest_version = self.state().manifest_version();
                match self.record(&[Event::Noticed { code, text, manifest_version }]).await {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(code = error.code(), %error, "not recorded: {warning}"),
                }
            }
            if warnings.changed().await.is_err() {
                return;
            }
        }
    }

    /// Would a workload that is entitled to a secret get it?
    pub fn readiness(&self) -> Result<(), NotReady> {
        if self.is_fenced() {
            Err(NotReady::Fenced)
        } else if self.draining() {
            Err(NotReady::Draining)
        } else if !self.store().works() {
            Err(NotReady::StoreFailed)
        } else if self.awaiting_confirmation() {
            Err(NotReady::AwaitingConfirmation)
        } else {
            Ok(())
        }
    }

    /// Its metrics in the text form of OpenMetrics.
    pub fn metrics_text(&self) -> String {
        let state = self.state();
        // Nobody may have asked for the time for a while.
        self.now();
        self.metrics().encode(MetricsReading {
            clock_floor: self.clock.floor().0,
            clock_is_below_floor: self.clock.is_below_floor(),
            audit_size: self.store().head().audit_size,
            manifest_version: state.manifest_version(),
            epoch: state.epoch,
            ready: self.readiness().is_ok(),
        })
    }
}

impl Observable for Broker {
    fn readiness(&self) -> Result<(), NotReady> {
        Self::readiness(self)
    }

    fn metrics_text(&self) -> String {
        Self::metrics_text(self)
    }
}
