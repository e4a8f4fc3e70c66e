//! `adytum deployment build`: sealed models, measurements, the signed manifest.

use std::{
    fs,
    path::{Path, PathBuf},
};

use adytum_api::names::ModelName;
use adytum_evidence::policy::Policy;
#[cfg(feature = "simulation")]
use adytum_evidence::{claims::TeeKind, measurement::WorkloadIdentity, trust::Vendor};
use adytum_init::configuration::measure;
#[cfg(feature = "simulation")]
use adytum_sim::Platform;
use anyhow::Context as _;

use super::{
    plan::{Plan, PlannedModel},
    source::ModelArgument,
    values::{Tee, Values},
};
#[cfg(feature = "simulation")]
use crate::measure::broker_identity;
use crate::{
    attested::read_policy,
    output,
    owner_directory::{Keys, OwnerDirectory, Service, remove, replace},
    programs::Programs,
};

/// The values for Helm.
const VALUES: &str = "helm-values.yaml";

/// Bring an owner's directory up to date: seal changed models, measure the programs, sign the
/// manifest.
///
/// Run again, it makes what is missing: a changed model becomes its next version, and the manifest
/// gets a higher version if it says anything else than before. A floor that was raised stays. On
/// hardware a TEE says what it measured only once an image is there. Without --broker-policy
/// there is no measured configuration, without that or --workload-policy no signed manifest.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  adytum deployment build --owner-directory owner --simulate
  adytum deployment build --owner-directory owner --programs target/images/bin/production --broker-policy broker.toml --workload-policy workload.toml")]
pub(crate) struct Args {
    /// The owner's directory.
    #[arg(long, value_name = "DIRECTORY", env = "ADYTUM_OWNER_DIRECTORY")]
    owner_directory: PathBuf,
    /// The directory with the programs that will run, to be measured: adytum-broker and
    /// adytum-serving. By default that of this program.
    #[arg(long, value_name = "DIRECTORY")]
    programs: Option<PathBuf>,
    /// A further model, or another file for a model, as for `adytum deployment new`; it is noted in
    /// deployment.toml.
    #[arg(long = "model", value_name = "[NAME[@VERSION]=]FILE")]
    models: Vec<ModelArgument>,
    /// A further name in the server's certificate; it is noted in deployment.toml. A certificate
    /// that is there and lacks it is not replaced.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// The policy that identifies the broker on hardware (TOML); see `adytum workload policy`.
    #[arg(long, value_name = "FILE")]
    broker_policy: Option<PathBuf>,
    /// The policy that identifies the workload on hardware (TOML).
    #[arg(long, value_name = "FILE", requires = "broker_policy")]
    workload_policy: Option<PathBuf>,
    /// The tables of the measured configuration that pin ONNX Runtime (TOML): it runs the models.
    #[arg(long, value_name = "FILE")]
    engine: Option<PathBuf>,
    /// Simulate the TEE, which protects nothing.
    #[cfg(feature = "simulation")]
    #[arg(long, conflicts_with_all = ["broker_policy", "workload_policy"])]
    simulate: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let models = args.models.iter().map(ModelArgument::planned).collect::<anyhow::Result<Vec<_>>>()?;
    let directory = OwnerDirectory::at(&args.owner_directory);
    // No directory is made of nothing.
    Plan::require_file(&directory)?;
    let directory = OwnerDirectory::create(&args.owner_directory)?;
    let _lock = directory.lock()?;
    let mut plan = Plan::require(&directory)?;
    plan.add(args.hosts.clone(), models);
    // A name that the certificate lacks is refused before it is noted.
    let keys = directory.keys(&plan.hosts)?;
    plan.save(&directory)?;
    output::line(format_args!("owner's directory  {}", directory.path().display()))?;
    output::line(format_args!("genesis            {}", keys.genesis.digest()))?;
    let lowest = directory.floors()?;
    for model in &plan.models {
        let floor = lowest.get(&model.name).copied().unwrap_or_default();
        let what = seal(&directory, &keys, model, floor)?;
        output::line(format_args!("model              {} {what}", model.name))?;
    }
    let programs = Programs::find(args.programs.as_deref())?;
    args.documents(&directory, &keys, &plan, &programs)
}

/// Seals a model if it is another than before, and says which version it is.
fn seal(directory: &OwnerDirectory, keys: &Keys, model: &PlannedModel, floor: u64) -> anyhow::Result<String> {
    let PlannedModel { name, source, first_version } = model;
    let context = || format!("the model {name} from {}", source.display());
    // A model that is the same is not checked again.
    if let Some(version) = directory.unchanged(name, source).with_context(context)? {
        let retired = if version < floor { ", which is retired" } else { "" };
        return Ok(format!("version {version}, as before{retired}"));
    }
    let sealed = directory.release(keys, name, source, floor.max(*first_version)).with_context(context)?;
    Ok(format!("version {}, checked and sealed", sealed.version))
}

