//! Archives of bundles: an accepted one is written again as the same bytes, so
//! there is one spelling of each tree.

#![no_main]

use std::io;

use adytum_sealed::bundle::{Entry, EntryKind, EntryPath, LinkTarget, Sink, SliceSource, read};
use libfuzzer_sys::fuzz_target;

#[derive(Default)]
struct Rebuilt {
    archive: Vec<u8>,
    directories: Vec<String>,
    file: Option<(String, bool, Vec<u8>)>,
}

impl Rebuilt {
    fn header(&mut self, name: &str, kind: EntryKind) {
        let path = self.directories.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("/");
        let path = EntryPath::parse(path.as_bytes()).expect("a path that was read");
        self.archive.extend(Entry { path, kind }.to_header());
    }
}

impl Sink for Rebuilt {
    fn enter(&mut self, name: &str) -> io::Result<()> {
        assert!(!matches!(name, "" | "." | "..") && !name.contains('/'));
        self.header(name, EntryKind::Directory);
        self.directories.push(name.to_owned());
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        self.directories.pop().map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn begin(&mut self, name: &str, executable: bool) -> io::Result<()> {
        assert!(!matches!(name, "" | "." | "..") && !name.contains('/'));
        self.file = Some((name.to_owned(), executable, Vec::new()));
        Ok(())
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.as_mut().expect("a file was begun").2.extend(bytes);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let (name, executable, content) = self.file.take().expect("a file was begun");
        self.header(&name, EntryKind::File { executable, size: content.len() as u64 });
        self.archive.extend(&content);
        self.archive.resize(self.archive.len().next_multiple_of(512), 0);
        Ok(())
    }

    fn link(&mut self, name: &str, target: &LinkTarget) -> io::Result<()> {
        assert!(!target.as_str().starts_with('/'));
        self.header(name, EntryKind::Link { target: target.clone() });
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut rebuilt = Rebuilt::default();
    if read(&mut SliceSource::new(bytes), &mut rebuilt, &mut |_| Ok(())).is_ok() {
        assert!(rebuilt.directories.is_empty());
        rebuilt.archive.extend([0; 1024]);
        assert_eq!(rebuilt.archive, bytes);
    }
});
