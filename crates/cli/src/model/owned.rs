//! A model of an owner's directory becomes its next version, if it is another than before.

use std::{fs, path::Path};

use adytum_api::names::ModelName;
use adytum_evidence::measurement::Sha256Digest;

use super::next_version::{Sealed, Sealer, digest_of, seal_next, versions};
use crate::owner_directory::{Keys, OwnerDirectory, replace};

impl OwnerDirectory {
    /// Checks the model and seals it with the next version, at least `lowest`, unless it is
    /// what it was at the last time: a version that somebody else released meanwhile stays
    /// the newest.
    pub(crate) fn release(
        &self,
        keys: &Keys,
        name: &ModelName,
        source: &Path,
        lowest: u64,
    ) -> anyhow::Result<Sealed> {
        let base = self.model(name.as_str());
        remove_unfinished(&base);
        let sealer = Sealer { owner: &keys.owner, recipient: &keys.recipient, name, lowest };
        let sealed = seal_next(&sealer, source, &base, self.released(name))?;
        let noted = self.public(&format!("{name}.released"));
        replace(&noted, format!("{}\n", sealed.digest).as_bytes(), 0o644)?;
        Ok(sealed)
    }

    /// The newest version of a model whose source is what it was at the last time.
    pub(crate) fn unchanged(&self, name: &ModelName, source: &Path) -> anyhow::Result<Option<u64>> {
        let Some(newest) = versions(&self.model(name.as_str()))?.pop() else { return Ok(None) };
        let digest = digest_of(source)?;
        let same = newest.statement.sha256 == digest || self.released(name) == Some(digest);
        Ok(same.then_some(newest.number))
    }

    /// The digest of the plaintext that was released last.
    fn released(&self, name: &ModelName) -> Option<Sha256Digest> {
        fs::read_to_string(self.public(&format!("{name}.released"))).ok()?.trim().parse().ok()
    }
}

/// Removes what a seal left that was interrupted. The directory belongs to this process
/// alone.
fn remove_unfinished(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().contains(".sealing-") {
            // Servers ignore a rest.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
