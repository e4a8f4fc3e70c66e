//! `adytum service`: what data owners verify replicas by.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use adytum_api::names::WorkloadName;
use adytum_evidence::clock::{Clock, Day, SystemClock};
use adytum_governance::{
    genesis::GenesisDigest,
    manifest::{Manifest, SignedManifest},
    service::{document::Document, signed::SignedService},
};
use anyhow::Context;
use clap::Subcommand;
use serde_json::json;

use crate::{
    attest::{self, Confirmation},
    attested::read_genesis,
    key_file, manifest, output,
};

/// How long a service counts where nothing else is said, in days.
const USUAL_DAYS: u64 = 90;

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Extract a service from a manifest, and sign it.
    Export(ExportArgs),
    /// Add owners' signatures to a service file.
    Sign {
        file: PathBuf,
        /// An owner's key; may be given several times.
        #[arg(long = "owner", value_name = "FILE", required = true)]
        owners: Vec<PathBuf>,
    },
    /// Verify a service file and say what it accepts.
    Show {
        file: PathBuf,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The manifest that is in force.
    manifest: PathBuf,
    /// The genesis document of the broker.
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// A workload that answers; may be given several times. By default all that may load
    /// a model.
    #[arg(long = "workload", value_name = "NAME")]
    workloads: Vec<WorkloadName>,
    /// What the service is called; by default as its first workload.
    #[arg(long, value_name = "NAME")]
    name: Option<WorkloadName>,
    /// Counts the service files of one manifest. A new file of the same manifest needs the
    /// next number.
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    revision: u32,
    /// The last day on which it counts, as in 2027-03-31; by default 90 days from now.
    #[arg(long, value_name = "DAY")]
    expires: Option<Day>,
    /// A manifest that changed the owners, with its signatures next to it in FILE.sig; may
    /// be given several times, the oldest first. The manifest itself is added if it did.
    #[arg(long = "owners-changed-by", value_name = "FILE")]
    owners_changed_by: Vec<PathBuf>,
    /// An owner's key; may be given several times. As many owners must sign as for a
    /// manifest; others add theirs with `adytum service sign`.
    #[arg(long = "owner", value_name = "FILE")]
    owners: Vec<PathBuf>,
    /// The file to write; never overwritten.
    #[arg(long, value_name = "FILE", default_value = "service.toml")]
    out: PathBuf,
}

pub(crate) fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::Export(args) => export(&args),
        Action::Sign { file, owners } => sign(&file, &owners),
        Action::Show { file, confirmation } => show(&file, &confirmation),
    }
}

/// Extracts the service of all workloads and signs it with one owner's key: the text of the file.
pub(crate) fn of_all(
    manifest: PathBuf,
    genesis: PathBuf,
    owner: PathBuf,
    revision: u32,
    clock: &dyn Clock,
) -> anyhow::Result<String> {
    let args = ExportArgs {
        manifest,
        genesis,
        workloads: Vec::new(),
        name: None,
        revision,
        expires: None,
        owners_changed_by: Vec::new(),
        owners: vec![owner],
        out: PathBuf::new(),
    };
    Ok(extract(&args, clock)?.service.to_file()?)
}

/// A service, and what there is to say of it.
struct Extracted {
    service: SignedService,
    name: WorkloadName,
    genesis: GenesisDigest,
    /// How many owners must sign it.
    threshold: usize,
}

fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let Extracted { service, name, genesis, threshold } = extract(args, &SystemClock)?;
    key_file::write_new(&args.out, service.to_file()?.as_bytes(), 0o644)?;
    let (out, count) = (args.out.display(), service.approvals.len());
    output::step(format_args!("{out}: service {name}, signed by {count} of {threshold} owners who must"))?;
    output::step(format_args!("genesis {genesis}"))?;
    output::step("Tell the data owner this digest by another way than the file.")?;
    if count < threshold {
        output::step(format_args!("The others sign it: adytum service sign {out} --owner FILE"))?;
    }
    Ok(())
}

