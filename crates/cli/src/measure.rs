//! `adytum measure`: the identity of a workload or a broker, from its files,
//! before anything runs.

use std::path::{Path, PathBuf};

use adytum_evidence::measurement::{Sha256Digest, WorkloadIdentity};
use adytum_governance::measured::MeasuredConfiguration;
use anyhow::Context;
use serde_json::json;

use crate::output;

/// Compute an identity as the TEE will show it.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["program", "broker"])))]
pub(crate) struct Args {
    /// The workload's measured configuration.
    #[arg(long, value_name = "FILE", required_unless_present = "broker", conflicts_with = "broker")]
    configuration: Option<PathBuf>,
    /// The workload's program.
    #[arg(long, value_name = "FILE", requires = "configuration")]
    program: Option<PathBuf>,
    /// The init that starts it; the program itself by default, where init is a
    /// library in it.
    #[arg(long, value_name = "FILE", requires = "program")]
    init: Option<PathBuf>,
    /// A broker's binary, instead of a workload.
    #[arg(long, value_name = "FILE")]
    broker: Option<PathBuf>,
}

/// The identity of a broker with this program.
pub(crate) fn broker_identity(program: &Path) -> anyhow::Result<WorkloadIdentity> {
    Ok(MeasuredConfiguration::default().identity(digest(program)?))
}

fn digest(program: &Path) -> anyhow::Result<Sha256Digest> {
    Sha256Digest::of_file(program).with_context(|| format!("{} can't be read", program.display()))
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    if let Some(broker) = &args.broker {
        if output::is_json() {
            let (program, configuration) = (digest(broker)?, MeasuredConfiguration::default());
            return output::line(json!({
                "identity": configuration.identity(program),
                "init": program,
                "program": program,
                "configuration": Sha256Digest::of_bytes(&configuration.canonical()),
            }));
        }
        return output::line(broker_identity(broker)?);
    }
    let (Some(configuration), Some(program)) = (&args.configuration, &args.program) else {
        bail_input!("give --configuration and --program, or --broker");
    };
    let init = args.init.as_ref().unwrap_or(program);
    let measurement = adytum_init::configuration::measure(configuration, init, program)?;
    if output::is_json() {
        return output::line(serde_json::to_string(&measurement)?);
    }
    output::line(measurement.identity)
}
