//! What those see of a broker who run it.

use super::Broker;
use crate::telemetry::{
    health::{NotReady, Observable},
    metrics::MetricsReading,
};

impl Broker {
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
        self.metrics().encode(MetricsReading {
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
