//! `adytum manifest`: which workloads exist and what each may have.

mod azure_policy;
pub(crate) mod contents;
mod difference;
mod draft;
mod explain;
mod freshness;
mod history;
pub(crate) mod source;
mod weaker_policy;
mod weaker_trust;

use std::path::{Path, PathBuf};

use adytum_api::broker::{ApplyManifest, GetManifest, command};
use adytum_evidence::{
    claims::TeeKind,
    clock::{Clock as _, Day, SystemClock},
};
use adytum_governance::{
    approval::OwnerApproval,
    manifest::{MAXIMUM_LENGTH, Manifest, SecretRule, SignedManifest, Workload, document::PlannedRestart},
    roles::Owners,
    rules::agreed,
};
use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::json;

use self::difference::{Difference, Threshold};
use crate::{
    attested::{Access, AccessOnRequest, read_genesis, signed_manifest},
    key_file, output,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Draft one from evidence, or from a program and its configuration.
    New(draft::Args),
    /// Read a manifest and say what it grants.
    Check { file: PathBuf },
    /// Print a workload's policy as the release policy of a key in Azure Key Vault.
    AzurePolicy(azure_policy::Args),
    /// Say what changes from one manifest to another, or from the one in force at a
    /// broker.
    Diff(DiffArgs),
    /// Say what a manifest gives to evidence, and why not more; no broker is needed.
    Explain(explain::Args),
    /// Which manifests there were, and who signed them.
    History(history::Args),
    /// Add owners' signatures to the file next to a manifest.
    Sign {
        file: PathBuf,
        /// An owner's key; may be given several times.
        #[arg(long = "owner", value_name = "FILE", required = true)]
        owners: Vec<PathBuf>,
        /// The file of signatures; the manifest's name and .sig by default.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Give a manifest to the broker.
    Apply(ApplyArgs),
    /// Print the manifest that is in force, or another that was, after verifying who
    /// signed it.
    Get {
        /// The version; the one in force by default.
        #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
        version: u64,
        /// Write it here instead, and the signatures next to it in FILE.sig;
        /// never overwritten.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        access: Access,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    file: PathBuf,
    /// The file of signatures; the manifest's name and .sig by default, if it is
    /// there.
    #[arg(long, value_name = "FILE")]
    signatures: Option<PathBuf>,
    // The owners who send it sign it, too.
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The old manifest and the new one; or, with --broker, the new one alone. With
    /// --genesis, owners of two manifests are compared with the first owners, too.
    #[arg(value_name = "OLD NEW", required = true, num_args = 1..=2)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    access: AccessOnRequest,
}

pub(crate) async fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::New(args) => draft::run(args).await,
        Action::Check { file } => check(&file),
        Action::AzurePolicy(args) => azure_policy::run(&args),
        Action::Diff(args) => diff(args).await,
        Action::Explain(args) => explain::run(args).await,
        Action::History(args) => history::run(args).await,
        Action::Sign { file, owners, out } => sign(&file, &owners, out),
        Action::Apply(args) => apply(args).await,
        Action::Get { version, out, access } => get(version, out, access).await,
    }
}

/// What `[restart] planned = "serve"` means.
const SERVES_AFTER_RESTART: &str = "the broker serves after a planned restart without an owner's word, so a host that \
                                    kept a copy of the state from a shutdown in good order can put it back; see \
                                    docs/restart.md";

fn check(file: &Path) -> anyhow::Result<()> {
    let manifest = Manifest::parse(&read(file)?).with_context(|| file.display().to_string())?;
    if output::is_json() {
        return output::line(summary(&manifest));
    }
    output::line(format_args!("genesis   {}", manifest.genesis))?;
    output::line(format_args!("version   {}", manifest.version))?;
    if let Some(roles) = &manifest.roles {
        if let Some(owners) = &roles.owners {
            let (threshold, keys) = (owners.threshold(), owners.keys());
            output::line(format_args!("owners    from now on {threshold} of {}", list(keys)))?;
        }
        output::line(format_args!("auditors  from now on {}", list(&roles.auditors)))?;
    }
    for (name, workload) in &manifest.workloads {
        output::line(format_args!("workload  {name}: models {}", list(&workload.models)))?;
        if workload.policy.accepts_any_machine() {
            output::line(format_args!(
                "NOTE      workload {name}: any machine of {} is accepted (no platforms), so a key that somebody \
                 extracted from one of them speaks for this workload; see \"Machines\" in docs/manifest.md",
                list(&workload.policy.vendors)
            ))?;
        }
        for note in of_age(workload) {
            output::line(format_args!("NOTE      workload {name}: {note}"))?;
        }
    }
    if manifest.planned_restart == PlannedRestart::Serve {
        output::line(format_args!("NOTE      {SERVES_AFTER_RESTART}"))?;
    }
    if let Some(reason) = from_the_future(&manifest) {
        output::line(format_args!("WARNING   {reason}; correct the date, or this clock"))?;
    }
    for (name, secret) in &manifest.secrets {
        output::line(format_args!(
            "secret    {name} ({}): for {}; lease {}, grace {}",
            secret.kind(),
            list(&secret.workloads),
            secret.lease.duration,
            secret.lease.grace
        ))?;
    }
    for (name, rule) in &manifest.models {
        output::line(format_args!(
            "model     {name}: {} signer(s) from version {}, {} digest(s)",
            rule.signers.len(),
            rule.minimum_version,
            rule.digests.len()
        ))?;
    }
    Ok(())
}

