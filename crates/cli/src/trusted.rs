//! Whose evidence counts for a command, and where collateral comes from.

use std::{path::Path, sync::Arc};

use adytum_evidence::{
    clock::SystemClock, collateral::CollateralSource, trust::TrustRoot, verifier::Verifier,
};

use crate::collateral;
#[cfg(feature = "simulation")]
use crate::key_file;

/// More than any certificate has, in bytes.
#[cfg(feature = "simulation")]
const MAXIMUM_CERTIFICATE_LENGTH: u64 = 64 * 1024;

/// Whose evidence counts: Intel's, and a simulated platform's if one is named.
#[derive(Debug, clap::Args)]
pub(crate) struct Trusted {
    /// Where to get what vendors publish to verify evidence: a PCCS (URL) or a
    /// directory.
    #[arg(long, env = "PCCS_URL", value_name = "URL|DIRECTORY")]
    collateral: Option<String>,
    /// Trust this simulated platform too: its root certificate. It protects
    /// nothing.
    #[cfg(feature = "simulation")]
    #[arg(long, value_name = "ROOT.pem")]
    trust_simulation: Option<std::path::PathBuf>,
}

impl Trusted {
    /// Verifies evidence by these roots.
    pub(crate) fn verifier(&self) -> anyhow::Result<Verifier> {
        let roots = [TrustRoot::intel()].into_iter().chain(self.simulation_root()?).collect();
        Ok(Verifier::new(roots, self.source()?, Arc::new(SystemClock)))
    }

    /// Where collateral comes from.
    pub(crate) fn source(&self) -> anyhow::Result<Arc<dyn CollateralSource>> {
        collateral::source(self.collateral.as_deref(), self.simulation_path())
    }

    #[cfg(feature = "simulation")]
    fn simulation_path(&self) -> Option<&Path> {
        self.trust_simulation.as_deref()
    }

    #[cfg(not(feature = "simulation"))]
    fn simulation_path(&self) -> Option<&Path> {
        None
    }

    /// The root of the simulated platform, if one is trusted.
    #[cfg(feature = "simulation")]
    pub(crate) fn simulation_root(&self) -> anyhow::Result<Option<TrustRoot>> {
        use anyhow::Context;

        let Some(path) = &self.trust_simulation else { return Ok(None) };
        let text = key_file::read_text(path, MAXIMUM_CERTIFICATE_LENGTH)?;
        let certificate =
            pem::parse(text.as_str()).with_context(|| format!("{} is not PEM", path.display()))?;
        let root = TrustRoot::simulation(certificate.contents())
            .with_context(|| format!("{} is no simulated platform's root", path.display()))?;
        Ok(Some(root))
    }

    /// The root of the simulated platform, if one is trusted.
    #[cfg(not(feature = "simulation"))]
    pub(crate) fn simulation_root(&self) -> anyhow::Result<Option<TrustRoot>> {
        Ok(None)
    }
}
