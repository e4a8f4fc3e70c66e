//! An owner, a host, a place to unpack to, and archives put together by hand.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use adytum_sealed::{
    bundle::{
        BundleError, Entry, EntryKind, EntryPath, LinkTarget, Ownership, SealedBundle, Sink, TreeWriter,
    },
    keys::{ModelIdentity, ModelRecipient},
    rule::ModelRule,
    seal::{SealOptions, seal},
    statement::{FileName, Statement},
};
use adytum_signing::OwnerSigningKey;
use tar::{EntryType, Header};

pub(crate) const LIMIT: u64 = 64 << 20;

pub(crate) struct Fixture {
    pub(crate) owner: OwnerSigningKey,
    pub(crate) host: OwnerSigningKey,
    pub(crate) identity: ModelIdentity,
    pub(crate) directory: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            owner: OwnerSigningKey::generate().unwrap(),
            host: OwnerSigningKey::generate().unwrap(),
            identity: ModelIdentity::generate(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn rule(&self, minimum_version: u64) -> ModelRule {
        ModelRule {
            name: "web".parse().unwrap(),
            signers: [self.owner.public_key()].into(),
            minimum_version,
            digests: [].into(),
        }
    }

    /// Encrypts these bytes as the archive of a bundle, with a statement.
    pub(crate) fn publish(
        &self,
        file: &str,
        archive: &[u8],
        recipient: &ModelRecipient,
        signer: &OwnerSigningKey,
    ) -> PathBuf {
        let (path, mut ciphertext) = (self.path(file), Vec::new());
        let options =
            SealOptions { model: "web".parse().unwrap(), version: 3, file_name: FileName::bundle_tar() };
        let statement = seal(archive, &mut ciphertext, recipient, signer, &options, &mut |_| {}).unwrap();
        fs::write(&path, ciphertext).unwrap();
        state(&path, &statement);
        path
    }

    /// As the owner does it, with whatever bytes.
    pub(crate) fn genuine(&self, file: &str, archive: &[u8]) -> PathBuf {
        self.publish(file, archive, &self.identity.recipient(), &self.owner)
    }

    pub(crate) fn unpack_by(&self, file: &Path, rule: &ModelRule, to: &Path) -> Result<(), BundleError> {
        let genuine = SealedBundle::open(file)?.judge(rule)?;
        fs::create_dir(to).unwrap();
        let mut tree = TreeWriter::new(fs::File::open(to).unwrap().into(), Ownership::default()).unwrap();
        genuine.unseal(std::slice::from_ref(&self.identity), LIMIT, &mut tree, &mut |_| Ok(())).map(|_| ())
    }

    /// Unpacks into a fresh directory, next to something to protect.
    pub(crate) fn unpack(&self, file: &Path) -> Result<(), BundleError> {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "untouched").unwrap();
        let result = self.unpack_by(file, &self.rule(0), &outside.path().join("tree"));
        let names: Vec<_> =
            fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(
            names.iter().all(|name| name == "precious" || name == "tree"),
            "something was written outside: {names:?}"
        );
        assert_eq!(fs::read_to_string(outside.path().join("precious")).unwrap(), "untouched");
        result
    }

    /// The code with which an archive is refused, although an owner sealed it.
    pub(crate) fn refused(&self, archive: &[u8]) -> &'static str {
        let file = self.genuine(&format!("{:032x}", rand_name()), archive);
        match self.unpack(&file) {
            Ok(()) => panic!("it was unpacked"),
            Err(error) => error.code(),
        }
    }
}

fn rand_name() -> u128 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed).into()
}

pub(crate) fn state(file: &Path, statement: &Statement) {
    let mut path = file.as_os_str().to_owned();
    path.push(".seal");
    fs::write(path, statement.to_text()).unwrap();
}

/// An archive, entry by entry.
#[derive(Clone, Default)]
pub(crate) struct Archive(pub(crate) Vec<u8>);

impl Archive {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn entry(mut self, path: &str, kind: EntryKind) -> Self {
        let path = EntryPath::parse(path.as_bytes()).unwrap();
        self.0.extend(Entry { path, kind }.to_header());
        self
    }

    pub(crate) fn directory(self, path: &str) -> Self {
        self.entry(path, EntryKind::Directory)
    }

    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        let size = content.len() as u64;
        self.entry(path, EntryKind::File { executable: false, size }).bytes(content).padding()
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        let place = EntryPath::parse(path.as_bytes()).unwrap();
        let target = LinkTarget::parse(&place, target.as_bytes()).unwrap();
        self.entry(path, EntryKind::Link { target })
    }

    /// A header that `adytum seal` does not write.
    pub(crate) fn raw(mut self, change: impl FnOnce(&mut Header)) -> Self {
        let path = EntryPath::parse(b"victim").unwrap();
        let bytes = Entry { path, kind: EntryKind::File { executable: false, size: 0 } }.to_header();
        let mut header = Header::from_byte_slice(&bytes).clone();
        change(&mut header);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self
    }

    pub(crate) fn kind(self, path: &str, kind: EntryType) -> Self {
        self.raw(|header| {
            set_name(header, path.as_bytes());
            header.set_entry_type(kind);
        })
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn padding(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes(&[0; 1024]).0
    }
}

pub(crate) fn set_name(header: &mut Header, name: &[u8]) {
    let ustar = header.as_ustar_mut().unwrap();
    ustar.name = [0; 100];
    ustar.name[..name.len()].copy_from_slice(name);
}

/// Writes the archive again from the given entries.
#[derive(Default)]
pub(crate) struct Rebuilt {
    pub(crate) archive: Vec<u8>,
    directories: Vec<String>,
    file: Option<(String, bool, Vec<u8>)>,
}

impl Rebuilt {
    fn header(&mut self, name: &str, kind: EntryKind) {
        let path = self.directories.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("/");
        let path = EntryPath::parse(path.as_bytes()).unwrap();
        self.archive.extend(Entry { path, kind }.to_header());
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        assert!(self.directories.is_empty() && self.file.is_none());
        self.archive.extend([0; 1024]);
        self.archive
    }
}

impl Sink for Rebuilt {
    fn enter(&mut self, name: &str) -> io::Result<()> {
        self.header(name, EntryKind::Directory);
        self.directories.push(name.to_owned());
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        self.directories.pop().map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn begin(&mut self, name: &str, executable: bool) -> io::Result<()> {
        assert!(self.file.is_none());
        self.file = Some((name.to_owned(), executable, Vec::new()));
        Ok(())
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.as_mut().unwrap().2.extend(bytes);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let (name, executable, content) = self.file.take().unwrap();
        self.header(&name, EntryKind::File { executable, size: content.len() as u64 });
        self.archive.extend(&content);
        self.archive.resize(self.archive.len().next_multiple_of(512), 0);
        Ok(())
    }

    fn link(&mut self, name: &str, target: &LinkTarget) -> io::Result<()> {
        self.header(name, EntryKind::Link { target: target.clone() });
        Ok(())
    }
}
