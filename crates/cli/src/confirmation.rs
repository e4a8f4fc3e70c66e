//! `adytum broker confirm`: owners say that a broker's state is the newest, or that a
//! newer one is given up for it.

use std::path::{Path, PathBuf};

use adytum_api::broker::command;
use adytum_governance::{
    confirmation::{Confirmation, MAXIMUM_LENGTH, SignedConfirmation},
    head::follows,
};
use adytum_signing::OwnerSigningKey;
use anyhow::Context;

use crate::{
    attested::{Access, Session},
    key_file, output,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Confirm {
    #[command(flatten)]
    access: Access,
    /// The state is older than one seen before, as expected: a backup was
    /// restored. Give the newer state up, and forget it.
    #[arg(long)]
    accept_rollback: bool,
    /// What other owners have signed, as --out wrote it: sign it, too.
    #[arg(long, value_name = "FILE")]
    signatures: Option<PathBuf>,
    /// Send nothing: write the signatures here, for the next owner's --signatures; never
    /// overwritten.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Send nothing and sign nothing: the owners have accepted the rollback already, and
    /// this tool forgets the newer state, too.
    #[arg(long, requires = "accept_rollback", conflicts_with_all = ["signatures", "out"])]
    forget_newer: bool,
}

pub(crate) async fn run(args: Confirm) -> anyhow::Result<()> {
    let (mut session, owners) =
        if args.accept_rollback { args.access.open_any_state().await? } else { args.access.open().await? };
    session.require_state()?;
    if args.forget_newer {
        return forget_newer(&mut session).await;
    }
    let confirmation = present(&mut session, args.accept_rollback).await?;
    let genesis = session.genesis().digest();
    let mut signed = match &args.signatures {
        Some(path) => {
            let text = key_file::read_text(path, MAXIMUM_LENGTH as u64)?;
            let signed =
                SignedConfirmation::from_file(&text, genesis).with_context(|| path.display().to_string())?;
            same(&signed.confirmation, &confirmation).with_context(|| path.display().to_string())?;
            signed
        }
        None => SignedConfirmation::unsigned(begun(&session, confirmation)?),
    };
    sign(&session, &mut signed, &owners)?;
    match &args.out {
        Some(out) => write(&signed, &session, out),
        None => send(&mut session, &signed, &owners).await,
    }
}

/// Has these owners, by this tool, confirm that the state is the newest.
pub(crate) async fn confirm_newest(session: &mut Session, owners: &[OwnerSigningKey]) -> anyhow::Result<()> {
    let mut signed = SignedConfirmation::unsigned(present(session, false).await?);
    sign(session, &mut signed, owners)?;
    send(session, &signed, owners).await
}

/// What there is to sign of the state that the broker shows.
async fn present(session: &mut Session, accept_rollback: bool) -> anyhow::Result<Confirmation> {
    let given_up = if accept_rollback { session.remembered().cloned() } else { None };
    Ok(Confirmation { challenge: session.challenge().await?, head: session.broker.head.clone(), given_up })
}

/// The first owner to give a state up names it.
fn begun(session: &Session, confirmation: Confirmation) -> anyhow::Result<Confirmation> {
    let newer = |accepted: &Confirmation| accepted.given_up.is_some();
    if session.accepts_rollback() && !newer(&confirmation) {
        bail_input!(
            "this tool remembers no state of the broker, so there is none to give up: confirm without \
             --accept-rollback, or let an owner begin whose tool remembers the newer state"
        );
    }
    Ok(confirmation)
}

/// Is what other owners signed said of the state that the broker shows to this one?
fn same(signed: &Confirmation, present: &Confirmation) -> anyhow::Result<()> {
    if signed.challenge != present.challenge {
        bail_refused!("it was signed for another start of the broker; let the first owner begin again");
    }
    follows(&signed.head, &present.head).context("the head in it")?;
    if (signed.head.epoch, signed.head.manifest_version)
        != (present.head.epoch, present.head.manifest_version)
    {
        bail_refused!("it confirms {}, and the broker is at {}; begin again", signed.head, present.head);
    }
    Ok(())
}

fn sign(
    session: &Session,
    signed: &mut SignedConfirmation,
    owners: &[OwnerSigningKey],
) -> anyhow::Result<()> {
    let remembered = session.remembered();
    match (&signed.confirmation.given_up, session.accepts_rollback()) {
        (None, true) => bail_input!("the other owners gave nothing up; sign without --accept-rollback"),
        (Some(given_up), false) => {
            bail_input!("the other owners give {given_up} up; if you do, too, sign with --accept-rollback")
        }
        (Some(given_up), true) => {
            if let Some(seen) = remembered
                && follows(seen, given_up).is_err()
                && follows(seen, &session.broker.head).is_err()
            {
                bail_input!(
                    "the other owners give {given_up} up, and this tool remembers {seen}, which is newer: look for \
                     that state first, and if it is lost, begin with this tool"
                );
            }
            let restored = &signed.confirmation.head;
            output::step(format_args!("given up  {given_up}"))?;
            output::step(format_args!("restored  {restored}"))?;
            if restored.manifest_version < given_up.manifest_version {
                output::step(format_args!(
                    "WEAKER    what the manifests {} to {} took away counts again, also owners that they removed: \
                     apply the newest one before anything else",
                    restored.manifest_version.saturating_add(1),
                    given_up.manifest_version
                ))?;
            }
        }
        (None, false) => {}
    }
    let (genesis, remembered) = (session.genesis().digest(), remembered.cloned());
    owners.iter().for_each(|owner| signed.sign(genesis, owner, remembered.clone()));
    Ok(())
}

fn write(signed: &SignedConfirmation, session: &Session, out: &Path) -> anyhow::Result<()> {
    key_file::write_new(out, signed.to_file(session.genesis().digest())?.as_bytes(), 0o644)?;
    let signers: Vec<_> = signed.signatures.iter().map(|one| one.approval.owner.to_string()).collect();
    output::step(format_args!("{}: signed by {}", out.display(), signers.join(", ")))
}

async fn send(
    session: &mut Session,
    signed: &SignedConfirmation,
    owners: &[OwnerSigningKey],
) -> anyhow::Result<()> {
    let command = command::Command::ConfirmState(signed.to_wire());
    if signed.confirmation.given_up.is_some() {
        session.execute_after_rollback(command, owners).await?;
    } else {
        session.execute(command, owners).await?;
    }
    output::step(format_args!("confirmed: {}", signed.confirmation.head))
}

/// For owners who did not bring the word of all of them to the broker.
async fn forget_newer(session: &mut Session) -> anyhow::Result<()> {
    if session.status_of_any_state().await?.awaiting_confirmation {
        bail_refused!(
            "the owners have not accepted this state yet; let them sign with `adytum broker confirm` first"
        );
    }
    session.forget_newer()?;
    output::step(format_args!("remembered: {}", session.broker.head))
}
