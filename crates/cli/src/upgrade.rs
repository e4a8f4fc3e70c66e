//! `adytum broker authorise-upgrade`: owners let a broker hand its root key to the
//! next one.

use std::path::PathBuf;

use adytum_api::broker::{AuthoriseUpgrade, command};
use adytum_governance::{
    approval::OwnerApproval,
    authorisation::{Document, SignedAuthorisation},
    manifest::document::TrustTable,
};

use crate::{
    attested::{Access, read_policy},
    key_file, output,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Authorise {
    /// Which code the next broker may have: a policy in TOML.
    #[arg(long, value_name = "FILE", required_unless_present = "withdraw")]
    next_policy: Option<PathBuf>,
    /// Where the authorisation goes, with which the next broker is started; never
    /// overwritten.
    #[arg(long, value_name = "FILE", required_unless_present = "withdraw")]
    out: Option<PathBuf>,
    /// Take the authorisation back. A state that was handed over stays so.
    #[arg(long, conflicts_with_all = ["next_policy", "out"])]
    withdraw: bool,
    #[command(flatten)]
    access: Access,
}

pub(crate) async fn run(args: Authorise) -> anyhow::Result<()> {
    let (Some(next), Some(out)) = (&args.next_policy, &args.out) else {
        let withdraw = command::Command::AuthoriseUpgrade(AuthoriseUpgrade::default());
        args.access.execute(withdraw).await?;
        return output::step("the upgrade is not authorised any more");
    };
    if out.exists() {
        bail_input!(
            "{} exists already and is never overwritten; name another file, or move that one away",
            out.display()
        );
    }
    let next = read_policy(next)?;
    let pin = args.access.target().pin();
    let present = pin.policy()?;
    let trust = TrustTable {
        vendors: present.vendors.iter().copied().collect(),
        simulation_roots: pin.trusted().simulation_certificates()?,
        ..TrustTable::default()
    };
    let (mut session, owners) = args.access.open().await?;
    let genesis = session.genesis().digest();
    let document = Document::new(genesis, trust, present, next);
    let mut signed = SignedAuthorisation::unsigned(document.to_toml()?);
    owners.iter().for_each(|owner| signed.sign(genesis, owner));
    let command = command::Command::AuthoriseUpgrade(AuthoriseUpgrade {
        authorisation: signed.text.clone().into_bytes(),
        signatures: signed.approvals.iter().map(OwnerApproval::to_wire).collect(),
    });
    session.execute(command, &owners).await?;
    key_file::write_new(out, signed.to_file()?.as_bytes(), 0o644)?;
    output::step(format_args!(
        "authorised; start the next broker with --take-over-from HOST:PORT --upgrade-authorisation {}",
        out.display()
    ))
}