fn extract(args: &ExportArgs, clock: &dyn Clock) -> anyhow::Result<Extracted> {
    let genesis = read_genesis(&args.genesis)?;
    let (signed, read) = read_manifest(&args.manifest)?;
    if read.genesis != genesis.digest() {
        bail_input!(
            "{} is for the broker of genesis {}, and {} is of genesis {}; give the genesis of that broker",
            args.manifest.display(),
            read.genesis,
            args.genesis.display(),
            genesis.digest()
        );
    }
    let named: BTreeSet<WorkloadName> = args.workloads.iter().cloned().collect();
    let workloads = if named.is_empty() {
        let serving = read.workloads.iter().filter(|(_, workload)| !workload.models.is_empty());
        serving.map(|(name, _)| name.clone()).collect()
    } else {
        named
    };
    let first = args.workloads.first().or(workloads.first()).cloned();
    let Some(name) = args.name.clone().or(first) else {
        bail_input!(
            "no workload of {} may load a model, so there is no service; name a workload's models in the manifest",
            args.manifest.display()
        );
    };
    let today = clock.now();
    let expires = args
        .expires
        .unwrap_or_else(|| Day::of(today.plus(std::time::Duration::from_secs(USUAL_DAYS * 24 * 60 * 60))));
    if Day::of(today) > expires {
        bail_input!("--expires {expires}: that day is over; give a later one");
    }
    let mut changes = Vec::new();
    for path in &args.owners_changed_by {
        changes.push(read_manifest(path)?.0);
    }
    if read.roles.as_ref().is_some_and(|roles| roles.owners.is_some()) && !changes.contains(&signed) {
        changes.push(signed.clone());
    }
    let document = Document::extract((&signed, &read), name, &workloads, args.revision, expires)?;
    let mut service = SignedService::unsigned(&genesis, changes, &document)?;
    let (owners, _) = service.owners(&genesis)?;
    for path in &args.owners {
        service.sign(&key_file::owner_key(path)?)?;
    }
    if let Some(stranger) = service.approvals.iter().find(|approval| !owners.keys().contains(&approval.owner))
    {
        bail_input!(
            "{} is no owner in force; sign with the owners' keys, and name the manifests that changed the owners with \
             --owners-changed-by",
            stranger.owner
        );
    }
    Ok(Extracted { service, name: document.name, genesis: genesis.digest(), threshold: owners.threshold() })
}

fn sign(file: &Path, owners: &[PathBuf]) -> anyhow::Result<()> {
    let mut service = attest::read(file)?;
    for path in owners {
        let key = key_file::owner_key(path)?;
        service.sign(&key).with_context(|| file.display().to_string())?;
        output::step(format_args!("{}: signed by {}", file.display(), key.public_key()))?;
    }
    // Next to the old one and renamed, so that no signature is lost half way.
    let unfinished = file.with_extension("new");
    std::fs::write(&unfinished, service.to_file()?)
        .and_then(|()| std::fs::rename(&unfinished, file))
        .with_context(|| format!("{} can't be written", file.display()))
}

fn show(file: &Path, confirmation: &Confirmation) -> anyhow::Result<()> {
    let service = confirmation.verify(file, &SystemClock)?;
    if output::is_json() {
        let roots: Vec<String> = service.roots.iter().map(ToString::to_string).collect();
        let workloads: Vec<String> = service.workloads.keys().map(ToString::to_string).collect();
        let models: serde_json::Map<_, _> = service
            .models
            .iter()
            .map(|(name, rule)| (name.to_string(), json!({ "minimum_version": rule.minimum_version })))
            .collect();
        return output::line(json!({
            "service": service.name.to_string(),
            "genesis": service.genesis.to_string(),
            "manifest_version": service.edition.manifest_version,
            "manifest_sha256": service.manifest_sha256.to_string(),
            "revision": service.edition.revision,
            "expires": service.expires.to_string(),
            "roots": roots,
            "workloads": workloads,
            "models": models,
        }));
    }
    output::line(format_args!("service   {}", service.name))?;
    output::line(format_args!("genesis   {}", service.genesis))?;
    let (version, revision) = (service.edition.manifest_version, service.edition.revision);
    output::line(format_args!("version   manifest {version}, revision {revision}"))?;
    output::line(format_args!("manifest  sha256 {}", service.manifest_sha256))?;
    output::line(format_args!("expires   {}", service.expires))?;
    for root in &service.roots {
        output::line(format_args!("root      {root}"))?;
    }
    for name in service.workloads.keys() {
        output::line(format_args!("workload  {name}"))?;
    }
    for (name, rule) in &service.models {
        let (signers, digests) = (rule.signers.len(), rule.digests.len());
        output::line(format_args!(
            "model     {name}: {signers} signer(s) from version {}, {digests} digest(s)",
            rule.minimum_version
        ))?;
    }
    Ok(())
}

/// A manifest with the signatures next to it, if they are there.
fn read_manifest(path: &Path) -> anyhow::Result<(SignedManifest, Manifest)> {
    let signatures = manifest::signatures_path(path);
    let signed = manifest::load(path, &signatures, signatures.exists())?;
    let read = Manifest::parse(&signed.text).with_context(|| path.display().to_string())?;
    Ok((signed, read))
}
