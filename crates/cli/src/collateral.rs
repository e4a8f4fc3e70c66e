//! Where collateral comes from.

use std::{path::PathBuf, sync::Arc};

use adytum_evidence::collateral::{
    CollateralError, CollateralRequest, CollateralSource, DirectorySource, QuoteCollateralV3, from_url,
};
use anyhow::bail;

/// The source that was asked for; else the directories beside simulated platforms'
/// roots, where those platforms put their own.
pub(crate) fn source(
    given: Option<&str>,
    simulation_roots: &[PathBuf],
) -> anyhow::Result<Arc<dyn CollateralSource>> {
    // An empty PCCS_URL means the same as none.
    match given.filter(|given| !given.is_empty()) {
        Some(url) if url.contains("://") => Ok(from_url(url)?),
        Some(directory) => Ok(Arc::new(DirectorySource::new(directory))),
        None => {
            let beside = simulation_roots.iter().filter_map(|root| Some(root.parent()?.join("collateral")));
            let sources: Vec<_> = beside.filter(|place| place.is_dir()).map(DirectorySource::new).collect();
            if sources.is_empty() {
                bail!(
                    "evidence can't be verified without collateral; name a PCCS or a directory with \
                     --collateral or in PCCS_URL"
                );
            }
            Ok(Arc::new(AnyOf(sources)))
        }
    }
}

/// The first of several platforms' directories that has what is asked for.
struct AnyOf(Vec<DirectorySource>);

#[async_trait::async_trait]
impl CollateralSource for AnyOf {
    async fn collateral(
        &self,
        request: &CollateralRequest,
    ) -> Result<Arc<QuoteCollateralV3>, CollateralError> {
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
