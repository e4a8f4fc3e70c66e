//! The signed manifest of an owner's directory. One that was withdrawn is in another file.

use std::{fs, io::ErrorKind, path::PathBuf};

use adytum_governance::manifest::{SignedManifest, document::Document};
use adytum_signing::OwnerSigningKey;
use anyhow::Context as _;

use super::{OwnerDirectory, read_if_there, remove, replace};
use crate::manifest::signatures_path;

/// The manifest, which may be signed and applied.
const FILE: &str = "manifest.toml";
/// A manifest that was withdrawn: its version is known, and nothing signs or applies it.
const WITHDRAWN: &str = "manifest-withdrawn.toml";

impl OwnerDirectory {
    /// The manifest as it was written last, also if it was withdrawn since; `None` if there is
    /// none yet.
    pub(crate) fn document(&self) -> anyhow::Result<Option<Document>> {
        for file in [self.public(FILE), self.public(WITHDRAWN)] {
            if let Some(text) = read_if_there(&file)? {
                let document =
                    toml::from_str(&text).with_context(|| format!("{} is no manifest", file.display()))?;
                return Ok(Some(document));
            }
        }
        Ok(None)
    }

    /// The manifest that may be signed and applied: its file. One that was withdrawn may not.
    pub(crate) fn manifest(&self) -> anyhow::Result<PathBuf> {
        let file = self.public(FILE);
        if fs::symlink_metadata(&file).is_err() {
            bail_input!(
                "{} is not there: the manifest is withdrawn or not made yet; make one with `adytum deployment build`",
                file.display()
            );
        }
        Ok(file)
    }

    /// Is the manifest there with its signatures?
    pub(crate) fn has_signed_manifest(&self) -> bool {
        let file = self.public(FILE);
        file.is_file() && signatures_path(&file).is_file()
    }

    /// Puts the manifest where nothing signs or applies it. The next one follows its version.
    pub(crate) fn withdraw_manifest(&self) -> anyhow::Result<()> {
        let (file, withdrawn) = (self.public(FILE), self.public(WITHDRAWN));
        match fs::rename(&file, &withdrawn) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| {
                    format!("{} can't be moved to {}", file.display(), withdrawn.display())
                });
            }
            _ => {}
        }
        remove(&signatures_path(&file))
    }

    /// Signs a manifest and puts both files into the directory.
    pub(super) fn sign(&self, owner: &OwnerSigningKey, document: &Document) -> anyhow::Result<()> {
        self.note_floors(document)?;
        let file = self.public(FILE);
        let signatures = signatures_path(&file);
        let mut signed = SignedManifest::unsigned(document.to_toml()?);
        signed.sign(owner).context("the manifest")?;
        // Between the two files the manifest has no signatures, and not those of another.
        remove(&signatures)?;
        replace(&file, signed.text.as_bytes(), 0o644)?;
        remove(&self.public(WITHDRAWN))?;
        replace(&signatures, signed.signatures_to_text().as_bytes(), 0o644)
    }
}