/// What a workload's rules leave open about the age of collateral, and what they accept for a
/// while.
fn of_age(workload: &Workload) -> Vec<String> {
    let policy = &workload.policy;
    let mut notes = Vec::new();
    let intel = policy.tee.iter().any(|tee| *tee != TeeKind::Snp);
    if intel && policy.minimum_tcb_evaluation_data_number.is_none() {
        notes.push(
            "collateral of any evaluation is accepted (no minimum_tcb_evaluation_data_number), so the host can serve an \
             old one, in which a platform is not out of date yet"
                .to_owned(),
        );
    }
    if policy.collateral_not_before.is_none() {
        notes.push(
            "collateral of any year is accepted (no collateral_not_before): the host chooses the clock, and so the year"
                .to_owned(),
        );
    }
    if let Some(grace) = &workload.tcb_grace {
        notes.push(format!(
            "platforms with the TCB status {} are accepted from {} to {} (tcb_grace), with the advisories {}",
            list(&grace.tcb_status),
            grace.from,
            grace.until,
            list(&grace.advisories)
        ));
    }
    notes
}

/// A date in the manifest that this machine's clock has not reached. No broker believes an
/// earlier time than a date that its owners signed, so one that is too late would have
/// everything refused until another manifest takes it back.
fn from_the_future(manifest: &Manifest) -> Option<String> {
    let (date, now) = (manifest.not_before()?, SystemClock.now());
    (date > now).then(|| {
        format!(
            "collateral_not_before is {}, and today is {} by this machine's clock: the broker would take the later date \
             for the time, and refuse all collateral that ends before",
            Day::of(date),
            Day::of(now)
        )
    })
}

/// Refuses a manifest with a date that this machine's clock has not reached.
fn refuse_future(manifest: &Manifest, file: &Path) -> anyhow::Result<()> {
    match from_the_future(manifest) {
        Some(reason) => bail_input!("{}: {reason}; correct the date, or this clock", file.display()),
        None => Ok(()),
    }
}

