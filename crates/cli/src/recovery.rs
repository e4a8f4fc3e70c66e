//! `adytum broker recover`: bring a broker's root key back with a share of it.

use std::path::PathBuf;

use adytum_api::broker::{RecoveryStatus, SupplyShareRequest};
use adytum_evidence::verifier::Verifier;
use adytum_governance::recovery::arrangement::Arrangement;

use crate::{
    attested::{Target, read_policy},
    key_file, output,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Recover {
    /// The recovery key: an identity that `adytum recovery-key new` made.
    #[arg(long, value_name = "FILE")]
    recovery_key: PathBuf,
    /// Only see whether the key opens the share that the broker has for it. Sends
    /// nothing; do it whenever the manifest's `[recovery]` changes.
    #[arg(long)]
    check: bool,
    /// Which code the broker had that made the shares, if it is another than the
    /// present one may have: a policy in TOML.
    #[arg(long, value_name = "FILE")]
    arranged_by: Option<PathBuf>,
    /// The simulated platform on which the shares were made, if it is another than
    /// that of --trust-simulation: its root certificate. It protects nothing.
    #[cfg(feature = "simulation")]
    #[arg(long, value_name = "ROOT.pem")]
    arranged_on: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

impl Recover {
    /// A recovery with the files of an owner's directory.
    pub(crate) fn with_files(recovery_key: PathBuf, arranged_by: Option<PathBuf>, target: Target) -> Self {
        Self {
            recovery_key,
            check: false,
            arranged_by,
            #[cfg(feature = "simulation")]
            arranged_on: None,
            target,
        }
    }

    /// Verifies who made the shares.
    fn verifier(&self) -> anyhow::Result<Verifier> {
        #[cfg(feature = "simulation")]
        if let Some(root) = &self.arranged_on {
            return crate::trusted::TrustedRoots::verifier_on(root);
        }
        self.target.pin().trusted().verifier()
    }
}

pub(crate) async fn run(args: Recover) -> anyhow::Result<()> {
    let identity = key_file::recovery_identity(&args.recovery_key)?;
    let mut session = args.target.open_any_state().await?;
    let status = session.recovery().await?;
    if status.fenced {
        bail_input!(
            "this broker handed its root key to the next one, so there is nothing to recover here; give the address of the next broker"
        );
    }
    if status.arrangement.is_empty() {
        bail_input!(
            "this broker has no shares: its manifest names no recipients in [recovery]; restore a backup on the machine that made it"
        );
    }
    let arrangement = Arrangement::decode(&status.arrangement)?;
    // Encryption is no authorship: what the host itself encrypted to this key must
    // not be sent as a share.
    let policy = match &args.arranged_by {
        Some(path) => read_policy(path)?,
        None => args.target.pin().policy()?,
    };
    let genesis = session.genesis().digest();
    arrangement.verify(genesis, &args.verifier()?, &policy).await?;
    let recipient = identity.recipient();
    let wrapped = arrangement.share_of(&recipient).ok_or_else(|| {
        input_error!("the broker has no share for {recipient}; give the key of a recipient in its manifest")
    })?;
    let share = identity.unwrap(&wrapped.wrapped)?;
    if !arrangement.is_share(genesis, wrapped, &share) {
        bail_refused!(
            "the share for this key is not the one that the broker made, so its state file was changed; restore a backup of it"
        );
    }
    if args.check {
        return output::step(format_args!(
            "{recipient} has a share; {} of {} recipients recover the root key",
            arrangement.threshold(),
            arrangement.shares().len()
        ));
    }
    if !status.awaiting {
        bail_input!(
            "this broker has its root key and takes no share; see whether yours is right with --check"
        );
    }
    let request = SupplyShareRequest {
        arrangement: arrangement.id().to_vec(),
        recipient: recipient.to_string(),
        share: share.expose().to_vec(),
    };
    let status = session.supply_share(request).await?;
    match status.awaiting {
        true => output::step(held(&status)),
        false => output::step(
            "the root key is recovered; now the owners confirm that the state is the newest: `adytum broker confirm`",
        ),
    }
}

/// How far a recovery is, for people.
pub(crate) fn held(status: &RecoveryStatus) -> String {
    let supplied = match status.supplied.as_slice() {
        [] => "none yet".to_owned(),
        some => some.join(", "),
    };
    format!("{} of {} shares are there: {supplied}", status.supplied.len(), status.threshold)
}
