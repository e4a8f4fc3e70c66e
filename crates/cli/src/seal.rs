//! `adytum seal`: encrypt and sign a model.

use std::{fs::File, path::PathBuf};

use adytum_api::names::ModelName;
use adytum_sealed::{
    keys::ModelRecipient,
    seal::{SealOptions, seal_to_directory},
    statement::FileName,
};
use anyhow::{Context, bail};
use tokio::task::block_in_place;

use crate::{interrupt::Interruptible, key_file, output, progress};

/// Encrypt a model to a recipient and sign what it is.
///
/// Writes OUT/VERSION/model.onnx.age and OUT/VERSION/model.seal. The standard
/// age tool opens the first; the second says, signed by an owner, which model
/// it must turn out to be.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model.
    #[arg(value_name = "MODEL.onnx")]
    file: PathBuf,
    /// The model's name, as clients and the manifest call it.
    #[arg(long, value_name = "NAME")]
    model: ModelName,
    /// Its version; higher than every version sealed before.
    #[arg(long, value_name = "NUMBER")]
    version: u64,
    /// Who may open it: the recipient of the model key at the broker.
    // A text, so that an identity given here by mistake is not printed again.
    #[arg(long, value_name = "age1..")]
    recipient: String,
    /// The key of the owner who answers for it.
    #[arg(long, value_name = "FILE")]
    owner: PathBuf,
    /// The model directory; VERSION is made in it.
    #[arg(long, value_name = "BASE")]
    out: PathBuf,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let recipient: ModelRecipient = args.recipient.parse().context("--recipient")?;
    let owner = key_file::owner_key(&args.owner)?;
    let failed = || format!("the model {} can't be read", args.file.display());
    let plaintext = File::open(&args.file).with_context(failed)?;
    let metadata = plaintext.metadata().with_context(failed)?;
    if metadata.is_dir() {
        bail!("{} is a directory; give the model's file", args.file.display());
    }
    let bar = progress::bytes(metadata.len(), "sealing");
    let options = SealOptions { model: args.model, version: args.version, file_name: FileName::model_onnx() };
    let plaintext = Interruptible::new(plaintext)?;
    let sealed = block_in_place(|| {
        let mut progress = |done| bar.set_position(done);
        seal_to_directory(plaintext, &args.out, &recipient, &owner, &options, &mut progress)
    });
    bar.finish_and_clear();
    let (directory, statement) = sealed?;
    output::line(format_args!(
        "{}: {} version {}, {} bytes, sha256 {}, signed by {}",
        directory.display(),
        statement.model,
        statement.version,
        statement.size,
        statement.sha256,
        statement.signer
    ))
}
