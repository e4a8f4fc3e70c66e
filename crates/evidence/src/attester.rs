//! The side that produces evidence.

#[cfg(feature = "collect")]
mod detection;
#[cfg(feature = "collect")]
mod endorsed;
#[cfg(feature = "collect")]
mod files;
#[cfg(test)]
#[cfg(feature = "collect")]
mod fixture;
#[cfg(feature = "collect")]
mod gramine;
#[cfg(feature = "collect")]
mod occlum;
#[cfg(feature = "collect")]
mod occlum_ioctl;
mod platform;
#[cfg(feature = "collect")]
mod tsm;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use self::platform::{TeeInterface, TeePlatform, UnknownTee};
#[cfg(feature = "collect")]
pub use self::{
    detection::detect,
    endorsed::{Endorsed, endorsed},
    gramine::{GRAMINE_DIRECTORY, Gramine},
    occlum::{OCCLUM_DEVICE, Occlum},
    tsm::{TSM_DIRECTORY, Tsm},
};
#[cfg(feature = "collect")]
use crate::dcap::parse_dcap;
use crate::{evidence::Evidence, measurement::ReportData};

/// Produces evidence about the program that runs here.
#[async_trait]
pub trait Attester: Send + Sync {
    /// Evidence with these 64 bytes bound into it.
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError>;

    /// A key that only this code on this CPU can have again (SGX: a key derived
    /// with the MRENCLAVE policy), or `None` where the platform has no such
    /// thing.
    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError>;

    /// What it is.
    fn platform(&self) -> TeePlatform;
}

/// 32 bytes known to this code on this CPU only.
#[derive(Clone)]
pub struct SealingKey(pub Zeroizing<[u8; 32]>);

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey(..)")
    }
}

/// Why no evidence was produced.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttesterError {
    /// This machine or LibOS has no attestation interface that is known here.
    ///
    /// Do: run inside a TEE; to try Adytum without one, give `--tee
    /// simulation=DIRECTORY`.
    #[error("no TEE found: looked for {looked_for}; run inside one, or ask for simulation by name")]
    NoTee { looked_for: String },
    /// The TEE's interface is there, and an operation on it failed.
    ///
    /// Do: read the system's reason in the message; check that the process may use the
    /// device or service and that the quoting service runs.
    ///
    /// Retry: later
    #[error("{interface}: {operation} failed: {reason}")]
    Interface {
        /// The device, file or service.
        interface: String,
        operation: &'static str,
        reason: String,
    },
    /// The TEE's interface returned something other than evidence.
    ///
    /// Do: update the guest's kernel, the LibOS or the quoting service, then try again.
    #[error("{interface} returned {found}, expected {expected}")]
    Answer {
        /// The device, file or service.
        interface: String,
        /// What evidence would be.
        expected: String,
        found: String,
    },
    /// As many quotes are being made as this side lets wait.
    ///
    /// See: ScheduleError::Overloaded.
    #[error("as many quotes are being made as this side lets wait; try again shortly")]
    Overloaded,
    /// The attestation service, whose token is this program's evidence, gave none.
    #[error("{reason}")]
    Service { code: &'static str, retry: bool, reason: String },
}

impl AttesterError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoTee { .. } => "attester-no-tee",
            Self::Interface { .. } => "attester-interface",
            Self::Answer { .. } => "attester-answer",
            Self::Overloaded => "overloaded",
            Self::Service { code, .. } => code,
        }
    }
}

/// Platforms' interfaces block, for tens of milliseconds where a quoting enclave or the
/// host is asked. Work that has begun goes on to its end, also when its caller is gone: a
/// limit on it must wait for that end.
#[cfg(feature = "collect")]
async fn blocking<T: Send + 'static>(
    interface: &'static str,
    work: impl FnOnce() -> Result<T, AttesterError> + Send + 'static,
) -> Result<T, AttesterError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(AttesterError::Interface {
            interface: interface.to_owned(),
            operation: "wait for the answer",
            reason: error.to_string(),
        })
    })
}

/// A platform's answer, if it is a quote over this report data. A peer would
/// find out as well, but could not say so where it can be mended.
#[cfg(feature = "collect")]
fn checked_dcap_quote(
    interface: &str,
    quote: Vec<u8>,
    report_data: ReportData,
) -> Result<Evidence, AttesterError> {
    let answer = |expected: &str, found: String| AttesterError::Answer {
        interface: interface.to_owned(),
        expected: expected.to_owned(),
        found,
    };
    let parsed = parse_dcap(&quote).map_err(|error| answer("a DCAP quote", error.to_string()))?;
    match parsed.report_data(&quote) {
        Some(found) if found == report_data => Ok(Evidence::dcap_quote(quote)),
        _ => {
            Err(answer("a quote over the report data asked for", "a quote over other report data".to_owned()))
        }
    }
}
