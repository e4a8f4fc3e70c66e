//! `adytum unseal`: verify and decrypt a sealed model, on an owner's machine.

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
};

use adytum_api::names::ModelName;
use adytum_sealed::{
    directory::{Content, Scan, scan_one},
    rule::ModelRule,
    statement::Statement,
    unseal::unseal_to_file,
};
use anyhow::{Context, bail};
use tokio::task::block_in_place;

use crate::{
    interrupt::Interruptible,
    key_file::{self, OwnerReference},
    output, progress,
};

/// Verify whose model it is and decrypt it.
///
/// Nothing is decrypted before the signature was verified, and the file gets
/// its name only after length and digest matched.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The version's directory, with model.onnx.age and model.seal in it.
    #[arg(value_name = "BASE/VERSION")]
    directory: PathBuf,
    /// The model key (age identity).
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// An owner whose signature counts: public key, or the file of the key; may
    /// be given several times.
    #[arg(long = "signer", value_name = "PUBLIC KEY", required = true)]
    signers: Vec<OwnerReference>,
    /// The model's name that is expected; any by default.
    #[arg(long, value_name = "NAME")]
    model: Option<ModelName>,
    /// The lowest version that is accepted.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    minimum_version: u64,
    /// Where the plaintext goes (mode 0600); never overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let identity = key_file::model_identity(&args.identity)?;
    let signers = args.signers.iter().map(OwnerReference::public_key).collect::<Result<BTreeSet<_>, _>>()?;
    // A name such as "." says no version; the directory's own name does.
    let directory = args
        .directory
        .canonicalize()
        .with_context(|| format!("the directory {} can't be read", args.directory.display()))?;
    let (statement, ciphertext) = sealed_model(&directory)?;
    let rule = ModelRule {
        name: args.model.unwrap_or_else(|| statement.model.clone()),
        signers,
        minimum_version: args.minimum_version,
        digests: BTreeSet::new(),
    };
    let genuine = rule.judge(&statement).with_context(|| format!("{} is refused", directory.display()))?;
    let file = File::open(&ciphertext).with_context(|| format!("{} can't be read", ciphertext.display()))?;
    let bar = progress::bytes(statement.size, "unsealing");
    let file = Interruptible::new(file)?;
    let unsealed = block_in_place(|| {
        let mut progress = |done| bar.set_position(done);
        unseal_to_file(file, &genuine, &[identity], &args.out, &mut progress)
    });
    bar.finish_and_clear();
    unsealed.with_context(|| ciphertext.display().to_string())?;
    output::line(format_args!(
        "{}: {} version {}, {} bytes, sha256 {}, signed by {}",
        args.out.display(),
        statement.model,
        statement.version,
        statement.size,
        statement.sha256,
        statement.signer
    ))
}

/// The one sealed model in a version's directory.
fn sealed_model(directory: &Path) -> anyhow::Result<(Statement, PathBuf)> {
    let Scan { candidates, refused } = scan_one(directory);
    match candidates.into_iter().next().map(|candidate| candidate.content) {
        Some(Content::Sealed { statement, ciphertext }) => return Ok((*statement, ciphertext)),
        Some(Content::Plain { file }) => bail!("{} is not sealed, so nothing is to unseal", file.display()),
        None => {}
    }
    let reasons = refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    bail!("no sealed model: {reasons}; give a directory BASE/VERSION that `adytum seal` wrote")
}
