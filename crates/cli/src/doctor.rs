//! `adytum doctor`: the parts of this machine, or of a cluster, that confidential inference needs.

mod cluster;
mod kubectl;
mod machine;
mod objects;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use adytum_evidence::measurement::Fmspc;
use adytum_init::arguments::parse_duration;
use serde::Serialize;

use crate::{collateral::Places, output, progress};

/// Look at this machine, or with --cluster at a cluster; each part with its remedy.
///
/// It exits with 1 if something is wrong, and not for a part that is merely absent.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  adytum doctor
  adytum doctor --collateral https://pccs.example.com:8081 --fmspc 00606a000000 --json
  adytum doctor --cluster --namespace models")]
pub(crate) struct Args {
    #[command(flatten)]
    places: Places,
    /// The family of the SGX or TDX machines (FMSPC), to see whether there is collateral for it and for
    /// how long.
    #[arg(long, value_name = "HEX")]
    fmspc: Option<Fmspc>,
    /// A port that should be free; may be given several times. By default 50051, 8500 and 8501.
    #[arg(long = "port", value_name = "PORT")]
    ports: Vec<u16>,
    /// Look at a cluster and a namespace with kubectl instead of at this machine.
    #[arg(long, conflicts_with_all = ["ports", "fmspc"])]
    cluster: bool,
    /// The program that asks the cluster.
    #[arg(long, value_name = "PROGRAM", default_value = "kubectl", requires = "cluster")]
    kubectl: OsString,
    /// The context of kubectl's configuration.
    #[arg(long, value_name = "NAME", requires = "cluster")]
    kube_context: Option<String>,
    /// The namespace of broker and replicas. By default that of kubectl's context.
    #[arg(long, value_name = "NAME", requires = "cluster")]
    namespace: Option<String>,
    /// How long each question to the cluster may take.
    #[arg(long, value_name = "TIME", default_value = "20s", requires = "cluster", value_parser = parse_duration)]
    patience: Duration,
}

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[serde(rename = "ok")]
    Good,
    /// It is not there, and nothing but hardware needs it.
    Absent,
    /// It works, and may not for long.
    Warning,
    #[serde(rename = "fault")]
    Wrong,
    /// It could not be looked at.
    Unknown,
}

/// A part of the machine or of the cluster.
#[derive(Debug, Serialize)]
struct Finding {
    part: &'static str,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn good(part: &'static str, found: impl Into<String>) -> Self {
        Self { part, state: State::Good, found: found.into(), remedy: None }
    }

    fn absent(part: &'static str, found: impl Into<String>, remedy: &str) -> Self {
        Self { part, state: State::Absent, found: found.into(), remedy: Some(remedy.to_owned()) }
    }

    fn warning(part: &'static str, found: impl Into<String>, remedy: &str) -> Self {
        Self { part, state: State::Warning, found: found.into(), remedy: Some(remedy.to_owned()) }
    }

    fn wrong(part: &'static str, found: impl Into<String>, remedy: &str) -> Self {
        Self { part, state: State::Wrong, found: found.into(), remedy: Some(remedy.to_owned()) }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let findings = if args.cluster {
        let kubectl = kubectl::Kubectl {
            program: args.kubectl,
            context: args.kube_context,
            namespace: args.namespace,
            limit: args.patience,
        };
        let _working = progress::working("asking the cluster");
        cluster::findings(&kubectl).await?
    } else {
        machine::findings(&args).await
    };
    print(&findings)?;
    let wrong = findings.iter().any(|finding| finding.state == State::Wrong);
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(findings: &[Finding]) -> anyhow::Result<()> {
    if output::is_json() {
        output::line(serde_json::to_string_pretty(findings)?)?;
    } else {
        for Finding { part, state, found, remedy } in findings {
            let sign = match state {
                State::Good => "ok",
                State::Absent => "--",
                State::Warning => "! ",
                State::Wrong => "!!",
                State::Unknown => "??",
            };
            output::line(format_args!("{sign}  {part:<12} {found}"))?;
            if let Some(remedy) = remedy {
                output::line(format_args!("    {:<12} {remedy}", ""))?;
            }
        }
    }
    Ok(())
}
