//! `adytum manifest new`: a draft from evidence or from what `adytum measure`
//! computes.

use std::path::PathBuf;

use adytum_api::names::WorkloadName;
use adytum_evidence::{
    policy::Policy,
    trust::{TrustRoot, Vendor},
};
use adytum_governance::{
    manifest::{
        Manifest,
        document::{Document, RecoveryTable, TrustTable},
    },
    recovery::sharing::RecoveryRecipient,
};
use anyhow::Context;
use serde_json::json;

use super::{
    contents::{Contents, commented},
    source::Source,
};
use crate::{attested::read_genesis, key_file, output};

/// Draft a manifest.
///
/// It has the workload whose evidence is given, or whose program and configuration
/// are, with the secrets that a measured configuration names. Read it before you
/// sign it: evidence says what runs, not that it should.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The genesis of the broker that it is for.
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// The manifest's version: higher than that of the one in force.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    version: u64,
    /// The workload's name.
    #[arg(long, value_name = "NAME")]
    workload: WorkloadName,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    contents: Contents,
    /// Who gets a share of the recovery key (age1.., `adytum recovery-key new`); may
    /// be given several times.
    #[arg(long = "recovery-recipient", value_name = "RECIPIENT")]
    recovery_recipients: Vec<RecoveryRecipient>,
    /// How many of them must come together; all of them by default.
    #[arg(long, value_name = "COUNT", requires = "recovery_recipients")]
    recovery_threshold: Option<u8>,
    /// Write it here instead of to standard output; never overwritten.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let genesis = read_genesis(&args.genesis)?;
    let (policy, mut notes) = args.source.policy().await?;
    let mut document = Document::new(genesis.digest(), args.version);
    document.trust = trust(&policy, &args.source.trusted.simulation_roots()?);
    let configuration = args.source.configuration()?;
    let tables = args.contents.tables(&args.workload, policy, configuration.as_ref(), &mut notes)?;
    (document.workloads, document.secrets, document.models) =
        (tables.workloads, tables.secrets, tables.models);
    document.recovery = recovery(&args, &mut notes)?;
    let mut text = commented("# A draft of `adytum manifest new`: read it before you sign it.", &notes);
    text.push_str(&document.to_toml()?);
    Manifest::parse(&text).context("the draft")?;
    let Some(out) = &args.out else { return output::document(&text) };
    key_file::write_new(out, text.as_bytes(), 0o644)?;
    output::result(
        &json!({ "file": out }),
        format_args!("{}: a draft; see `adytum manifest check` and `sign`", out.display()),
    )
}

/// Without it a broker takes no secret.
fn recovery(args: &Args, notes: &mut Vec<String>) -> anyhow::Result<Option<RecoveryTable>> {
    let recipients = &args.recovery_recipients;
    if recipients.is_empty() {
        notes.push(
            "There is no [recovery] yet, so a broker that keeps its state takes no secret: name recipients \
             (--recovery-recipient)."
                .to_owned(),
        );
        return Ok(None);
    }
    let all = u8::try_from(recipients.len()).map_err(|_| {
        input_error!("--recovery-recipient: there are {}, at most 255 are possible", recipients.len())
    })?;
    Ok(Some(RecoveryTable::shares(args.recovery_threshold.unwrap_or(all), recipients)))
}

fn trust(policy: &Policy, simulation: &[TrustRoot]) -> TrustTable {
    let simulated = policy.vendors.contains(&Vendor::Simulation);
    // Manifests are text with plain line ends.
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let root = |root: &TrustRoot| {
        Some(pem::encode_config(&pem::Pem::new("CERTIFICATE", root.certificate_der()?), lines))
    };
    TrustTable {
        vendors: policy.vendors.iter().copied().collect(),
        simulation_roots: simulation.iter().filter(|_| simulated).filter_map(root).collect(),
        ..TrustTable::default()
    }
}
