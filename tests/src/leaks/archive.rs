//! Archives of images and directories, with every file in every layer.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Cursor, Read},
    path::Path,
};

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;

use super::{Finding, Searcher, files_below};

/// How deep archives may lie in each other: an image's layer is one deep.
const DEPTH: usize = 4;
/// The largest file that is read, in bytes, unpacked.
const LARGEST: u64 = 4 << 30;

/// The findings, and the number of files that were searched.
#[derive(Debug, Default)]
pub struct SearchedArchive {
    /// Files, an archive in an archive among them.
    pub files: usize,
    pub findings: BTreeSet<Finding>,
}

/// Looks into an archive of an image (docker save, OCI) and all that it holds.
pub fn search_archive(path: &Path, searcher: &Searcher) -> Result<SearchedArchive> {
    let mut searched = SearchedArchive::default();
    let bytes = read(File::open(path).with_context(|| format!("open {}", path.display()))?)?;
    search_bytes(&path.display().to_string(), &bytes, searcher, DEPTH, &mut searched)?;
    Ok(searched)
}

/// Looks into every file of a directory.
pub fn search_directory(path: &Path, searcher: &Searcher) -> Result<SearchedArchive> {
    let mut searched = SearchedArchive::default();
    for file in files_below(path)? {
        let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        search_bytes(&file.display().to_string(), &bytes, searcher, DEPTH, &mut searched)?;
    }
    Ok(searched)
}

fn search_bytes(
    place: &str,
    bytes: &[u8],
    searcher: &Searcher,
    depth: usize,
    searched: &mut SearchedArchive,
) -> Result<()> {
    searched.files += 1;
    searched.findings.extend(searcher.search(place, bytes));
    if depth == 0 {
        bail!("{place}: archives lie too deep in each other to be searched");
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        // Something else may begin like that by chance.
        if let Ok(unpacked) = read(MultiGzDecoder::new(bytes)) {
            return search_bytes(place, &unpacked, searcher, depth - 1, searched);
        }
    }
    if is_tar(bytes) {
        let mut archive = tar::Archive::new(Cursor::new(bytes));
        for entry in archive.entries()? {
            let entry = entry.with_context(|| format!("read the archive {place}"))?;
            let name = format!("{place}!{}", entry.path()?.display());
            let content = read(entry)?;
            search_bytes(&name, &content, searcher, depth - 1, searched)?;
        }
    }
    Ok(())
}

/// "ustar" in the header (POSIX pax and GNU alike).
fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

fn read(reader: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        bail!("a file has more than {LARGEST} bytes");
    }
    Ok(bytes)
}
