//! `adytum seal`: encrypt and sign a model, or a directory as a bundle.

use std::path::PathBuf;

use adytum_api::names::ModelName;
use adytum_sealed::{
    bundle::seal_bundle,
    keys::ModelRecipient,
    seal::{SealOptions, seal_to_directory},
    statement::FileName,
};
use adytum_signing::OwnerSigningKey;
use anyhow::Context;
use tokio::task::block_in_place;

use crate::{
    interrupt::{Interrupt, Interruptible},
    key_file,
    model::plaintext::{Plaintext, plaintext},
    output, progress,
};

/// Encrypt a model or a directory to a recipient and sign what it is.
///
/// Of a model it writes OUT/VERSION/model.onnx.age and OUT/VERSION/model.seal, of
/// a bundle OUT and OUT.seal. The standard age tool opens the first; the
/// second says, signed by an owner, which model or bundle it must turn out to be.
///
/// A model is checked first, as `adytum model check` does: what no replica could serve is
/// refused. A SavedModel is sealed as ONNX; weights in other files are put into the model's.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("name").required(true).args(["model", "bundle"])))]
pub(crate) struct Args {
    /// The model: an ONNX file, a SavedModel, or a directory that holds one; or the bundle's directory.
    #[arg(value_name = "MODEL.onnx|DIRECTORY")]
    what: PathBuf,
    /// The model's name, as clients and the manifest call it.
    #[arg(long, value_name = "NAME")]
    model: Option<ModelName>,
    /// The bundle's name, as the measured configuration and the manifest call it.
    #[arg(long, value_name = "NAME")]
    bundle: Option<ModelName>,
    /// Its version; higher than every version sealed before.
    #[arg(long, value_name = "NUMBER")]
    version: u64,
    /// The recipient of the model key at the broker: only its holder can open the model.
    // A text, so that an identity given here by mistake is not printed again.
    #[arg(long, value_name = "age1..")]
    recipient: String,
    /// The key of the owner who answers for it.
    #[arg(long, value_name = "FILE")]
    owner: PathBuf,
    /// Of a model: the model directory; VERSION is made in it. Of a bundle: the
    /// file; never overwritten.
    #[arg(long, value_name = "BASE|FILE")]
    out: PathBuf,
    /// Seal a model without the check.
    #[arg(long, conflicts_with = "bundle")]
    unchecked: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let recipient: ModelRecipient = args.recipient.parse().context("--recipient")?;
    let owner = key_file::owner_key(&args.owner)?;
    let metadata = args.what.metadata().with_context(|| format!("{} can't be read", args.what.display()))?;
    match (&args.model, &args.bundle) {
        (Some(model), _) => seal_model(&args, model, &recipient, &owner),
        (_, Some(bundle)) if metadata.is_dir() => seal_directory(&args, bundle, &recipient, &owner),
        _ => bail_input!(
            "{} is a file; give the bundle's directory, or seal a model with --model NAME",
            args.what.display()
        ),
    }
}

fn seal_model(
    args: &Args,
    model: &ModelName,
    recipient: &ModelRecipient,
    owner: &OwnerSigningKey,
) -> anyhow::Result<()> {
    let Plaintext { length, reader } = block_in_place(|| plaintext(&args.what, args.unchecked))?;
    let bar = progress::bytes(length, "sealing");
    let options =
        SealOptions { model: model.clone(), version: args.version, file_name: FileName::model_onnx() };
    let plaintext = Interruptible::new(reader)?;
    let sealed = block_in_place(|| {
        let mut progress = |done| bar.set_position(done);
        seal_to_directory(plaintext, &args.out, recipient, owner, &options, &mut progress)
    });
    bar.finish_and_clear();
    let (directory, statement) = sealed?;
    output::result(
        &output::sealed_object(&directory, &statement),
        format_args!("{}: {}", directory.display(), output::sealed(&statement)),
    )
}

fn seal_directory(
    args: &Args,
    name: &ModelName,
    recipient: &ModelRecipient,
    owner: &OwnerSigningKey,
) -> anyhow::Result<()> {
    let bar = progress::bytes_so_far("sealing");
    let interrupt = Interrupt::watch()?;
    let sealed = block_in_place(|| {
        let mut progress = |done| {
            bar.set_position(done);
            interrupt.check()
        };
        seal_bundle(&args.what, &args.out, recipient, owner, name, args.version, &mut progress)
    });
    bar.finish_and_clear();
    let (statement, summary) = sealed?;
    output::result(
        &output::sealed_object(&args.out, &statement),
        format_args!("{}: {}, {} entries", args.out.display(), output::sealed(&statement), summary.entries),
    )
}
