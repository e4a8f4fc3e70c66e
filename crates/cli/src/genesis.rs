//! `adytum genesis`: the document that creates a broker.

use std::path::PathBuf;

use adytum_governance::genesis::Genesis;
use clap::Subcommand;
use serde_json::json;

use crate::{
    attested::read_genesis,
    key_file::{self, OwnerReference},
    output,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Create a broker's genesis document. Prints its digest, which is the broker's
    /// identity for ever.
    New {
        /// An owner: public key, or the file of the key; once for each.
        #[arg(long = "owner", value_name = "PUBLIC KEY", required = true)]
        owners: Vec<OwnerReference>,
        /// How many owners must agree to every change.
        #[arg(long, value_name = "NUMBER", default_value_t = 1)]
        threshold: usize,
        /// Where the document goes; never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print what a genesis document says, and its digest.
    Show {
        file: PathBuf,
        /// Print the digest only.
        #[arg(long)]
        digest: bool,
    },
}

pub(crate) fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::New { owners, threshold, out } => {
            let owners = owners.iter().map(OwnerReference::public_key).collect::<Result<Vec<_>, _>>()?;
            let genesis = Genesis::create(owners, threshold)?;
            key_file::write_new(&out, genesis.to_toml().as_bytes(), 0o644)?;
            digest(&genesis)
        }
        Action::Show { file, digest: true } => digest(&read_genesis(&file)?),
        Action::Show { file, digest: false } => {
            let genesis = read_genesis(&file)?;
            if output::is_json() {
                let owners: Vec<String> = genesis.owners().iter().map(ToString::to_string).collect();
                let (digest, threshold) = (genesis.digest().to_string(), genesis.threshold());
                return output::line(json!({ "digest": digest, "threshold": threshold, "owners": owners }));
            }
            output::line(format_args!("digest     {}", genesis.digest()))?;
            output::line(format_args!(
                "threshold  {} of {} owner(s)",
                genesis.threshold(),
                genesis.owners().len()
            ))?;
            genesis.owners().iter().try_for_each(|owner| output::line(format_args!("owner      {owner}")))
        }
    }
}

fn digest(genesis: &Genesis) -> anyhow::Result<()> {
    let digest = genesis.digest();
    output::result(&json!({ "digest": digest.to_string() }), digest)
}
