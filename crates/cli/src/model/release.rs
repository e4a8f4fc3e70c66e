//! `adytum model release`: a model's next version, from its file to the replicas.

use std::path::PathBuf;

use adytum_api::names::ModelName;
use adytum_sealed::keys::ModelRecipient;
use anyhow::Context as _;
use tokio::task::block_in_place;

use super::{
    next_version::{Sealed, Sealer, seal_next},
    roll_out::{Patience, Servers, follow},
};
use crate::{key_file, output, owner_directory::OwnerDirectory};

/// Ship a model's next version: check it, seal it, put it where replicas look.
///
/// The version is the next number after the newest one that is there. A model that is the newest
/// version already is not sealed again. With --server it waits until each replica answers with it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  adytum model release digits-2.onnx --model digits --owner-directory deploy/owner
  adytum model release iris.onnx --model iris --owner-directory .adytum --server localhost:8501
  adytum model release iris.onnx --model iris --owner-directory .adytum --to s3://models/iris")]
pub(crate) struct Args {
    /// The model: an ONNX file, a SavedModel, or a directory that holds one.
    #[arg(value_name = "FILE|DIRECTORY")]
    source: PathBuf,
    /// The model's name, as clients and the manifest call it.
    #[arg(long, value_name = "NAME")]
    model: ModelName,
    /// The owner's directory: its key signs, its model key opens, and the version goes into
    /// models/NAME.
    #[arg(long, value_name = "DIRECTORY", env = "ADYTUM_OWNER_DIRECTORY")]
    owner_directory: PathBuf,
    /// Another place than that: a volume that the replicas have, or an object store that `model
    /// pull` reads: s3://BUCKET/PATH, az://CONTAINER/PATH, gs://BUCKET/PATH. Credentials come from
    /// the environment, as for `model pull`.
    #[arg(long, value_name = "BASE|ADDRESS")]
    to: Option<PathBuf>,
    /// Another recipient than that of the owner's directory.
    // A text, so that an identity given here by mistake is not printed again.
    #[arg(long, value_name = "age1..")]
    recipient: Option<String>,
    #[command(flatten)]
    servers: Servers,
    #[command(flatten)]
    patience: Patience,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let directory = OwnerDirectory::at(&args.owner_directory);
    let owner = key_file::owner_key(&directory.private("owner.pem"))?;
    let recipient: ModelRecipient = match &args.recipient {
        Some(recipient) => recipient.parse().context("--recipient")?,
        None => key_file::model_identity(&directory.secret("model_key"))?.recipient(),
    };
    let store = args.to.as_deref().and_then(std::path::Path::to_str).filter(|to| to.contains("://"));
    let base = args.to.clone().unwrap_or_else(|| directory.model(args.model.as_str()));
    // A version below the floor could not be served.
    let lowest = directory.floors()?.get(&args.model).copied().unwrap_or(1);
    let sealer = Sealer { owner: &owner, recipient: &recipient, name: &args.model, lowest };
    let sealed = match store {
        Some(address) => to_store(sealer, &args.source, address).await?,
        None => block_in_place(|| seal_next(&sealer, &args.source, &base, None))?,
    };
    let at = base.join(sealed.version.to_string());
    let what = if sealed.is_new { "sealed" } else { "is this model already" };
    output::step(format_args!("{}: version {} of {} {what}", at.display(), sealed.version, args.model))?;
    let crt = Some(directory.public("server.crt")).filter(|crt| crt.is_file());
    follow(&args.servers, &args.patience, args.model.as_str(), sealed.version, crt).await
}

/// Seals into a directory that is removed again, and uploads from there.
#[cfg(feature = "object-stores")]
async fn to_store(mut sealer: Sealer<'_>, source: &std::path::Path, address: &str) -> anyhow::Result<Sealed> {
    use adytum_fetch::{Environment, Source, publish, published};

    use super::next_version::{Version, seal_after};

    let store = Source::open(address, &Environment::of_process())?;
    let mut there = published(&store).await?;
    // Remains of an interrupted release keep their number.
    sealer.lowest = sealer.lowest.max(there.highest.map_or(1, |highest| highest.saturating_add(1)));
    let newest = there.versions.pop().map(|(number, statement)| Version { number, statement });
    let staging = tempfile::tempdir().context("no directory to seal in")?;
    let sealed = block_in_place(|| seal_after(&sealer, source, staging.path(), newest, None))?;
    if sealed.is_new {
        let directory = staging.path().join(sealed.version.to_string());
        let bytes: u64 = std::fs::read_dir(&directory)?
            .flatten()
            .filter_map(|file| Some(file.metadata().ok()?.len()))
            .sum();
        let bar = crate::progress::bytes(bytes, "uploading");
        let result = publish(&store, sealed.version, &directory, &mut |count| bar.inc(count)).await;
        bar.finish_and_clear();
        result?;
    }
    Ok(sealed)
}

#[cfg(not(feature = "object-stores"))]
async fn to_store(_: Sealer<'_>, _: &std::path::Path, _: &str) -> anyhow::Result<Sealed> {
    bail_input!("this adytum was built without object stores; --to takes a directory")
}
