//! Who the owners of a broker are: from its genesis, through every manifest that
//! changed them, each verified under the owners before it.

use adytum_api::broker::{CommandResult, GetManifest, ListManifests, command};
use adytum_evidence::measurement::Sha256Digest;
use adytum_governance::{
    approval::OwnerApproval, manifest::SignedManifest, role_changes::RoleChange, roles::Roles,
};
use adytum_signing::OwnerSigningKey;
use anyhow::{Context, bail};

use super::Session;

/// More manifests than any broker answers with at once.
const PAGE: u32 = 64;
/// The most changes of owners that are followed.
const MAXIMUM_CHANGES: usize = 4096;

impl Session {
    /// The owners (and auditors) in force before the manifest of this version. One of
    /// these keys asks for what changed them.
    pub(crate) async fn roles_before(
        &mut self,
        version: u64,
        keys: &[OwnerSigningKey],
    ) -> anyhow::Result<Roles> {
        let mut roles = Roles::initial(self.genesis().first_owners());
        for change in self.role_changes(version, keys).await? {
            let get = command::Command::GetManifest(GetManifest { version: change.version });
            let signed = signed_manifest(self.execute(get, keys).await?)?;
            roles = change.apply(&roles, self.genesis(), &signed).context("the broker's owners")?;
        }
        Ok(roles)
    }

    /// The manifests below this version that changed the owners, the oldest first.
    async fn role_changes(
        &mut self,
        version: u64,
        keys: &[OwnerSigningKey],
    ) -> anyhow::Result<Vec<RoleChange>> {
        let mut changes = Vec::new();
        let mut before = version;
        // 0 would mean all of them; no version is below 1.
        while before > 1 {
            let list = ListManifests { before, count: PAGE, changing_owners: true };
            let listed = self.execute(command::Command::ListManifests(list), keys).await?.manifests;
            let Some(last) = listed.last() else { break };
            let next = last.version;
            if next >= before || changes.len() > MAXIMUM_CHANGES {
                bail!(
                    "the broker lists manifests that were not asked for, or without end; use a tool and a broker of the same version"
                );
            }
            before = next;
            for one in listed {
                let text =
                    Sha256Digest::try_from(one.text_digest.as_slice()).context("a manifest's digest")?;
                changes.push(RoleChange { version: one.version, text });
            }
        }
        changes.reverse();
        Ok(changes)
    }
}

/// The manifest in an answer, with its signatures.
pub(crate) fn signed_manifest(answer: CommandResult) -> anyhow::Result<SignedManifest> {
    Ok(SignedManifest {
        text: String::from_utf8(answer.manifest).context("the broker's manifest")?,
        approvals: OwnerApproval::from_wire(&answer.manifest_signatures)?,
    })
}