/// What identifies a program, and how the TEE is called.
struct Ground {
    tee: Tee,
    simulation_root: Option<String>,
}

impl Args {
    fn ground(&self, directory: &OwnerDirectory) -> anyhow::Result<Ground> {
        #[cfg(feature = "simulation")]
        if self.simulate {
            let platform = Platform::create_or_open(directory.platform())?;
            let root = platform.root_certificate_pem().to_owned();
            directory.write_platform_secret()?;
            return Ok(Ground { tee: Tee::Simulation, simulation_root: Some(root) });
        }
        remove(&directory.public("simulation-root.pem"))?;
        Ok(Ground { tee: Tee::Hardware, simulation_root: None })
    }

    fn broker_policy(&self, programs: &Programs) -> anyhow::Result<Option<Policy>> {
        #[cfg(feature = "simulation")]
        if self.simulate {
            return Ok(Some(simulated(broker_identity(&programs.broker)?)));
        }
        let _ = programs;
        self.broker_policy.as_deref().map(read_policy).transpose()
    }

    /// Measures the programs, and writes what depends on that.
    fn documents(
        &self,
        directory: &OwnerDirectory,
        keys: &Keys,
        plan: &Plan,
        programs: &Programs,
    ) -> anyhow::Result<()> {
        let ground = self.ground(directory)?;
        let Some(broker) = self.broker_policy(programs)? else {
            // What an earlier run made for another broker is not this one's.
            directory.remove_configuration()?;
            withdraw(directory)?;
            return output::line(
                "broker             not identified yet: --broker-policy FILE (build.sh -p FILE)",
            );
        };
        output::line(format_args!("broker             {}", pinned(&broker)))?;
        let engine = self.engine.as_deref().map(read_engine).transpose()?;
        let models: Vec<ModelName> = plan.names();
        let service = Service {
            workload: &plan.workload,
            models: &models,
            broker: &broker,
            simulation_root: ground.simulation_root.as_deref(),
            engine: engine.as_ref(),
        };
        let configuration = directory.write_configuration(keys, &service)?;
        let identity = measure(&configuration, &programs.serving, &programs.serving)?.identity;
        output::line(format_args!("workload           {} {identity}", plan.workload))?;
        let policy = match (&self.workload_policy, ground.tee) {
            #[cfg(feature = "simulation")]
            (_, Tee::Simulation) => simulated(identity),
            (Some(file), _) => read_policy(file)?,
            (None, _) => {
                withdraw(directory)?;
                return output::line(
                    "manifest           not made yet: --workload-policy FILE (build.sh -w FILE)",
                );
            }
        };
        let version = directory.write_manifest(keys, &service, &policy)?;
        output::line(format_args!("manifest           version {version}"))?;
        let genesis = fs::read_to_string(directory.public("genesis.toml"))?;
        let tee = Tee::of(&policy).unwrap_or(ground.tee);
        let values =
            Values { tee, workload: &plan.workload, models: &models, replicas: 1, genesis: &genesis };
        let file = directory.public(VALUES);
        replace(&file, values.to_yaml(directory.path(), &file)?.as_bytes(), 0o644)?;
        output::line(format_args!("values for Helm    {}", file.display()))
    }
}

/// Takes back what an earlier build made that is deployed: the manifest, and the values for Helm.
fn withdraw(directory: &OwnerDirectory) -> anyhow::Result<()> {
    directory.withdraw_manifest()?;
    remove(&directory.public(VALUES))
}

/// The policy that exactly this program on a simulated platform meets.
#[cfg(feature = "simulation")]
pub(crate) fn simulated(identity: WorkloadIdentity) -> Policy {
    Policy::for_identity(Vendor::Simulation, TeeKind::Sgx, identity)
}

fn read_engine(path: &Path) -> anyhow::Result<toml::Table> {
    let text = fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
    let table: toml::Table = toml::from_str(&text).with_context(|| path.display().to_string())?;
    if let Some(other) = table.keys().find(|name| !["onnxruntime", "library"].contains(&name.as_str())) {
        bail_input!("{} has {other:?}; expected [onnxruntime] and [[library]] alone", path.display());
    }
    Ok(table)
}

/// What a policy goes by, for people.
fn pinned(policy: &Policy) -> String {
    let sets = [
        ("identity", list(&policy.identity)),
        ("mr_enclave", list(&policy.mr_enclave)),
        ("mr_td", list(&policy.mr_td)),
        ("snp_measurement", list(&policy.snp_measurement)),
    ];
    let found = sets.into_iter().find(|(_, values)| !values.is_empty());
    found.map_or_else(|| "of one signer".to_owned(), |(name, values)| format!("{name} {values}"))
}

fn list(values: &std::collections::BTreeSet<impl ToString>) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
