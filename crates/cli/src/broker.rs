//! `adytum broker`: verifies that it is the expected broker, and shows its state.

use std::path::PathBuf;

use adytum_api::{
    address::parse_address,
    broker::{RecoveryStatus, RotateCertificateAuthority, command},
};
use anyhow::Context;
use clap::Subcommand;
use serde_json::json;

use crate::{
    attested::{Access, Pin, Session},
    claims, confirmation, forecast, key_file, output, recovery, upgrade,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Verify a broker: its code, its platform, its genesis, its state. Sends no
    /// command.
    Verify(Args),
    /// Verify a broker and print its public state. The manifest is for owners:
    /// see `adytum manifest get`.
    Status(Args),
    /// Verify a broker and print the certificate of its certificate authority (PEM):
    /// what clients trust who connect to replicas. Former ones follow until they
    /// expire.
    Ca {
        #[command(flatten)]
        args: CaArgs,
    },
    /// Give a broker's certificate authority another key. Replicas fetch new
    /// certificates within a third of their lease. Clients that know only the previous
    /// authority accept these too.
    RotateCa {
        #[command(flatten)]
        access: Access,
    },
    /// Confirm that a broker's state is the newest there is, after it restarted
    /// unplanned or its state came from a backup. As many owners as for any change,
    /// unless the manifest lets fewer confirm; with one tool, or each with their own
    /// (--out, --signatures).
    Confirm(confirmation::Confirm),
    /// Say which workloads the broker will refuse on which platforms, from when on, why, and
    /// what to do: what a vendor's next evaluation or the end of a grace brings. One
    /// owner's or auditor's key.
    Forecast(forecast::Args),
    /// Give a broker whose root key is not on its machine the share that was made for
    /// a recovery key. As many holders as the manifest says each do so.
    Recover(recovery::Recover),
    /// Let the broker hand its root key to the next one, of another code. As many
    /// owners as for any change.
    AuthoriseUpgrade(upgrade::Authorise),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CaArgs {
    /// The broker's address.
    #[arg(value_name = "HOST:PORT", value_parser = parse_address, env = "ADYTUM_BROKER")]
    broker: String,
    #[command(flatten)]
    pin: Pin,
    /// Write it here instead; never overwritten.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The broker's address.
    #[arg(value_name = "HOST:PORT", value_parser = parse_address, env = "ADYTUM_BROKER")]
    broker: String,
    #[command(flatten)]
    pin: Pin,
}

pub(crate) async fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::Verify(args) => verify(args).await,
        Action::Status(args) => status(args).await,
        Action::Ca { args } => ca(args).await,
        Action::RotateCa { access } => rotate_ca(access).await,
        Action::Confirm(args) => confirmation::run(args).await,
        Action::Forecast(args) => forecast::run(args).await,
        Action::Recover(args) => recovery::run(args).await,
        Action::AuthoriseUpgrade(args) => upgrade::run(args).await,
    }
}

async fn ca(args: CaArgs) -> anyhow::Result<()> {
    let mut session = args.pin.open(&args.broker).await?;
    let certificates = session.status().await?.certificate_authority;
    if certificates.is_empty() {
        bail_input!(
            "the broker has no certificate authority yet; add a secret of the kind tls-certificate or ssl-config to the \
             manifest, and apply it with `adytum manifest apply`"
        );
    }
    let certificates = String::from_utf8(certificates).context("the broker's certificates")?;
    let Some(out) = args.out else {
        return match output::is_json() {
            true => output::line(json!({ "certificates": certificates })),
            false => output::text(&certificates),
        };
    };
    key_file::write_new(&out, certificates.as_bytes(), 0o644)?;
    let count = certificates.matches("BEGIN CERTIFICATE").count();
    output::result(
        &json!({ "file": out, "certificates": count }),
        format_args!("{}: {count} certificate(s)", out.display()),
    )
}

async fn rotate_ca(access: Access) -> anyhow::Result<()> {
    let rotate = RotateCertificateAuthority {};
    access.execute(command::Command::RotateCertificateAuthority(rotate)).await?;
    output::result(
        &json!({ "rotated": true }),
        "the certificate authority has another key; give clients what `adytum broker ca` prints now",
    )
}

async fn verify(args: Args) -> anyhow::Result<()> {
    let session = args.pin.open(&args.broker).await?;
    if output::is_json() {
        let claims = serde_json::to_value(&session.claims)?;
        let head = head(&session);
        return output::line(json!({ "address": args.broker, "claims": claims, "broker": head }));
    }
    output::line(format_args!("{} is the expected broker", args.broker))?;
    output::line(format_args!("genesis      {}", session.broker.genesis))?;
    if let Some(digest) = session.broker.occlum {
        output::line(format_args!("occlum       configuration {digest}, which owners have not signed"))?;
    }
    for (name, value) in claims::described(&session.claims) {
        output::line(format_args!("{name:<12} {value}"))?;
    }
    output::line(format_args!(
        "state        epoch {}, manifest version {}, {} audit record(s)",
        session.broker.head.epoch, session.broker.head.manifest_version, session.broker.head.audit_size
    ))?;
    claims::warn_of_simulation(&session.claims)
}

async fn status(args: Args) -> anyhow::Result<()> {
    let mut session = args.pin.open_any_state(&args.broker).await?;
    let recovery = session.recovery().await?;
    if recovery.awaiting || recovery.fenced {
        return without_key(&args, &session, &recovery);
    }
    let mut session = args.pin.open(&args.broker).await?;
    let status = session.status().await?;
    if output::is_json() {
        let mut head = head(&session);
        head["manifest_version"] = json!(status.manifest_version);
        head["awaiting_confirmation"] = json!(status.awaiting_confirmation);
        return output::line(json!({ "address": args.broker, "broker": head }));
    }
    output::line(format_args!("genesis           {}", session.broker.genesis))?;
    output::line(format_args!("epoch             {}", status.epoch))?;
    match status.manifest_version {
        0 => output::line("manifest version  none yet; give one with `adytum manifest apply`"),
        version => output::line(format_args!("manifest version  {version}")),
    }?;
    if status.awaiting_confirmation {
        output::line("WAITS             for the owners: `adytum broker confirm`")?;
    }
    Ok(())
}

/// A broker that has no root key, and so no state yet.
fn without_key(args: &Args, session: &Session, recovery: &RecoveryStatus) -> anyhow::Result<()> {
    if output::is_json() {
        let genesis = session.broker.genesis.to_string();
        let broker = json!({
            "genesis": genesis,
            "awaiting_recovery": recovery.awaiting,
            "fenced": recovery.fenced,
            "threshold": recovery.threshold,
            "supplied": recovery.supplied,
        });
        return output::line(json!({ "address": args.broker, "broker": broker }));
    }
    output::line(format_args!("genesis           {}", session.broker.genesis))?;
    if recovery.fenced {
        return output::line("FENCED            its root key went to the next broker");
    }
    output::line("WAITS             for recovery: `adytum broker recover`")?;
    output::line(format_args!("shares            {}", recovery::held(recovery)))
}

fn head(session: &Session) -> serde_json::Value {
    let head = &session.broker.head;
    json!({
        "genesis": session.broker.genesis.to_string(),
        "epoch": head.epoch,
        "manifest_version": head.manifest_version,
        "audit_size": head.audit_size,
        "audit_hash": head.audit_hash.map(|hash| hash.to_string()),
        "occlum_configuration": session.broker.occlum.map(|digest| digest.to_string()),
    })
}
