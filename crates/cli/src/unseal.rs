//! `adytum unseal`: verify and decrypt a sealed model or bundle, on an owner's
//! machine.

use std::{
    collections::BTreeSet,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use adytum_api::names::ModelName;
use adytum_sealed::{
    bundle::{GenuineBundle, Ownership, SealedBundle, TreeWriter},
    directory::{Content, Scan, scan_one},
    keys::ModelIdentity,
    rule::ModelRule,
    statement::Statement,
    unseal::unseal_to_file,
};
use anyhow::Context;
use serde_json::json;
use tokio::task::block_in_place;

use crate::{
    interrupt::{Interrupt, Interruptible},
    key_file::{self, OwnerReference},
    output, progress,
};

/// Verify whose model or bundle it is and decrypt it.
///
/// Nothing is decrypted before the signature was verified, and the file or
/// directory gets its name only after length and digest matched.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Of a model: the version's directory, with model.onnx.age and model.seal in
    /// it. Of a bundle: the file, with FILE.seal next to it.
    #[arg(value_name = "BASE/VERSION|FILE")]
    what: PathBuf,
    /// The model key (age identity).
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// An owner whose signature is accepted: public key, or the file of the key; may
    /// be given several times.
    #[arg(long = "signer", value_name = "PUBLIC KEY", required = true)]
    signers: Vec<OwnerReference>,
    /// The model's name that is expected; any by default.
    #[arg(long, value_name = "NAME")]
    model: Option<ModelName>,
    /// The bundle's name that is expected; any by default.
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    bundle: Option<ModelName>,
    /// The lowest version that is accepted.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    minimum_version: u64,
    /// Where the model goes (mode 0600), or the directory that the bundle becomes;
    /// never overwritten.
    #[arg(long, value_name = "FILE|DIRECTORY")]
    out: PathBuf,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let identity = key_file::model_identity(&args.identity)?;
    let signers = args.signers.iter().map(OwnerReference::public_key).collect::<Result<BTreeSet<_>, _>>()?;
    let rule = |name: &Option<ModelName>, statement: &Statement| ModelRule {
        name: name.as_ref().unwrap_or(&statement.model).clone(),
        signers: signers.clone(),
        minimum_version: args.minimum_version,
        digests: BTreeSet::new(),
    };
    if args.bundle.is_some() || args.what.is_file() {
        if args.model.is_some() {
            bail_input!(
                "{} is a file; a model is sealed as a directory; give BASE/VERSION, or name the bundle with --bundle",
                args.what.display()
            );
        }
        let sealed = SealedBundle::open(&args.what)?;
        let rule = rule(&args.bundle, sealed.statement());
        let genuine = sealed.judge(&rule).with_context(|| format!("{} is refused", args.what.display()))?;
        return unseal_bundle(&genuine, identity, &args.out);
    }
    // A name such as "." says no version; the directory's own name does.
    let directory = args
        .what
        .canonicalize()
        .with_context(|| format!("the directory {} can't be read", args.what.display()))?;
    let (statement, ciphertext) = sealed_model(&directory)?;
    let rule = rule(&args.model, &statement);
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
    output::result(
        &output::sealed_object(&args.out, &statement),
        format_args!("{}: {}", args.out.display(), output::sealed(&statement)),
    )
}

fn unseal_bundle(genuine: &GenuineBundle, identity: ModelIdentity, out: &Path) -> anyhow::Result<()> {
    let statement = genuine.genuine_statement().statement();
    if out.symlink_metadata().is_ok() {
        bail_input!("{} exists already; name a directory that does not", out.display());
    }
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // In the same directory, readable for nobody else, and removed unless it gets its
    // name: the digest is known at the end only.
    let unfinished = tempfile::Builder::new()
        .prefix(".unsealing-")
        .tempdir_in(parent)
        .with_context(|| format!("{} can't be written to", parent.display()))?;
    let root = unfinished.path().join("tree");
    fs::create_dir(&root)?;
    let mut tree = TreeWriter::new(File::open(&root)?.into(), Ownership::default())?;
    let bar = progress::bytes(statement.size, "unsealing");
    let interrupt = Interrupt::watch()?;
    let unsealed = block_in_place(|| {
        let mut progress = |done| {
            bar.set_position(done);
            interrupt.check()
        };
        genuine.unseal(&[identity], u64::MAX, &mut tree, &mut progress)
    });
    bar.finish_and_clear();
    let summary = unsealed?;
    // As a model's file: for the owner's eyes.
    fs::set_permissions(&root, Permissions::from_mode(0o700))?;
    fs::rename(&root, out).with_context(|| format!("{} can't be made", out.display()))?;
    let mut object = output::sealed_object(out, statement);
    object["entries"] = json!(summary.entries);
    output::result(
        &object,
        format_args!("{}: {}, {} entries", out.display(), output::sealed(statement), summary.entries),
    )
}

/// The one sealed model in a version's directory.
fn sealed_model(directory: &Path) -> anyhow::Result<(Statement, PathBuf)> {
    let Scan { candidates, refused } = scan_one(directory);
    match candidates.into_iter().next().map(|candidate| candidate.content) {
        Some(Content::Sealed { statement, ciphertext }) => return Ok((*statement, ciphertext)),
        Some(Content::Plain { file, .. }) => bail_input!("{} is not sealed; use it as it is", file.display()),
        None => {}
    }
    let reasons = refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    bail_input!(
        "no sealed model: {reasons}; give a directory BASE/VERSION, or a bundle's file, that `adytum seal` wrote"
    )
}
