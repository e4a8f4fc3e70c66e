//! Where collateral comes from.

use std::{path::PathBuf, sync::Arc};

use adytum_evidence::{
    clock::{Clock, SystemClock},
    collateral::{
        Collateral, CollateralError, CollateralRequest, CollateralSource, DirectorySource, from_places,
    },
};

/// Where to get what vendors publish to verify evidence.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Places {
    /// Where to get what vendors publish to verify evidence: a PCCS (URL) or a
    /// directory.
    #[arg(long, env = "PCCS_URL", value_name = "URL|DIRECTORY")]
    collateral: Option<String>,
    /// SEV-SNP: where to get AMD's certificates, a KDS (URL) or a directory; by default
    /// the directory that --collateral names, else AMD's own KDS.
    #[arg(long, env = "AMD_KDS_URL", value_name = "URL|DIRECTORY")]
    amd_kds: Option<String>,
}

impl Places {
    /// The PCCS or directory that somebody named.
    pub(crate) fn pccs(&self) -> Option<&str> {
        self.collateral.as_deref().filter(|place| !place.is_empty())
    }

    /// The KDS or directory that somebody named.
    pub(crate) fn amd_kds(&self) -> Option<&str> {
        self.amd_kds.as_deref().filter(|place| !place.is_empty())
    }

    /// The flags of this, with their values.
    pub(crate) fn flags(&self) -> impl Iterator<Item = (&'static str, String)> {
        let named = [("collateral", &self.collateral), ("amd-kds", &self.amd_kds)].into_iter();
        named.filter_map(|(flag, place)| Some((flag, place.clone().filter(|place| !place.is_empty())?)))
    }

    /// Did somebody name a source?
    pub(crate) fn is_named(&self) -> bool {
        [&self.collateral, &self.amd_kds].into_iter().flatten().any(|place| !place.is_empty())
    }

    /// The source that was asked for; where none is named, the directories next to
    /// simulated platforms' roots, where those platforms put their own.
    pub(crate) fn source(&self, simulation_roots: &[PathBuf]) -> anyhow::Result<Arc<dyn CollateralSource>> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        self.source_at(simulation_roots, &clock)
    }

    /// The same by another clock.
    pub(crate) fn source_at(
        &self,
        simulation_roots: &[PathBuf],
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Arc<dyn CollateralSource>> {
        let neighbours = simulation_roots.iter().filter_map(|root| Some(root.parent()?.join("collateral")));
        let neighbours: Vec<_> =
            neighbours.filter(|place| place.is_dir()).map(DirectorySource::new).collect();
        let neighbours =
            (!neighbours.is_empty()).then(|| Arc::new(AnyOf(neighbours)) as Arc<dyn CollateralSource>);
        from_places(self.collateral.as_deref(), self.amd_kds.as_deref(), neighbours, clock)?.ok_or_else(|| input_error!(
            "evidence can't be verified without collateral; name a PCCS or a directory with --collateral or in \
             PCCS_URL, or for SEV-SNP a KDS or a directory with --amd-kds or in AMD_KDS_URL"
        ))
    }
}

/// The first of several platforms' directories that has what is asked for.
struct AnyOf(Vec<DirectorySource>);

#[async_trait::async_trait]
impl CollateralSource for AnyOf {
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
        let CollateralRequest::Dcap(_) = request else {
            return Err(CollateralError::NoSource { what: request.to_string() });
        };
        let mut answer = Err(CollateralError::Missing {
            origin: "no directory".to_owned(),
            what: "collateral".to_owned(),
        });
        for source in &self.0 {
            answer = source.collateral(request).await;
            if answer.is_ok() {
                break;
            }
        }
        answer
    }
}
