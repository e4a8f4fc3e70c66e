//! Reads what was given as a model: its format is recognised, a fault is named.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use adytum_wire::Fields;

use super::format::{Format, recognise, recognise_archive};

/// How much of a file is looked at to recognise it.
const HEAD: u64 = 64 * 1024;

/// How much of an archive's directory is looked at.
const ARCHIVE_DIRECTORY: u64 = 1 << 20;

/// The reason that a path is no model that can be checked or sealed.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The file or directory can't be read.
    ///
    /// Do: check the path, and that you may read it.
    #[error("{} can't be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The path is neither a file nor a directory, but a pipe or a device.
    ///
    /// Do: write the model to a file first.
    #[error("{} is no file but a pipe or a device; write the model to a file first", path.display())]
    NotAFile { path: PathBuf },
    /// The file has another format than ONNX.
    ///
    /// Do: export the model as ONNX, as the message says.
    #[error("{} is {format}; {}", path.display(), format.advice())]
    OtherFormat { path: PathBuf, format: Format },
    /// The file begins as an ONNX model and ends too early.
    ///
    /// Do: download or copy the file again, and compare its size with the original's.
    #[error(
        "{} is cut off: it has {found} bytes, and at least {missing} more are missing; download or copy it again",
        path.display()
    )]
    CutOff { path: PathBuf, found: usize, missing: u64 },
    /// The directory holds no model.
    ///
    /// Do: give the model's file, or the directory that holds model.onnx or saved_model.pb.
    #[error("the directory {} holds no model: {found}", path.display())]
    NoModel { path: PathBuf, found: String },
    /// The directory holds several models.
    ///
    /// Do: give one of the files or directories that the message lists.
    #[error("the directory {} holds several models; give one of them: {}", path.display(), names.join(", "))]
    SeveralModels { path: PathBuf, names: Vec<String> },
}

impl SourceError {
    /// A stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "model-source-unreadable",
            Self::NotAFile { .. } => "model-source-not-a-file",
            Self::OtherFormat { .. } => "model-source-other-format",
            Self::CutOff { .. } => "model-source-cut-off",
            Self::NoModel { .. } => "model-source-none",
            Self::SeveralModels { .. } => "model-source-several",
        }
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> SourceError {
    let path = path.to_owned();
    move |source| SourceError::Unreadable { path, source }
}

/// Reads an ONNX model's file.
pub(crate) fn read_onnx(path: &Path) -> Result<Vec<u8>, SourceError> {
    if let Some(format) = format_of(path)? {
        return Err(SourceError::OtherFormat { path: path.to_owned(), format });
    }
    let file = File::open(path).map_err(unreadable(path))?;
    let length = file.metadata().map_err(unreadable(path))?.len();
    let mut bytes = Vec::new();
    let wanted = usize::try_from(length).unwrap_or(usize::MAX);
    bytes
        .try_reserve_exact(wanted)
        .map_err(|_| unreadable(path)(io::Error::other(format!("no memory for its {length} bytes"))))?;
    file.take(length).read_to_end(&mut bytes).map_err(unreadable(path))?;
    match shape_of(&bytes) {
        Shape::Onnx => Ok(bytes),
        Shape::CutOff { missing } => {
            Err(SourceError::CutOff { path: path.to_owned(), found: bytes.len(), missing })
        }
        Shape::Other(format) => Err(SourceError::OtherFormat { path: path.to_owned(), format }),
    }
}

/// What a file is by its first bytes; `None` if it may be an ONNX model.
pub(crate) fn format_of(path: &Path) -> Result<Option<Format>, SourceError> {
    let metadata = fs::metadata(path).map_err(unreadable(path))?;
    if !metadata.is_file() {
        return Err(SourceError::NotAFile { path: path.to_owned() });
    }
    let mut file = File::open(path).map_err(unreadable(path))?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut head).map_err(unreadable(path))?;
    let format = recognise(&head, metadata.len());
    if format == Some(Format::Zip) {
        let names = archive_names(&mut file, metadata.len()).unwrap_or_else(|| first_names(&head));
        return Ok(Some(recognise_archive(&names)));
    }
    Ok(format)
}

