//! `adytum evidence`: evidence as a file, for `adytum manifest new` and `explain`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use adytum_evidence::{
    attester::{self, Attester},
    claims::Claims,
    evidence::{Evidence, MAXIMUM_EVIDENCE_LENGTH},
};
use adytum_init::arguments::TeeChoice;
use anyhow::Context;
use clap::Subcommand;
use serde_json::json;

use crate::{
    claims::{described, warn_of_simulation},
    key_file, output,
    replica::Replica,
    trusted::TrustedRoots,
    verify,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Write evidence to a file.
    ///
    /// It is evidence of what this TEE measured: in a confidential VM of the guest,
    /// in an enclave of this command. A replica in an enclave writes its own:
    /// `adytum-init --write-evidence FILE`, and so does `adytum-serving`.
    Collect(Collect),
    /// Verify evidence and print what it says.
    Show {
        /// A quote, as `collect` and `--write-evidence` write it, or a certificate with one
        /// (see `adytum verify`).
        #[arg(required_unless_present = "address", conflicts_with = "address")]
        file: Option<PathBuf>,
        #[command(flatten)]
        replica: Replica,
        #[command(flatten)]
        trusted: TrustedRoots,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Collect {
    /// The TEE: auto, occlum, gramine, tsm, or simulation=DIRECTORY where the build
    /// has it.
    #[arg(long, value_name = "TEE", default_value = "auto")]
    tee: TeeChoice,
    /// Simulation only: the measured configuration of the workload to show.
    #[arg(long, value_name = "FILE", requires = "program")]
    configuration: Option<PathBuf>,
    /// Simulation only: its program.
    #[arg(long, value_name = "FILE", requires = "configuration")]
    program: Option<PathBuf>,
    /// Simulation only: the init that starts it; the program itself by default.
    #[arg(long, value_name = "FILE", requires = "program")]
    init: Option<PathBuf>,
    /// SEV-SNP: where to get this chip's certificate if the host does not give it, a KDS
    /// (URL) or a directory; by default AMD's own KDS.
    #[arg(long, env = "AMD_KDS_URL", value_name = "URL|DIRECTORY")]
    amd_kds: Option<String>,
    /// Where the evidence goes; never overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) async fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::Collect(args) => collect(args).await,
        Action::Show { file, replica, trusted } => show(file.as_deref(), &replica, &trusted).await,
    }
}

async fn collect(args: Collect) -> anyhow::Result<()> {
    let attester = attester(&args).await?;
    let evidence = adytum_init::tee::evidence_for_file(&*attester).await?;
    key_file::write_new(&args.out, &evidence.to_file(), 0o644)?;
    let platform = attester.platform();
    output::result(
        &json!({ "evidence": args.out, "platform": platform.to_string() }),
        format_args!("{}: evidence from {platform}", args.out.display()),
    )
}

async fn attester(args: &Collect) -> anyhow::Result<Arc<dyn Attester>> {
    let interface = match &args.tee {
        TeeChoice::Hardware(interface) => interface,
        TeeChoice::Simulation(platform) => {
            let (Some(configuration), Some(program)) = (&args.configuration, &args.program) else {
                bail_input!(
                    "a simulated platform measures nothing by itself; give --configuration and --program"
                );
            };
            return simulated(platform, configuration, args.init.as_ref().unwrap_or(program), program).await;
        }
    };
    if args.configuration.is_some() {
        bail_input!(
            "--configuration is for --tee simulation=DIRECTORY; leave it out: a TEE measures by itself"
        );
    }
    Ok(attester::endorsed(interface.open()?, None, args.amd_kds.as_deref())?)
}

#[cfg(feature = "simulation")]
async fn simulated(
    platform: &str,
    configuration: &Path,
    init: &Path,
    program: &Path,
) -> anyhow::Result<Arc<dyn Attester>> {
    let measured = adytum_init::configuration::measure(configuration, init, program)?;
    output::note("adytum: a simulated platform protects nothing");
    Ok(adytum_sim::open_attester(platform, measured.identity, std::time::Duration::ZERO).await?)
}

#[cfg(not(feature = "simulation"))]
async fn simulated(_: &str, _: &Path, _: &Path, _: &Path) -> anyhow::Result<Arc<dyn Attester>> {
    bail_input!("this is a production build, without simulation; use a build with it")
}

/// Reads a quote, or a SEV-SNP report with its certificates.
pub(crate) fn read(file: &Path) -> anyhow::Result<Evidence> {
    let bytes = key_file::read_bytes(file, 2 * MAXIMUM_EVIDENCE_LENGTH as u64).context("the evidence")?;
    Ok(Evidence::from_file(bytes.to_vec()))
}

async fn show(file: Option<&Path>, replica: &Replica, trusted: &TrustedRoots) -> anyhow::Result<()> {
    if let Some(file) = file {
        return verify::show(file, trusted).await;
    }
    let claims = claims(None, replica, trusted).await?;
    if output::is_json() {
        return output::line(json!({ "claims": serde_json::to_value(&claims)? }));
    }
    for (name, value) in described(&claims) {
        output::line(format_args!("{name:<12} {value}"))?;
    }
    warn_of_simulation(&claims)
}

/// What the evidence in a file or of a replica says, once it is verified.
pub(crate) async fn claims(
    file: Option<&Path>,
    replica: &Replica,
    trusted: &TrustedRoots,
) -> anyhow::Result<Claims> {
    let verifier = trusted.verifier()?;
    match file {
        Some(file) => verifier.verify(&read(file)?).await.with_context(|| file.display().to_string()),
        None => {
            Ok(replica.claims(verifier).await.ok_or_else(|| input_error!("give a file, or --replica"))??)
        }
    }
}
