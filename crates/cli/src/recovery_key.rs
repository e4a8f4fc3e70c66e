//! `adytum recovery-key`: keys of those who may bring a broker's root key back
//! (age X25519). Kept apart from owners' signing keys: who loses one has not lost
//! the other.

use std::path::PathBuf;

use adytum_governance::recovery::sharing::RecoveryIdentity;
use clap::Subcommand;
use serde_json::json;
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
            printed(&identity)
        }
        Action::Show { file } => printed(&key_file::recovery_identity(&file)?),
    }
}

fn printed(identity: &RecoveryIdentity) -> anyhow::Result<()> {
    let recipient = identity.recipient();
    output::result(&json!({ "recipient": recipient.to_string() }), recipient)
}
