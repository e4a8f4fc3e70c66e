//! The programs of a service: those next to this one, or in a directory that somebody names.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The programs of a service.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The program that runs now.
    pub(crate) adytum: PathBuf,
    pub(crate) broker: PathBuf,
    pub(crate) serving: PathBuf,
}

impl Programs {
    /// The programs in a directory; by default that of this one.
    pub(crate) fn find(directory: Option<&Path>) -> anyhow::Result<Self> {
        let adytum = std::env::current_exe().context("the path of this program")?;
        let own = adytum.parent().unwrap_or(Path::new("/"));
        let find = |name: &str| {
            let path = directory.unwrap_or(own).join(name);
            match (path.is_file(), directory) {
                (true, _) => anyhow::Ok(path),
                (false, Some(directory)) => bail_input!(
                    "{name} is not in {}; give the directory of the programs with --programs",
                    directory.display()
                ),
                (false, None) => bail_input!(
                    "{name} is not in {}, where this program is: build all programs of the workspace, or put them into \
                     one directory",
                    own.display()
                ),
            }
        };
        Ok(Self { broker: find("adytum-broker")?, serving: find("adytum-serving")?, adytum })
    }
}
