//! `adytum owner`: owners' signing keys (Ed25519).

use std::path::PathBuf;

use adytum_signing::OwnerSigningKey;
use clap::Subcommand;
use serde_json::json;

use crate::{key_file, output};

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Make a key. Prints its public half.
    New {
        /// Where the key goes (PKCS #8 in PEM, mode 0600); never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the public half of a key.
    Show { file: PathBuf },
}

pub(crate) fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::New { out } => {
            let key = OwnerSigningKey::generate()?;
            key_file::write_new(&out, key.to_pem()?.as_bytes(), 0o600)?;
            printed(&key)
        }
        Action::Show { file } => printed(&key_file::owner_key(&file)?),
    }
}

fn printed(key: &OwnerSigningKey) -> anyhow::Result<()> {
    let public = key.public_key();
    output::result(&json!({ "public_key": public.to_string() }), public)
}