/// A number at a place of a file.
fn number(bytes: &[u8], offset: usize, length: usize) -> Option<usize> {
    let bytes = bytes.get(offset..offset.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

fn name_at(bytes: &[u8], offset: usize, length: usize) -> Option<String> {
    let name = bytes.get(offset..offset.checked_add(length)?)?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// The names in a ZIP archive, by the directory at its end (PKWARE's APPNOTE, 4.3.12 and 4.3.16).
fn archive_names(file: &mut File, length: u64) -> Option<Vec<String>> {
    let tail_length = length.min(ARCHIVE_DIRECTORY);
    let tail_start = length - tail_length;
    file.seek(SeekFrom::Start(tail_start)).ok()?;
    let mut tail = Vec::new();
    file.take(tail_length).read_to_end(&mut tail).ok()?;
    let end = tail.windows(4).rposition(|window| window == b"PK\x05\x06")?;
    // Of a longer directory the end is enough.
    let start = u64::try_from(number(&tail, end + 16, 4)?).ok()?.saturating_sub(tail_start);
    let mut place = usize::try_from(start).ok()?;
    let entry = b"PK\x01\x02";
    if tail.get(place..place.saturating_add(4)) != Some(entry) {
        place = tail.windows(4).position(|window| window == entry)?;
    }
    let mut names = Vec::new();
    while tail.get(place..place.saturating_add(4)) == Some(entry) {
        let name_length = number(&tail, place + 28, 2)?;
        names.push(name_at(&tail, place + 46, name_length)?);
        place += 46 + name_length + number(&tail, place + 30, 2)? + number(&tail, place + 32, 2)?;
    }
    Some(names)
}

/// The name of the first file of an archive that is cut off.
fn first_names(head: &[u8]) -> Vec<String> {
    number(head, 26, 2).and_then(|length| name_at(head, 30, length)).into_iter().collect()
}

/// What a protocol buffer looks like from outside.
#[derive(Debug, PartialEq, Eq)]
enum Shape {
    Onnx,
    CutOff { missing: u64 },
    Other(Format),
}

/// Reads the outermost fields (`ModelProto`: the version of the format is field 1, the graph 7, the
/// opsets 8; `SavedModel`: field 1 a version, 2 graphs; `GraphDef`: field 1 its nodes).
fn shape_of(bytes: &[u8]) -> Shape {
    let (mut has_version, mut has_graph, mut is_frozen) = (false, false, false);
    let (mut numbers, mut last) = (Vec::new(), 0);
    for field in Fields::of(bytes) {
        let Ok(field) = field else {
            let begins_as_model = has_version || has_graph;
            return match missing_at(bytes, last) {
                Some(missing) if begins_as_model => Shape::CutOff { missing },
                _ => Shape::Other(if is_frozen { Format::FrozenGraph } else { Format::Unknown }),
            };
        };
        last = field.whole.end;
        match (field.number, field.varint().is_some(), field.bytes().is_some()) {
            (1, true, _) => has_version = true,
            (1, _, true) => is_frozen = true,
            (7, _, true) => has_graph = true,
            _ => {}
        }
        if !numbers.contains(&field.number) && numbers.len() < 64 {
            numbers.push(field.number);
        }
    }
    let only = |known: &[u64]| numbers.iter().all(|number| known.contains(number));
    if has_graph {
        Shape::Onnx
    } else if has_version && numbers.contains(&2) && only(&[1, 2]) {
        Shape::Other(Format::SavedModelDefinition)
    } else if is_frozen && only(&[1, 2, 3, 4]) {
        Shape::Other(Format::FrozenGraph)
    } else if has_version && numbers.iter().any(|number| (200..=3000).contains(number)) {
        Shape::Other(Format::CoreMl)
    } else {
        Shape::Other(Format::Protobuf)
    }
}

/// How many bytes the field at `place` lacks, if it is a field of ONNX's model that is cut off.
fn missing_at(bytes: &[u8], place: usize) -> Option<u64> {
    let mut rest = Fields::within(bytes, place..bytes.len());
    let Ok(tag) = rest.varint() else { return Some(1) };
    if !(1..=26).contains(&(tag >> 3)) || !matches!(tag & 7, 0 | 2) {
        return None;
    }
    let Ok(length) = rest.varint() else { return Some(1) };
    let mut begin = Vec::new();
    adytum_wire::put_varint(&mut begin, tag);
    adytum_wire::put_varint(&mut begin, length);
    let present = (bytes.len() - place).saturating_sub(begin.len()) as u64;
    let missing = if tag & 7 == 2 { length.checked_sub(present)? } else { 1 };
    // What no disk holds is not a length.
    (missing > 0 && missing < 1 << 44).then_some(missing)
}

#[cfg(test)]
mod tests {
    use adytum_wire::{put_bytes, put_number};

    use super::*;

    fn model() -> Vec<u8> {
        let mut model = Vec::new();
        put_number(&mut model, 1, 8);
        put_bytes(&mut model, 2, b"pytorch");
        put_bytes(&mut model, 7, &[0; 500]);
        put_bytes(&mut model, 8, &[0x10, 17]);
        model
    }

    #[test]
    fn a_model_that_is_cut_off_says_how_much_is_missing() {
        let model = model();
        assert_eq!(shape_of(&model), Shape::Onnx);
        // The graph's last byte is before its opset of 4 bytes.
        let graph_end = model.len() - 4;
        assert_eq!(shape_of(&model[..graph_end - 100]), Shape::CutOff { missing: 100 });
        for length in 3..model.len() {
            // Between two fields the rest may as well be no part of the file.
            let shape = shape_of(&model[..length]);
            let is_between = length == graph_end || length == 11;
            assert!(is_between || matches!(shape, Shape::CutOff { .. }), "{length}: {shape:?}");
        }
    }

    #[test]
    fn other_protocol_buffers_are_named() {
        let mut saved_model = Vec::new();
        put_number(&mut saved_model, 1, 1);
        put_bytes(&mut saved_model, 2, &[0; 20]);
        assert_eq!(shape_of(&saved_model), Shape::Other(Format::SavedModelDefinition));
        let mut frozen = Vec::new();
        put_bytes(&mut frozen, 1, b"\x0a\x01x");
        put_bytes(&mut frozen, 4, b"\x08\x01");
        assert_eq!(shape_of(&frozen), Shape::Other(Format::FrozenGraph));
        assert_eq!(shape_of(&[0xff; 40]), Shape::Other(Format::Unknown));
        assert_eq!(shape_of(&[0; 40]), Shape::Other(Format::Unknown));
    }
}
