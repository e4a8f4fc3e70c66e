//! `adytum deployment new`: an owner's directory with its keys and its plan.

use std::path::{Path, PathBuf};

use adytum_api::names::WorkloadName;
use anyhow::Context as _;

use super::{
    plan::{FILE, Plan},
    source::ModelArgument,
    values::service_name,
};
use crate::{output, owner_directory::OwnerDirectory, ssl_config};

/// Names that clients on the same machine use.
const LOCAL: [&str; 2] = ["localhost", "127.0.0.1"];

/// Make an owner's directory: keys, genesis, certificate, and deployment.toml.
///
/// Keys that are there already are kept. deployment.toml says what is deployed: edit it, or give
/// `adytum deployment build` further models and names.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  adytum deployment new --owner-directory owner --model iris.onnx
  adytum deployment new --owner-directory owner --workload tables --model iris=iris.onnx --model wine@7=wine/ --host iris.example.org")]
pub(crate) struct Args {
    /// The owner's directory, which is made.
    #[arg(long, value_name = "DIRECTORY", env = "ADYTUM_OWNER_DIRECTORY")]
    owner_directory: PathBuf,
    /// A model: an ONNX file or a SavedModel, with its name, and the number of its first version
    /// after @ if that is not 1; may be given several times.
    #[arg(long = "model", value_name = "[NAME[@VERSION]=]FILE", required = true)]
    models: Vec<ModelArgument>,
    /// The workload's name in the manifest; by default that of the first model.
    #[arg(long, value_name = "NAME")]
    workload: Option<WorkloadName>,
    /// A further name or address that clients use, in the server's certificate; may be given
    /// several times. localhost, 127.0.0.1 and the Service's name in Kubernetes are there always. A
    /// certificate that is there already is kept with its names; then it must have this one.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let models = args.models.iter().map(ModelArgument::planned).collect::<anyhow::Result<Vec<_>>>()?;
    let file = args.owner_directory.join(FILE);
    refuse_existing(&file)?;
    let workload = match (args.workload, models.first()) {
        (Some(workload), _) => workload,
        (None, Some(model)) => model.name.as_str().parse().context("--workload")?,
        (None, None) => bail_input!("give a --model"),
    };
    let mut plan = Plan::new(workload, Vec::new(), models);
    if plan.models.len() < args.models.len() {
        bail_input!("two of the models have one name; give each its own: --model NAME=FILE");
    }
    let directory = OwnerDirectory::create(&args.owner_directory)?;
    let _lock = directory.lock()?;
    // Another process may have made it before the directory was locked.
    refuse_existing(&file)?;
    // A certificate that is there stays, with its names.
    let certificate = directory.public("server.crt");
    let hosts = match certificate.exists() {
        true => ssl_config::names(&certificate)?.into_iter().chain(args.hosts).collect(),
        false => hosts(&plan.workload, args.hosts),
    };
    plan.add(hosts, Vec::new());
    let keys = directory.keys(&plan.hosts)?;
    plan.save(&directory)?;
    let names: Vec<String> = plan.names().iter().map(ToString::to_string).collect();
    output::line(format_args!("genesis      {}", keys.genesis.digest()))?;
    output::line(format_args!(
        "certificate  {} for {}",
        directory.public("server.crt").display(),
        plan.hosts.join(", ")
    ))?;
    output::line(format_args!(
        "plan         {}: the workload {} with {}",
        file.display(),
        plan.workload,
        names.join(", ")
    ))?;
    output::line(format_args!(
        "\nNext: adytum deployment build --owner-directory {}",
        args.owner_directory.display()
    ))
}

fn refuse_existing(file: &Path) -> anyhow::Result<()> {
    if file.exists() {
        bail_input!(
            "{} is there already: edit it, or give further models and names to `adytum deployment build`",
            file.display()
        );
    }
    Ok(())
}

/// The names in a certificate that is made.
pub(crate) fn hosts(workload: &WorkloadName, further: Vec<String>) -> Vec<String> {
    let own = LOCAL.map(str::to_owned).into_iter().chain([service_name(workload)]);
    own.chain(further).collect()
}
