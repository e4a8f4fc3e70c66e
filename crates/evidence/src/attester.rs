//! The side that produces evidence.

use async_trait::async_trait;
use zeroize::Zeroizing;

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

    /// A name for logs, such as "occlum", "tdx", "simulation".
    fn platform(&self) -> &'static str;
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
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttesterError {
    /// This machine or LibOS offers no attestation interface.
    #[error("no TEE found: looked for {looked_for}; run inside one, or ask for simulation by name")]
    NoTee {
        /// The interfaces tried.
        looked_for: String,
    },
    /// An interface is there and failed.
    #[error("{interface}: {operation} failed: {reason}")]
    Interface {
        /// The device, file or service.
        interface: String,
        /// What was tried.
        operation: &'static str,
        /// What it answered.
        reason: String,
    },
    /// The interface answered with something that is not evidence.
    #[error("{interface} returned {found}, expected {expected}")]
    Answer {
        /// The device, file or service.
        interface: String,
        /// What evidence would be.
        expected: String,
        /// What came.
        found: String,
    },
}

impl AttesterError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoTee { .. } => "attester-no-tee",
            Self::Interface { .. } => "attester-interface",
            Self::Answer { .. } => "attester-answer",
        }
    }
}