fn list(names: impl IntoIterator<Item = impl ToString>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn sign(file: &Path, owners: &[PathBuf], out: Option<PathBuf>) -> anyhow::Result<()> {
    let out = out.unwrap_or_else(|| signatures_path(file));
    let mut signed = load(file, &out, out.exists())?;
    if let Ok(manifest) = Manifest::parse(&signed.text) {
        refuse_future(&manifest, file)?;
    }
    for owner in owners {
        let key = key_file::owner_key(owner)?;
        signed.sign(&key).with_context(|| file.display().to_string())?;
        let signer = key.public_key();
        output::result(
            &json!({ "signatures": out, "signer": signer.to_string() }),
            format_args!("{}: signed by {signer}", out.display()),
        )?;
    }
    // Next to the old one and renamed, so that no signature is lost half way.
    let unfinished = signatures_path(&out).with_extension("new");
    std::fs::write(&unfinished, signed.signatures_to_text())
        .and_then(|()| std::fs::rename(&unfinished, &out))
        .with_context(|| format!("{} can't be written", out.display()))
}

async fn apply(args: ApplyArgs) -> anyhow::Result<()> {
    let usual = signatures_path(&args.file);
    let (signatures, wanted) = match &args.signatures {
        Some(path) => (path, true),
        None => (&usual, usual.exists()),
    };
    let mut signed = load(&args.file, signatures, wanted)?;
    let manifest = Manifest::parse(&signed.text).with_context(|| args.file.display().to_string())?;
    refuse_future(&manifest, &args.file)?;
    let (mut session, owners) = args.access.open().await?;
    if manifest.genesis != session.genesis().digest() {
        bail_input!(
            "{} is for the broker of genesis {}, this is the broker of genesis {}; give the address of that broker, or \
             write this genesis into the manifest",
            args.file.display(),
            manifest.genesis,
            session.genesis().digest()
        );
    }
    for owner in &owners {
        signed.sign(owner).with_context(|| args.file.display().to_string())?;
    }
    let command = command::Command::ApplyManifest(ApplyManifest {
        manifest: signed.text.into_bytes(),
        signatures: signed.approvals.iter().map(OwnerApproval::to_wire).collect(),
    });
    let result = session.execute(command, &owners).await?;
    let version = result.manifest_version;
    output::result(
        &json!({ "manifest_version": version }),
        format_args!("manifest version {version} is in force"),
    )
}

async fn diff(args: DiffArgs) -> anyhow::Result<()> {
    let file =
        |path: &Path| difference::Read::parse(&read(path)?).with_context(|| path.display().to_string());
    let (old, new, before) = match (args.files.as_slice(), &args.access.access) {
        ([old, new], None) => {
            let (old, new) = (file(old)?, file(new)?);
            let genesis = args.access.genesis.as_deref().map(read_genesis).transpose()?;
            let before = old.threshold(genesis.as_ref())?;
            (old, new, before)
        }
        // Read before anything is asked.
        ([new], Some(access)) => {
            let new = file(new)?;
            let (signed, _, owners) = fetch(0, access).await?;
            let old = difference::Read::parse(&signed.text).context("the broker's manifest")?;
            (old, new, Threshold::InForce(owners.threshold()))
        }
        ([_], None) => {
            bail_input!("give two manifests, or one and --broker with --owner, --genesis and so on")
        }
        _ => bail_input!("give one manifest with --broker, or two without"),
    };
    let difference = Difference::between(&old, &new, before);
    match output::is_json() {
        true => output::line(serde_json::to_string(&difference)?),
        false => difference.print(),
    }
}

/// A manifest of the broker's (0: the one in force), verified under the owners of
/// its time, and the owners from it on.
async fn fetch(version: u64, access: &Access) -> anyhow::Result<(SignedManifest, Manifest, Owners)> {
    let (mut session, owners) = access.open().await?;
    let answer = session.execute(command::Command::GetManifest(GetManifest { version }), &owners).await?;
    if answer.manifest.is_empty() {
        bail_input!("the broker has no manifest yet; give it one with `adytum manifest apply`");
    }
    let signed = signed_manifest(answer)?;
    let manifest = Manifest::parse(&signed.text).context("the broker's manifest")?;
    if version != 0 && manifest.version != version {
        bail!(
            "asked for version {version}, the broker answered with version {}; use a tool and a broker of the same version",
            manifest.version
        );
    }
    let roles = session.roles_before(manifest.version, &owners).await?;
    agreed(session.genesis(), &roles.owners, &signed).context("the broker's manifest")?;
    let owners = roles.after(manifest.roles.as_ref()).owners;
    Ok((signed, manifest, owners))
}

async fn get(version: u64, out: Option<PathBuf>, access: Access) -> anyhow::Result<()> {
    let (signed, manifest, _) = fetch(version, &access).await?;
    let Some(out) = out else {
        return match output::is_json() {
            true => output::line(json!({ "version": manifest.version, "text": signed.text })),
            false => output::text(&signed.text),
        };
    };
    key_file::write_new(&out, signed.text.as_bytes(), 0o644)?;
    key_file::write_new(&signatures_path(&out), signed.signatures_to_text().as_bytes(), 0o644)?;
    output::result(
        &json!({ "manifest": out, "version": manifest.version }),
        format_args!("{}: version {}", out.display(), manifest.version),
    )
}

/// The manifest with the signatures that are there already.
pub(crate) fn load(file: &Path, signatures: &Path, has_signatures: bool) -> anyhow::Result<SignedManifest> {
    let text = read(file)?;
    if !has_signatures {
        return Ok(SignedManifest::unsigned(text));
    }
    let lines = read(signatures)?;
    SignedManifest::from_texts(&text, &lines).with_context(|| signatures.display().to_string())
}

fn read(file: &Path) -> anyhow::Result<String> {
    Ok(key_file::read_text(file, MAXIMUM_LENGTH as u64)?.to_string())
}

/// Where the signatures of a manifest lie.
pub(crate) fn signatures_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// What a manifest says of a secret, for programs.
fn secret_summary(secret: &SecretRule) -> serde_json::Value {
    let workloads: Vec<String> = secret.workloads.iter().map(ToString::to_string).collect();
    json!({
        "kind": secret.kind().to_string(),
        "workloads": workloads,
        "lease": secret.lease.duration.to_string(),
        "grace": secret.lease.grace.to_string(),
    })
}

/// What a manifest says, for programs.
fn summary(manifest: &Manifest) -> serde_json::Value {
    let workloads: serde_json::Map<_, _> = manifest
        .workloads
        .iter()
        .map(|(name, workload)| {
            let models: Vec<String> = workload.models.iter().map(ToString::to_string).collect();
            let notes = of_age(workload);
            let any_machine = workload.policy.accepts_any_machine();
            (
                name.to_string(),
                json!({ "models": models, "accepts_any_machine": any_machine, "notes": notes }),
            )
        })
        .collect();
    let secrets: serde_json::Map<_, _> =
        manifest.secrets.iter().map(|(name, secret)| (name.to_string(), secret_summary(secret))).collect();
    let models: serde_json::Map<_, _> = manifest
        .models
        .iter()
        .map(|(name, rule)| {
            let (signers, digests) = (rule.signers.len(), rule.digests.len());
            let minimum = rule.minimum_version;
            (name.to_string(), json!({ "signers": signers, "minimum_version": minimum, "digests": digests }))
        })
        .collect();
    let serves = manifest.planned_restart == PlannedRestart::Serve;
    let notes: Vec<&str> = serves.then_some(SERVES_AFTER_RESTART).into_iter().collect();
    json!({
        "genesis": manifest.genesis.to_string(),
        "version": manifest.version,
        "notes": notes,
        "warning": from_the_future(manifest),
        "workloads": workloads,
        "secrets": secrets,
        "models": models,
    })
}
