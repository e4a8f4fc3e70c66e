//! `adytum manifest history`: which manifests there were, and who signed them.

use adytum_api::broker::{ListManifests, ManifestSummary, command};
use adytum_evidence::measurement::Sha256Digest;
use adytum_signing::OwnerPublicKey;
use anyhow::{Context, bail};
use serde::Serialize;

use crate::{attested::Access, output};

/// More manifests than any broker answers with at once.
const PAGE: u32 = 64;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many, from the newest on.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    count: usize,
    #[command(flatten)]
    access: Access,
}

#[derive(Serialize)]
struct Version {
    version: u64,
    sha256: Sha256Digest,
    signers: Vec<OwnerPublicKey>,
    changes_owners: bool,
}

impl TryFrom<ManifestSummary> for Version {
    type Error = anyhow::Error;

    fn try_from(summary: ManifestSummary) -> anyhow::Result<Self> {
        let signer = |key: &Vec<u8>| OwnerPublicKey::try_from(key.as_slice());
        Ok(Self {
            version: summary.version,
            sha256: Sha256Digest::try_from(summary.text_digest.as_slice())?,
            signers: summary.signers.iter().map(signer).collect::<Result<_, _>>()?,
            changes_owners: summary.changes_owners,
        })
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let (mut session, owners) = args.access.open().await?;
    let mut versions: Vec<Version> = Vec::new();
    while versions.len() < args.count {
        // 0 means all of them.
        let before = versions.last().map_or(0, |last| last.version);
        let left = u32::try_from(args.count - versions.len()).unwrap_or(PAGE).min(PAGE);
        let list = ListManifests { before, count: left, changing_owners: false };
        let answer = session.execute(command::Command::ListManifests(list), &owners).await?;
        if answer.manifests.is_empty() {
            break;
        }
        for summary in answer.manifests {
            let version = Version::try_from(summary).context("the broker's answer")?;
            if versions.last().is_some_and(|last| last.version <= version.version) {
                bail!("the broker lists manifests out of order; use a tool and a broker of the same version");
            }
            versions.push(version);
        }
        if versions.last().is_some_and(|last| last.version <= 1) {
            break;
        }
    }
    if output::is_json() {
        return output::line(serde_json::to_string(&versions)?);
    }
    if versions.is_empty() {
        return output::line("the broker has no manifest yet; give it one with `adytum manifest apply`");
    }
    for one in versions {
        let signers: Vec<String> = one.signers.iter().map(ToString::to_string).collect();
        let owners = if one.changes_owners { "; it changes the owners" } else { "" };
        output::line(format_args!(
            "version {:<6} sha256 {}  signed by {}{owners}",
            one.version,
            one.sha256,
            signers.join(", ")
        ))?;
    }
    Ok(())
}
