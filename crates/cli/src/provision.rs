//! `adytum provision`: gives a broker what an owner's directory holds for it,
//! over one attested session, in one command.
//!
//! The directory is laid out as `adytum deployment` makes it: public files in `public/`,
//! secret ones in `private/`, where `secrets/NAME` is the value of the secret of that
//! name.

use std::path::PathBuf;

use adytum_api::{
    address::parse_address,
    broker::{ApplyManifest, GetManifest, ListSecrets, PutSecret, command},
    names::SecretName,
};
use adytum_governance::{
    approval::OwnerApproval,
    manifest::{Manifest, SignedManifest},
    secrets::SecretKind,
};
use adytum_signing::OwnerSigningKey;
use anyhow::Context;
use zeroize::Zeroizing;

use crate::{
    attested::{Access, PinFiles, Session},
    confirmation, manifest, output,
    owner_directory::OwnerDirectory,
    secret,
    trusted::TrustedRoots,
};

/// Give a broker everything that an owner's directory holds for it.
///
/// Verifies the broker, applies the signed manifest unless it is in force, and
/// uploads the secrets that have no value yet. Run again, it changes nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The owner's directory, with public/ and private/.
    #[arg(long, value_name = "DIRECTORY", env = "ADYTUM_OWNER_DIRECTORY")]
    owner_directory: PathBuf,
    /// The broker's address.
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address, env = "ADYTUM_BROKER")]
    broker: String,
    /// An owner's key; as many as the genesis demands. By default private/owner.pem.
    #[arg(long = "owner", value_name = "FILE", env = "ADYTUM_OWNER")]
    owners: Vec<PathBuf>,
    #[command(flatten)]
    trusted: TrustedRoots,
    /// Where the highest state seen of each broker is remembered. By default, as for
    /// all verbs, adytum/heads.json in $XDG_STATE_HOME or ~/.local/state.
    #[arg(long, env = "ADYTUM_HEADS", value_name = "FILE")]
    heads: Option<PathBuf>,
    /// After an unplanned restart: confirm that the broker's state, which continues
    /// the highest that was seen, is the newest.
    #[arg(long)]
    confirm: bool,
    /// Upload secrets that have a value already, too.
    #[arg(long)]
    replace: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let directory = OwnerDirectory::at(&args.owner_directory);
    let (replace, confirm) = (args.replace, args.confirm);
    let access = args.access(&directory);
    bring(&directory, &access, &Options { replace, confirm }).await?;
    Ok(())
}

/// Further things that a broker is given.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Secrets that have a value already.
    pub(crate) replace: bool,
    /// The owners' word that its state is the newest, if it waits for that.
    pub(crate) confirm: bool,
}

/// Gives a broker the manifest and the secrets of a directory. The version that is then in force.
pub(crate) async fn bring(
    directory: &OwnerDirectory,
    access: &Access,
    options: &Options,
) -> anyhow::Result<u64> {
    // Missing files are reported before the broker is bothered.
    let signed = signed_manifest(directory)?;
    let manifest = Manifest::parse(&signed.text).context("the manifest")?;
    let values = values(directory, &manifest)?;

    let (mut session, owners) = access.open().await?;
    output::step(format_args!(
        "verified: the broker's code and platform, and its genesis {}",
        manifest.genesis
    ))?;
    if session.status().await?.awaiting_confirmation {
        if !options.confirm {
            bail_refused!(
                "the broker waits for the owners' word that its state is the newest: give --confirm, or use `adytum \
                 broker confirm`"
            );
        }
        confirmation::confirm_newest(&mut session, &owners).await?;
    }
    bring_into_force(&mut session, &owners, signed, &manifest).await?;
    upload(&mut session, &owners, values, options.replace).await?;
    Ok(manifest.version)
}

impl Args {
    fn access(self, directory: &OwnerDirectory) -> Access {
        let owners = if self.owners.is_empty() { vec![directory.private("owner.pem")] } else { self.owners };
        let pin = PinFiles {
            genesis: directory.public("genesis.toml"),
            broker_policy: directory.public("broker-policy.toml"),
            trusted: self.trusted,
            heads: self.heads,
        };
        Access::from_files(owners, self.broker, pin)
    }
}

fn signed_manifest(directory: &OwnerDirectory) -> anyhow::Result<SignedManifest> {
    let file = directory.manifest()?;
    let signatures = manifest::signatures_path(&file);
    manifest::load(&file, &signatures, signatures.exists())
}

/// The values of those secrets that owners upload.
fn values(directory: &OwnerDirectory, manifest: &Manifest) -> anyhow::Result<Values> {
    let uploaded = manifest
        .secrets
        .iter()
        .filter(|(_, rule)| matches!(rule.kind(), SecretKind::Opaque | SecretKind::AgeIdentity));
    uploaded
        .map(|(name, _)| {
            let file = directory.secret(name.as_str());
            let value = secret::read_value(&file).with_context(|| format!("the secret {name}"))?;
            Ok((name.clone(), value))
        })
        .collect()
}

/// Secrets to upload.
type Values = Vec<(SecretName, Zeroizing<Vec<u8>>)>;

/// Applies the manifest unless it is in force.
async fn bring_into_force(
    session: &mut Session,
    owners: &[OwnerSigningKey],
    mut signed: SignedManifest,
    manifest: &Manifest,
) -> anyhow::Result<()> {
    let version = session.status().await?.manifest_version;
    if version > manifest.version {
        bail_input!(
            "the broker's manifest has version {version}, this one version {}; give this one a higher version and sign \
             it again",
            manifest.version
        );
    }
    if version == manifest.version {
        let answer = session.execute(command::Command::GetManifest(GetManifest::default()), owners).await?;
        if answer.manifest != signed.text.as_bytes() {
            bail_input!(
                "the broker has another manifest of version {version}; give this one a higher version and sign it again"
            );
        }
        return output::step(format_args!("manifest version {version} is in force already"));
    }
    for owner in owners {
        signed.sign(owner).context("the manifest")?;
    }
    let command = command::Command::ApplyManifest(ApplyManifest {
        manifest: signed.text.into_bytes(),
        signatures: signed.approvals.iter().map(OwnerApproval::to_wire).collect(),
    });
    let result = session.execute(command, owners).await?;
    output::step(format_args!("manifest version {} is in force", result.manifest_version))
}

/// Uploads the values that the broker does not have, or all.
async fn upload(
    session: &mut Session,
    owners: &[OwnerSigningKey],
    values: Values,
    replace: bool,
) -> anyhow::Result<()> {
    let known = session.execute(command::Command::ListSecrets(ListSecrets {}), owners).await?.secrets;
    for (name, mut value) in values {
        let version =
            known.iter().find(|secret| secret.name == name.as_str()).map_or(0, |secret| secret.version);
        if version > 0 && !replace {
            output::step(format_args!("{name}: version {version} is there already"))?;
            continue;
        }
        let put = PutSecret { name: name.to_string(), value: std::mem::take(&mut *value) };
        let result = session.execute(command::Command::PutSecret(put), owners).await?;
        output::step(format_args!("{name}: version {}", result.secret_version))?;
    }
    Ok(())
}
