//! `adytum model-key`: keys that models are sealed to (age X25519).

use std::path::PathBuf;

use adytum_sealed::keys::ModelIdentity;
use clap::Subcommand;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{key_file, output};

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Make a key. Prints its recipient (age1..), to which models are sealed.
    New {
        /// Where the identity goes (mode 0600); never overwritten. Put it to the
        /// broker as a secret of kind age-identity.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the recipient of a key.
    Show { file: PathBuf },
}

pub(crate) fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::New { out } => {
            let identity = ModelIdentity::generate();
            let text = Zeroizing::new(format!("{}\n", *identity.to_text()));
            key_file::write_new(&out, text.as_bytes(), 0o600)?;
            printed(&identity)
        }
        Action::Show { file } => printed(&key_file::model_identity(&file)?),
    }
}

fn printed(identity: &ModelIdentity) -> anyhow::Result<()> {
    let recipient = identity.recipient();
    output::result(&json!({ "recipient": recipient.to_string() }), recipient)
}
