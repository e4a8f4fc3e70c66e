//! `adytum workload`: a workload's part of a manifest, drafted from what it shows.

use std::path::PathBuf;

use adytum_api::{address::parse_address, names::WorkloadName};
use adytum_evidence::{claims::TeeKind, policy::Policy, trust::Vendor};
use anyhow::Context;
use clap::Subcommand;
use serde_json::json;

use crate::{
    evidence, key_file,
    manifest::{
        contents::{Contents, commented},
        source::{Source, policy_of, require_simulation},
    },
    measure::broker_identity,
    output,
    replica::Replica,
    trusted::TrustedRoots,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    New(Box<NewArgs>),
    Policy(Box<PolicyArgs>),
}

/// Draft a workload's tables of a manifest: `workload` with its policy, `secret`, `model`.
///
/// They are for manifest-more.toml of an owner's directory, or for a manifest that is there
/// already; `adytum manifest new` drafts a whole one. Read them before you sign: evidence says what
/// runs, not that it should.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  adytum workload new --workload web --replica 10.0.0.7:7000 --configuration web.toml --out web-tables.toml
  adytum workload new --workload iris --from-evidence iris.evidence --model iris --signer owner/private/owner.pem")]
pub(crate) struct NewArgs {
    /// The workload's name.
    #[arg(long, value_name = "NAME")]
    workload: WorkloadName,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    contents: Contents,
    #[command(flatten)]
    destination: Destination,
}

/// Draft the policy that identifies a broker or a workload, alone.
///
/// It is a file for --broker-policy, and for --broker-policy and --workload-policy of `adytum
/// deployment build`.
#[derive(Debug, clap::Args)]
#[command(
    group(clap::ArgGroup::new("shown").required(true).args(["from_evidence", "address", "broker", "broker_program"])),
    after_help = "Examples:
  adytum workload policy --broker 10.0.0.5:5000 --out broker.toml
  adytum workload policy --from-evidence tf_demo.evidence --out workload.toml"
)]
pub(crate) struct PolicyArgs {
    /// Evidence, as `--write-evidence` and `adytum evidence collect` write it.
    #[arg(long, value_name = "FILE")]
    from_evidence: Option<PathBuf>,
    #[command(flatten)]
    replica: Replica,
    /// A broker that runs: its evidence is taken from an attested session. Compare it with what you
    /// built: whatever answers there is drafted.
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    broker: Option<String>,
    /// A broker's program, to be measured (simulated platforms only).
    #[arg(long, value_name = "FILE")]
    broker_program: Option<PathBuf>,
    #[command(flatten)]
    trusted: TrustedRoots,
    #[command(flatten)]
    destination: Destination,
}

/// Where a draft goes.
#[derive(Debug, clap::Args)]
struct Destination {
    /// Write it here instead of to standard output; never overwritten.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::New(args) => new(*args).await,
        Action::Policy(args) => policy(*args).await,
    }
}

async fn new(args: NewArgs) -> anyhow::Result<()> {
    let (policy, mut notes) = args.source.policy().await?;
    let configuration = args.source.configuration()?;
    let tables = args.contents.tables(&args.workload, policy, configuration.as_ref(), &mut notes)?;
    if configuration.is_none() {
        notes.push("No --configuration was given, so no secret is drafted.".to_owned());
    }
    let mut text = commented("# A draft of `adytum workload new`: read it before you sign it.", &notes);
    text.push_str(&toml::to_string_pretty(&tables).context("the draft")?);
    args.destination.write(&text)
}

async fn policy(args: PolicyArgs) -> anyhow::Result<()> {
    let (policy, notes) = args.policy().await?;
    let mut text = commented("# A draft of `adytum workload policy`: read it before you use it.", &notes);
    text.push_str(&toml::to_string_pretty(&policy).context("the draft")?);
    args.destination.write(&text)
}

impl PolicyArgs {
    async fn policy(&self) -> anyhow::Result<(Policy, Vec<String>)> {
        if let Some(program) = &self.broker_program {
            require_simulation(&self.trusted)?;
            let identity = broker_identity(program)?;
            return Ok((Policy::for_identity(Vendor::Simulation, TeeKind::Sgx, identity), Vec::new()));
        }
        let broker = self.broker.clone().map(Replica::broker_at);
        let replica = broker.as_ref().unwrap_or(&self.replica);
        policy_of(&evidence::claims(self.from_evidence.as_deref(), replica, &self.trusted).await?)
    }
}

impl Destination {
    fn write(&self, text: &str) -> anyhow::Result<()> {
        let Some(out) = &self.out else { return output::document(text) };
        key_file::write_new(out, text.as_bytes(), 0o644)?;
        output::result(
            &json!({ "file": out }),
            format_args!("{}: a draft; read it before you use it", out.display()),
        )
    }
}
