//! The roots that a command trusts, and the source of collateral.

use std::{path::PathBuf, sync::Arc};

use adytum_evidence::{
    clock::{Clock, SystemClock, floor::FloorClock},
    collateral::CollateralSource,
    trust::TrustRoot,
    verifier::Verifier,
};

use crate::{collateral::Places, key_file};

/// More than any certificate has, in bytes.
const MAXIMUM_CERTIFICATE_LENGTH: u64 = 64 * 1024;

/// The trusted roots: Intel's, AMD's, and simulated platforms' if any are named.
#[derive(Debug, clap::Args)]
pub(crate) struct TrustedRoots {
    #[command(flatten)]
    places: Places,
    /// Trust this simulated platform too: its root certificate; may be given several
    /// times. It protects nothing.
    #[cfg(feature = "simulation")]
    #[arg(long, value_name = "ROOT.pem", env = "ADYTUM_TRUST_SIMULATION")]
    trust_simulation: Vec<PathBuf>,
}

impl TrustedRoots {
    /// Verifies evidence by these roots.
    pub(crate) fn verifier(&self) -> anyhow::Result<Verifier> {
        // No tool runs before its sources were written.
        self.verifier_at(Arc::new(FloorClock::new(Arc::new(SystemClock))))
    }

    /// Verifies evidence by these roots and by this clock.
    pub(crate) fn verifier_at(&self, clock: Arc<dyn Clock>) -> anyhow::Result<Verifier> {
        let vendors = [TrustRoot::intel()].into_iter().chain(TrustRoot::amd());
        let roots = vendors.chain(self.simulation_roots()?).collect();
        let source = self.places.source_at(self.simulation_paths(), &clock)?;
        Ok(Verifier::new(roots, source, clock))
    }

    /// Verifies evidence of one simulated platform, by its root and by the collateral
    /// that lies next to it: another platform's would not fit.
    #[cfg(feature = "simulation")]
    pub(crate) fn verifier_on(root: &std::path::Path) -> anyhow::Result<Verifier> {
        Self::simulated(root).verifier()
    }

    /// Trusts one simulated platform, whose collateral lies next to its root.
    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(root: &std::path::Path) -> Self {
        Self { places: Places::default(), trust_simulation: vec![root.to_owned()] }
    }

    /// Trusts the vendors alone.
    pub(crate) fn of_vendors(places: Places) -> Self {
        Self {
            places,
            #[cfg(feature = "simulation")]
            trust_simulation: Vec::new(),
        }
    }

    /// The flags of this, with their values.
    pub(crate) fn flags(&self) -> Vec<(&'static str, String)> {
        let roots = self.simulation_paths().iter();
        let roots = roots.map(|path| ("trust-simulation", path.display().to_string()));
        roots.chain(self.places.flags()).collect()
    }

    /// Where collateral comes from.
    pub(crate) fn source(&self) -> anyhow::Result<Arc<dyn CollateralSource>> {
        self.places.source(self.simulation_paths())
    }

    /// The source of collateral that somebody named, if any.
    pub(crate) fn named_source(&self) -> anyhow::Result<Option<Arc<dyn CollateralSource>>> {
        self.places.is_named().then(|| self.source()).transpose()
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
    fn simulation_paths(&self) -> &[PathBuf] {
        &[]
    }

    /// The roots of the simulated platforms that are trusted.
    #[cfg(feature = "simulation")]
    pub(crate) fn simulation_roots(&self) -> anyhow::Result<Vec<TrustRoot>> {
        use anyhow::Context;

        let paths = self.simulation_paths().iter();
        let root = |(path, text): (&PathBuf, String)| {
            // The parser's own words for a fault name no fact.
            let certificate = pem::parse(&text).map_err(|_| {
                input_error!(
                    "{} is no certificate in PEM; give --trust-simulation the root.pem in a platform's directory",
                    path.display()
                )
            })?;
            ensure_input!(
                certificate.tag() == "CERTIFICATE",
                "{} is no simulated platform's root: expected a certificate in PEM, found {:?}; give --trust-simulation \
                 the root.pem in a platform's directory",
                path.display(),
                certificate.tag()
            );
            TrustRoot::simulation(certificate.contents())
                .with_context(|| format!("{} is no simulated platform's root", path.display()))
        };
        paths.zip(self.simulation_certificates()?).map(root).collect()
    }

    /// The roots of the simulated platforms that are trusted.
    #[cfg(not(feature = "simulation"))]
    pub(crate) fn simulation_roots(&self) -> anyhow::Result<Vec<TrustRoot>> {
        Ok(Vec::new())
    }
}
