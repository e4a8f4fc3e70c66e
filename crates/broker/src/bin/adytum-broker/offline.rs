//! Commands about the state of a broker that does not run.

use std::{ffi::OsStr, path::PathBuf};

use adytum_broker::store;
use clap::Parser;

/// A command about the state of a broker that does not run. The copy stays encrypted:
/// neither command needs a key.
#[derive(Debug, Parser)]
#[command(name = "adytum-broker", version)]
pub(crate) enum Offline {
    /// Copy the state of a broker that does not run.
    Backup {
        /// Where the broker keeps its state.
        #[arg(long, value_name = "DIRECTORY")]
        state_directory: PathBuf,
        /// Where the copy goes; never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Put a backup into an empty state directory. When the broker runs again, it waits
    /// for `adytum broker confirm`, unless its manifest says otherwise.
    Restore {
        /// Where the broker keeps its state.
        #[arg(long, value_name = "DIRECTORY")]
        state_directory: PathBuf,
        /// The file that `adytum-broker backup` wrote.
        backup: PathBuf,
    },
}

impl Offline {
    /// The command, if the first argument names one; else the arguments are a broker's.
    pub(crate) fn asked_for() -> Option<Self> {
        let first = std::env::args_os().nth(1)?;
        ["backup", "restore"].map(OsStr::new).contains(&first.as_os_str()).then(Self::parse)
    }

    /// Carries it out, and says what was done.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Backup { state_directory, out } => {
                let genesis = store::backup(&state_directory, &out)?;
                println!("{} is a backup of the broker with genesis {genesis}", out.display());
            }
            Self::Restore { state_directory, backup } => {
                let genesis = store::restore(&backup, &state_directory)?;
                let state = state_directory.display();
                println!("{state} has the state of the broker with genesis {genesis}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_hold_together() {
        Offline::command().debug_assert();
    }
}
