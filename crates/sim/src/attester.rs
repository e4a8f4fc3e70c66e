//! Evidence from a simulated platform in this process.

use std::{fmt, sync::Arc, time::Duration};

use adytum_evidence::{
    attester::{Attester, AttesterError, SealingKey, TeePlatform},
    evidence::Evidence,
    measurement::{MrEnclave, MrSigner, ReportData, Sha256Digest, WorkloadIdentity},
};
use async_trait::async_trait;

use crate::{error::SimError, platform::Platform, quoting::Program};

/// Attests that a workload runs on a simulated platform. Nothing is measured:
/// the platform signs any claims that it is given.
#[derive(Clone)]
pub struct SimAttester {
    platform: Arc<Platform>,
    program: Program,
    quote_latency: Duration,
}

impl SimAttester {
    /// Attests to `identity`, where SGX has MRENCLAVE. MRSIGNER is a constant of
    /// the simulation; product id, security versions and debug are zero and off.
    pub fn new(platform: Arc<Platform>, identity: WorkloadIdentity) -> Self {
        Self { platform, program: Program::of(identity), quote_latency: Duration::ZERO }
    }

    /// Sets MRSIGNER.
    #[must_use]
    pub fn mr_signer(mut self, mr_signer: MrSigner) -> Self {
        self.program.mr_signer = mr_signer;
        self
    }

    /// Sets the product id.
    #[must_use]
    pub fn isv_prod_id(mut self, isv_prod_id: u16) -> Self {
        self.program.isv_prod_id = isv_prod_id;
        self
    }

    /// Sets the product's security version.
    #[must_use]
    pub fn isv_svn(mut self, isv_svn: u16) -> Self {
        self.program.isv_svn = isv_svn;
        self
    }

    /// Sets the configuration's security version.
    #[must_use]
    pub fn config_svn(mut self, config_svn: u16) -> Self {
        self.program.config_svn = config_svn;
        self
    }

    /// Says that a debugger may read the program.
    #[must_use]
    pub fn debug(mut self, debug: bool) -> Self {
        self.program.debug = debug;
        self
    }

    /// Waits this long for each quote, as one waits for hardware.
    #[must_use]
    pub fn quote_latency(mut self, quote_latency: Duration) -> Self {
        self.quote_latency = quote_latency;
        self
    }
}

impl Program {
    /// A program of this identity, without debug, its other numbers zero.
    pub fn of(identity: WorkloadIdentity) -> Self {
        Self {
            mr_enclave: MrEnclave(identity.0),
            mr_signer: default_mr_signer(),
            isv_prod_id: 0,
            isv_svn: 0,
            config_svn: 0,
            debug: false,
        }
    }
}

/// The MRSIGNER of simulated programs that were given no other.
pub fn default_mr_signer() -> MrSigner {
    MrSigner(Sha256Digest::of_bytes(b"Adytum SIMULATION signer").0)
}

#[async_trait]
impl Attester for SimAttester {
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError> {
        if !self.quote_latency.is_zero() {
            tokio::time::sleep(self.quote_latency).await;
        }
        // A process that attests for months keeps the collateral in the directory
        // fresh for verifiers that read it there.
        self.platform.renew_when_due();
        Ok(Evidence::dcap_quote(self.platform.quote(&self.program, report_data)?))
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        Ok(Some(self.platform.sealing_key(&self.program)?))
    }

    fn platform(&self) -> TeePlatform {
        TeePlatform::Simulation
    }
}

impl fmt::Debug for SimAttester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimAttester")
            .field("program", &self.program)
            .field("quote_latency", &self.quote_latency)
            .finish_non_exhaustive()
    }
}

/// The identity of the program that this process runs, where init is a library
/// in it: over its binary and its canonical measured configuration.
///
/// This measures honestly, as hardware would before the first instruction; but
/// here it is the program that measures itself, and a tampered one could say
/// anything. That is one more reason why simulation protects nothing.
pub fn identity_of_this_program(canonical_configuration: &[u8]) -> Result<WorkloadIdentity, SimError> {
    let program = Sha256Digest::of_this_program().map_err(|source| SimError::File {
        operation: "measure",
        path: "/proc/self/exe".into(),
        source,
    })?;
    Ok(WorkloadIdentity::of(program, program, canonical_configuration))
}
