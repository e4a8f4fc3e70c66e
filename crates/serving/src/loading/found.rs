//! The versions of a model that a directory holds.

use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::MetadataExt,
    path::Path,
};

use adytum_sealed::{
    directory::{
        PLAIN_MODEL_FILE, PlainFormat, RefusalReason, Refused, SAVED_MODEL_FILE, STATEMENT_FILE, ScanError,
        parse_version, scan,
    },
    rule::ModelRule,
    select::{SelectedModel, select},
};

/// How deep a version's files are looked at: a SavedModel has one level of directories.
const DEEPEST: usize = 3;

/// How many files of a version are looked at.
const MOST_FILES: usize = 20_000;

/// What is in a model's directory.
pub(super) struct Found {
    /// Versions that may be served, the highest first.
    pub(super) candidates: Vec<Candidate>,
    /// Versions that may not, by number, with why.
    pub(super) refused: Vec<(i64, Refused)>,
    /// Entries that are no versions.
    pub(super) others: Vec<Refused>,
}

/// A version that may be served.
pub(super) struct Candidate {
    pub(super) version: i64,
    pub(super) model: SelectedModel,
}

impl Candidate {
    /// The bytes of its model.
    pub(super) fn size(&self) -> u64 {
        match &self.model {
            SelectedModel::Sealed(sealed) => sealed.genuine_statement().statement().size,
            SelectedModel::Plain { file, format, .. } => {
                let Some(directory) = file.parent() else { return 0 };
                let size = Files::of(directory).size;
                // It becomes ONNX in memory first.
                if *format == PlainFormat::SavedModel { size.saturating_mul(2) } else { size }
            }
        }
    }

    /// Changes when a file of the version does, so that one that was refused while it was
    /// copied is tried again.
    pub(super) fn fingerprint(&self) -> u64 {
        let file = match &self.model {
            SelectedModel::Sealed(sealed) => sealed.ciphertext(),
            SelectedModel::Plain { file, .. } => file,
        };
        file.parent().map_or(0, |directory| Files::of(directory).fingerprint)
    }
}

/// What the files of a directory are, together.
struct Files {
    size: u64,
    fingerprint: u64,
}

impl Files {
    fn of(directory: &Path) -> Self {
        let (mut size, mut hasher, mut left) = (0_u64, DefaultHasher::new(), MOST_FILES);
        visit(directory, DEEPEST, &mut left, &mut |path, metadata| {
            size = size.saturating_add(metadata.len());
            (path, metadata.len(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec()).hash(&mut hasher);
        });
        Self { size, fingerprint: hasher.finish() }
    }
}

fn visit(directory: &Path, depth: usize, left: &mut usize, look: &mut dyn FnMut(&Path, &fs::Metadata)) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut paths: Vec<_> = entries.take(*left).flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        *left = left.saturating_sub(1);
        // What a link of Kubernetes leads to is looked at through the link.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_file() {
            look(&path, &metadata);
        } else if metadata.is_dir() && !hidden && depth > 0 {
            visit(&path, depth - 1, left, look);
        }
    }
}

/// Looks at a model's directory.
pub(super) fn find(base: &Path, rule: Option<&ModelRule>, allow_plain: bool) -> Result<Found, ScanError> {
    let selection = select(scan(base)?, rule, allow_plain);
    let candidates: Vec<Candidate> = selection
        .models
        .into_iter()
        // Versions are at most `i64::MAX` (`adytum_sealed` refuses others).
        .map(|model| Candidate { version: i64::try_from(model.version()).unwrap_or(i64::MAX), model })
        .collect();
    let mut found = Found { candidates, refused: Vec::new(), others: Vec::new() };
    for refused in selection.refused {
        let version = version_of(&refused, base);
        // A file next to a model that is served is a remark, not the end of a version.
        match version.filter(|version| !found.candidates.iter().any(|model| model.version == *version)) {
            Some(version) => found.refused.push((version, refused)),
            None => found.others.push(refused),
        }
    }
    Ok(found)
}

/// The version that a refused path belongs to.
fn version_of(refused: &Refused, base: &Path) -> Option<i64> {
    if matches!(refused.reason, RefusalReason::SameVersion { .. }) {
        return None;
    }
    // Links lead to other paths; these are below the real directory.
    let real = base.canonicalize().ok();
    let inside = refused.path.strip_prefix(base).ok();
    let inside = inside.or_else(|| refused.path.strip_prefix(real.as_deref()?).ok())?;
    let name = inside.components().next()?.as_os_str().to_str()?;
    parse_version(name).and_then(|version| i64::try_from(version).ok())
}

/// Whether a version's directory may be one that is still being filled.
pub(super) fn may_be_incomplete(reason: &RefusalReason) -> bool {
    use RefusalReason::{NoCiphertext, NoModel, NoStatement, Unlisted};
    matches!(reason, NoModel | NoCiphertext { .. } | NoStatement | Unlisted)
}

/// Whether another rule from the broker could accept it.
pub(super) fn needs_another_rule(reason: &RefusalReason) -> bool {
    matches!(reason, RefusalReason::NoRule | RefusalReason::Rule(_))
}

/// What is probably meant, if a directory without versions is one level off.
pub(super) fn hint(base: &Path) -> Option<String> {
    let holds_model = |directory: &Path| {
        let files = [STATEMENT_FILE, PLAIN_MODEL_FILE, SAVED_MODEL_FILE];
        files.into_iter().find(|name| directory.join(name).is_file())
    };
    if let Some(name) = holds_model(base) {
        return Some(format!(
            "{} holds {name} itself; put the files into a directory named by the version, such as {}, or give the \
             directory above if this one is a version",
            base.display(),
            base.join("1").display()
        ));
    }
    let is_version = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(parse_version).is_some() && holds_model(path).is_some()
    };
    let children = |path: &Path| -> BTreeSet<_> {
        fs::read_dir(path).into_iter().flatten().take(1000).flatten().map(|entry| entry.path()).collect()
    };
    let below =
        children(base).into_iter().find(|child| children(child).iter().any(|path| is_version(path)))?;
    Some(format!("the versions seem to be one level below, in {}", below.display()))
}
