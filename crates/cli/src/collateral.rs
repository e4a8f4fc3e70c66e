//! Where collateral comes from.

use std::{path::Path, sync::Arc};

use adytum_evidence::collateral::{CollateralSource, DirectorySource, from_url};
use anyhow::bail;

/// The source that was asked for; else the directory beside a simulated
/// platform's root, where that platform puts its own.
pub(crate) fn source(
    given: Option<&str>,
    simulation_root: Option<&Path>,
) -> anyhow::Result<Arc<dyn CollateralSource>> {
    // An empty PCCS_URL means the same as none.
    match given.filter(|given| !given.is_empty()) {
        Some(url) if url.contains("://") => Ok(from_url(url)?),
        Some(directory) => Ok(Arc::new(DirectorySource::new(directory))),
        None => {
            let beside = simulation_root.and_then(Path::parent).map(|parent| parent.join("collateral"));
            match beside.filter(|directory| directory.is_dir()) {
                Some(directory) => Ok(Arc::new(DirectorySource::new(directory))),
                None => bail!(
                    "evidence can't be verified without collateral; name a PCCS or a directory with \
                     --collateral or in PCCS_URL"
                ),
            }
        }
    }
}
