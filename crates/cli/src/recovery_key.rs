//! `adytum recovery-key`: keys of those who may bring a broker's root key back
//! (age X25519). Kept apart from owners' signing keys: who loses one has not lost
//! the other.

use std::path::PathBuf;

use adytum_governance::recovery::sharing::RecoveryIdentity;
use clap::Subcommand;
use zeroize::Zeroizing;

use crate::{key_file, output};

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Make a key. Prints its recipient (age1..), for `[recovery]` in the manifest.
    New {
        /// Where the identity goes (mode 0600); never overwritten. Keep it offline.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the recipient of a key.
    Show { file: PathBuf },
}

pub(crate) fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::New { out } => {
            let identity = RecoveryIdentity::generate();
            let text = Zeroizing::new(format!("{}\n", *identity.to_text()));
            key_file::write_new(&out, text.as_bytes(), 0o600)?;
            output::line(identity.recipient())
        }
        Action::Show { file } => output::line(key_file::recovery_identity(&file)?.recipient()),
    }
}
