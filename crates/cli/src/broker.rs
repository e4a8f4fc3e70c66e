//! `adytum broker`: is it the broker that is meant, and how does it stand?

use adytum_evidence::claims::{Claims, Measured};
use clap::Subcommand;
use serde_json::json;

use crate::{
    attested::{Pin, Session},
    output,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Verify a broker: its code, its platform, its founding. Sends nothing.
    Verify(Args),
    /// Verify a broker and print its public state. The manifest is for owners:
    /// see `adytum manifest get`.
    Status(Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The broker's address.
    #[arg(value_name = "HOST:PORT", env = "ADYTUM_BROKER")]
    broker: String,
    #[command(flatten)]
    pin: Pin,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::Verify(args) => verify(args).await,
        Action::Status(args) => status(args).await,
    }
}

async fn verify(args: Args) -> anyhow::Result<()> {
    let session = args.pin.open(&args.broker).await?;
    if args.json {
        let claims = serde_json::to_value(&session.claims)?;
        let head = head(&session);
        return output::line(json!({ "address": args.broker, "claims": claims, "broker": head }));
    }
    output::line(format_args!("{} is the broker that is meant", args.broker))?;
    output::line(format_args!("genesis      {}", session.broker.genesis))?;
    for (name, value) in described(&session.claims) {
        output::line(format_args!("{name:<12} {value}"))?;
    }
    output::line(format_args!(
        "state        epoch {}, manifest version {}, {} audit record(s)",
        session.broker.head.epoch, session.broker.head.manifest_version, session.broker.head.audit_size
    ))?;
    if session.claims.vendor == adytum_evidence::trust::Vendor::Simulation {
        output::line("WARNING      the platform is simulated and protects nothing")?;
    }
    Ok(())
}

async fn status(args: Args) -> anyhow::Result<()> {
    let mut session = args.pin.open(&args.broker).await?;
    let status = session.status().await?;
    if args.json {
        let mut head = head(&session);
        head["manifest_version"] = json!(status.manifest_version);
        return output::line(json!({ "address": args.broker, "broker": head }));
    }
    output::line(format_args!("genesis           {}", session.broker.genesis))?;
    output::line(format_args!("epoch             {}", status.epoch))?;
    match status.manifest_version {
        0 => output::line("manifest version  none yet; give one with `adytum manifest apply`"),
        version => output::line(format_args!("manifest version  {version}")),
    }
}

fn head(session: &Session) -> serde_json::Value {
    let head = &session.broker.head;
    json!({
        "genesis": session.broker.genesis.to_string(),
        "epoch": head.epoch,
        "manifest_version": head.manifest_version,
        "audit_size": head.audit_size,
        "audit_hash": head.audit_hash.map(|hash| hash.to_string()),
    })
}

/// What evidence says, for people.
fn described(claims: &Claims) -> Vec<(&'static str, String)> {
    let mut lines = vec![("platform", format!("{} {}", claims.vendor, claims.platform.id))];
    match &claims.measured {
        Measured::Sgx { mr_enclave, mr_signer, isv_prod_id, isv_svn, .. } => lines.extend([
            ("mr_enclave", mr_enclave.to_string()),
            ("mr_signer", mr_signer.to_string()),
            ("product", format!("{isv_prod_id}, security version {isv_svn}")),
        ]),
        Measured::Tdx { mr_td, mr_config_id, .. } => {
            lines.extend([("mr_td", mr_td.to_string()), ("mr_config_id", mr_config_id.to_string())]);
        }
        Measured::Snp { measurement, host_data, .. } => {
            lines.extend([("measurement", measurement.to_string()), ("host_data", host_data.to_string())]);
        }
    }
    let advisories = match claims.advisory_ids.len() {
        0 => String::new(),
        _ => format!(" ({})", claims.advisory_ids.iter().cloned().collect::<Vec<_>>().join(", ")),
    };
    lines.push(("tcb", format!("{:?}{advisories}", claims.tcb_status)));
    lines.push(("debug", if claims.debug { "on: a debugger reads everything" } else { "off" }.to_owned()));
    lines
}
