//! A model becomes the next sealed version, if it is another than the last one.

use std::{fs, io::Read as _, path::Path};

use adytum_api::names::ModelName;
use adytum_evidence::measurement::Sha256Digest;
use adytum_sealed::{
    directory::parse_version,
    keys::ModelRecipient,
    seal::{SealOptions, seal_to_directory},
    statement::{FileName, MAXIMUM_STATEMENT_LENGTH, Statement},
};
use adytum_signing::OwnerSigningKey;
use anyhow::Context as _;

use super::{
    check::{Questions, check_found},
    place::{Place, find},
    plaintext::{judge, plaintext},
    report::Report,
};
use crate::key_file;

/// The owner's statement in a version's directory.
const STATEMENT_FILE: &str = "model.seal";

/// A version in a model's directory.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) number: u64,
    /// What its owner says of it. Whether to believe it, replicas decide by the manifest.
    pub(crate) statement: Statement,
}

/// The sealed versions in a model's directory, the oldest first. Nothing is there yet if the
/// directory is missing.
pub(crate) fn versions(base: &Path) -> anyhow::Result<Vec<Version>> {
    let entries = match fs::read_dir(base) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("{} can't be read", base.display())),
    };
    let mut versions = Vec::new();
    for entry in entries.flatten() {
        let number = entry.file_name().to_str().and_then(parse_version);
        let file = entry.path().join(STATEMENT_FILE);
        let (Some(number), true) = (number, file.is_file()) else { continue };
        let bytes = key_file::read_bytes(&file, MAXIMUM_STATEMENT_LENGTH as u64)?;
        let statement = Statement::parse(&bytes).with_context(|| file.display().to_string())?;
        versions.push(Version { number, statement });
    }
    versions.sort_by_key(|version| version.number);
    Ok(versions)
}

/// Who seals which model, and for whom.
pub(crate) struct Sealer<'a> {
    pub(crate) owner: &'a OwnerSigningKey,
    pub(crate) recipient: &'a ModelRecipient,
    pub(crate) name: &'a ModelName,
    /// No version below this one is given.
    pub(crate) lowest: u64,
}

/// A model and its version.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) version: u64,
    /// Was it sealed now? Otherwise it is that version already.
    pub(crate) is_new: bool,
    pub(crate) report: Report,
    pub(crate) digest: Sha256Digest,
}

/// The digest of what would be sealed.
pub(crate) fn digest_of(source: &Path) -> anyhow::Result<Sha256Digest> {
    let found = find(source)?;
    let (Place::Onnx(path) | Place::SavedModel(path)) = &found.place;
    let mut bytes = Vec::new();
    let mut plaintext = plaintext(path, true)?;
    plaintext.reader.read_to_end(&mut bytes).with_context(|| format!("{} can't be read", path.display()))?;
    Ok(Sha256Digest::of_bytes(&bytes))
}

/// Checks a model and seals it in `base` with the next version, unless its plaintext has the digest
/// of the newest version, or the digest `last`.
pub(crate) fn seal_next(
    sealer: &Sealer<'_>,
    source: &Path,
    base: &Path,
    last: Option<Sha256Digest>,
) -> anyhow::Result<Sealed> {
    seal_after(sealer, source, base, versions(base)?.pop(), last)
}

/// As [`seal_next`], after a newest version that need not be in `base`.
pub(crate) fn seal_after(
    sealer: &Sealer<'_>,
    source: &Path,
    base: &Path,
    newest: Option<Version>,
    last: Option<Sha256Digest>,
) -> anyhow::Result<Sealed> {
    let found = find(source)?;
    let (Place::Onnx(path) | Place::SavedModel(path)) = &found.place;
    let mut report = Report::new(path);
    judge(check_found(&found, &Questions::default(), &mut report))?;
    let mut bytes = Vec::new();
    let mut plaintext = plaintext(path, true)?;
    plaintext.reader.read_to_end(&mut bytes).with_context(|| format!("{} can't be read", path.display()))?;
    let digest = Sha256Digest::of_bytes(&bytes);
    let version = match newest {
        Some(newest) if newest.statement.sha256 == digest || last == Some(digest) => {
            return Ok(Sealed { version: newest.number, is_new: false, report, digest });
        }
        Some(newest) => newest.number.saturating_add(1).max(sealer.lowest),
        None => sealer.lowest.max(1),
    };
    let options = SealOptions { model: sealer.name.clone(), version, file_name: FileName::model_onnx() };
    seal_to_directory(bytes.as_slice(), base, sealer.recipient, sealer.owner, &options, &mut |_| {})?;
    Ok(Sealed { version, is_new: true, report, digest })
}
