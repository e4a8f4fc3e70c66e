//! Archives that hold nothing of this machine: no date, no owner, no order of its files.

use std::{collections::BTreeMap, io::Write as _};

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// Files by their path, with their mode.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(BTreeMap<String, (u32, Vec<u8>)>);

impl Tree {
    /// Adds a file.
    pub(super) fn add(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.0.insert(path.to_owned(), (mode, bytes));
    }

    /// Adds all files of another, below a directory ("" or one that ends with a slash).
    pub(super) fn extend(&mut self, other: &Self, below: &str) {
        self.0.extend(other.0.iter().map(|(path, file)| (format!("{below}{path}"), file.clone())));
    }

    /// The same files in a directory.
    pub(super) fn below(&self, directory: &str) -> Self {
        let mut tree = Self::default();
        tree.extend(self, &format!("{directory}/"));
        tree
    }

    /// The files in order.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(path, (_, bytes))| (path.as_str(), bytes.as_slice()))
    }

    /// A tar archive in order, with all directories if they are wanted.
    pub(super) fn to_tar(&self, epoch: u64, directories: bool) -> Result<Vec<u8>> {
        let mut builder = Builder::new(Vec::new());
        let mut made: Vec<String> = Vec::new();
        for (path, (mode, bytes)) in &self.0 {
            for (at, _) in path.match_indices('/').filter(|_| directories) {
                let directory = path.get(..=at).unwrap_or_default().to_owned();
                if !made.contains(&directory) {
                    let mut header = header(epoch, 0o755, 0, EntryType::Directory);
                    builder.append_data(&mut header, &directory, std::io::empty())?;
                    made.push(directory);
                }
            }
            let mut header = header(epoch, *mode, bytes.len() as u64, EntryType::Regular);
            builder.append_data(&mut header, path, bytes.as_slice())?;
        }
        Ok(builder.into_inner()?)
    }

    /// As [`Self::to_tar`], compressed.
    pub(super) fn to_tar_gz(&self, epoch: u64) -> Result<Vec<u8>> {
        gzip(&self.to_tar(epoch, true)?)
    }
}

fn header(epoch: u64, mode: u32, size: u64, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(epoch);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header
}

/// Compresses without a date and a name.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn an_archive_has_each_file_once_in_order() {
        let mut tree = Tree::default();
        tree.add("share/b", 0o644, b"two".to_vec());
        tree.add("bin/a", 0o755, b"one".to_vec());
        let bytes = tree.below("top").to_tar(7, true).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (7, 0));
            found.push((entry.path().unwrap().display().to_string(), header.mode().unwrap(), text));
        }
        let directory = |path: &str| (path.to_owned(), 0o755, String::new());
        let file = |path: &str, mode, text: &str| (path.to_owned(), mode, text.to_owned());
        let expected = [
            directory("top/"),
            directory("top/bin/"),
            file("top/bin/a", 0o755, "one"),
            directory("top/share/"),
            file("top/share/b", 0o644, "two"),
        ];
        assert_eq!(found, expected);
    }
}
