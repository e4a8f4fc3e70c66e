//! Whose evidence counts for a command, and where collateral comes from.

use std::{path::PathBuf, sync::Arc};

use adytum_evidence::{
    clock::SystemClock, collateral::CollateralSource, trust::TrustRoot, verifier::Verifier,
};

use crate::{collateral, key_file};

/// More than any certificate has, in bytes.
const MAXIMUM_CERTIFICATE_LENGTH: u64 = 64 * 1024;

/// Whose evidence counts: Intel's, and simulated platforms' if any are named.
#[derive(Debug, clap::Args)]
pub(crate) struct Trusted {
    /// Where to get what vendors publish to verify evidence: a PCCS (URL) or a
    /// directory.
    #[arg(long, env = "PCCS_URL", value_name = "URL|DIRECTORY")]
    collateral: Option<String>,
    /// Trust this simulated platform too: its root certificate; may be given several
    /// times. It protects nothing.
    #[cfg(feature = "simulation")]
    #[arg(long, value_name = "ROOT.pem")]
    trust_simulation: Vec<PathBuf>,
}

impl Trusted {
    /// Verifies evidence by these roots.
    pub(crate) fn verifier(&self) -> anyhow::Result<Verifier> {
        let roots = [TrustRoot::intel()].into_iter().chain(self.simulation_roots()?).collect();
        Ok(Verifier::new(roots, self.source()?, Arc::new(SystemClock)))
    }

    /// Where collateral comes from.
    pub(crate) fn source(&self) -> anyhow::Result<Arc<dyn CollateralSource>> {
        collateral::source(self.collateral.as_deref(), self.simulation_paths())
    }

    /// Is a simulated platform trusted?
    pub(crate) fn simulation(&self) -> bool {
        !self.simulation_paths().is_empty()
    }

    /// The root certificates of the simulated platforms that are trusted, in PEM.
    pub(crate) fn simulation_certificates(&self) -> anyhow::Result<Vec<String>> {
        let read = |path: &PathBuf| Ok(key_file::read_text(path, MAXIMUM_CERTIFICATE_LENGTH)?.to_string());
        self.simulation_paths().iter().map(read).collect()
    }

    #[cfg(feature = "simulation")]
    fn simulation_paths(&self) -> &[PathBuf] {
        &self.trust_simulation
    }

    #[cfg(not(feature = "simulation"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    fn simulation_paths(&self) -> &[PathBuf] {
        &[]
    }

    /// The roots of the simulated platforms that are trusted.
    #[cfg(feature = "simulation")]
    pub(crate) fn simulation_roots(&self) -> anyhow::Result<Vec<TrustRoot>> {
        use anyhow::Context;

        let paths = self.simulation_paths().iter();
        let root = |(path, text): (&PathBuf, String)| {
            let certificate = pem::parse(&text).with_context(|| format!("{} is not PEM", path.display()))?;
            TrustRoot::simulation(certificate.contents())
                .with_context(|| format!("{} is no simulated platform's root", path.display()))
        };
        paths.zip(self.simulation_certificates()?).map(root).collect()
    }

    /// The roots of the simulated platforms that are trusted.
    #[cfg(not(feature = "simulation"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as with the feature")]
    pub(crate) fn simulation_roots(&self) -> anyhow::Result<Vec<TrustRoot>> {
        Ok(Vec::new())
    }
}
