//! The programs that are started: those next to this one.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The programs of a service.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) adytum: PathBuf,
    pub(super) broker: PathBuf,
    pub(super) serving: PathBuf,
}

impl Programs {
    /// The programs in the directory of this one.
    pub(super) fn next_to_this() -> anyhow::Result<Self> {
        let adytum = std::env::current_exe().context("the path of this program")?;
        let directory = adytum.parent().unwrap_or(Path::new("/")).to_owned();
        let find = |name: &str| {
            let path = directory.join(name);
            if !path.is_file() {
                bail!(
                    "{name} is not in {}, where this program is: build all programs of the workspace, or put them into one \
                     directory",
                    directory.display()
                );
            }
            Ok(path)
        };
        Ok(Self { broker: find("adytum-broker")?, serving: find("adytum-serving")?, adytum })
    }
}
