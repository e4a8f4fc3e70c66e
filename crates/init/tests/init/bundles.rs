//! Bundles: what a program finds of one, what is left of it, and what is not
//! unpacked.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use adytum_init::{
    Lease, Released, SecretKind, SecretValue, bundles::Bundles, configuration::MeasuredConfiguration,
    platform::Platform,
};
use adytum_sealed::{
    bundle::seal_bundle,
    keys::ModelIdentity,
    rule::ModelRule,
    seal::{SealOptions, seal},
    statement::FileName,
};
use adytum_signing::OwnerSigningKey;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::net::TcpListener;

use crate::fixture::{
    Ended, Fixture, Provision, Shell, Workload, eventually, is_running, memory_directory, read_until,
};

/// A fixture whose broker has the key of a bundle, the bundle's tree, and a place for
/// it.
pub(crate) struct BundleFixture {
    pub(crate) fixture: Fixture,
    pub(crate) memory: tempfile::TempDir,
    identity: ModelIdentity,
}

impl BundleFixture {
    pub(crate) fn new() -> Option<Self> {
        let (mut fixture, memory) = (Fixture::new()?, memory_directory()?);
        // As for a program that gives up its rights.
        fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let identity = ModelIdentity::generate();
        fixture.provision = Provision {
            secrets: vec![("image_key", "age-identity", identity.to_text().to_string())],
            models: vec!["web"],
            tables: format!(
                "[[model]]\nname = \"web\"\nsigners = [\"{}\"]\nminimum_version = 3\n",
                fixture.owner.public_key()
            ),
            ..Provision::default()
        };
        let tree = fixture.directory.path().join("tree");
        fs::create_dir_all(tree.join("etc")).unwrap();
        fs::write(tree.join("etc/conf"), "answer = 42\n").unwrap();
        symlink("etc/conf", tree.join("conf")).unwrap();
        Some(Self { fixture, memory, identity })
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.fixture.directory.path().join("tree")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.fixture.directory.path().join("web.bundle")
    }

    /// Where it is unpacked.
    pub(crate) fn place(&self) -> PathBuf {
        self.memory.path().join("web")
    }

    pub(crate) fn seal_as(
        &self,
        name: &str,
        version: u64,
        identity: &ModelIdentity,
        signer: &OwnerSigningKey,
    ) {
        let _ = fs::remove_file(self.file());
        let _ = fs::remove_file(self.statement());
        let name = name.parse().unwrap();
        let recipient = identity.recipient();
        seal_bundle(&self.tree(), &self.file(), &recipient, signer, &name, version, &mut |_| Ok(())).unwrap();
    }

    pub(crate) fn seal(&self) {
        self.seal_as("web", 3, &self.identity, &self.fixture.owner);
    }

    /// An owner's seal on whatever bytes.
    fn seal_bytes(&self, archive: &[u8]) {
        let options =
            SealOptions { model: "web".parse().unwrap(), version: 3, file_name: FileName::bundle_tar() };
        let mut ciphertext = Vec::new();
        let recipient = self.identity.recipient();
        let statement =
            seal(archive, &mut ciphertext, &recipient, &self.fixture.owner, &options, &mut |_| {}).unwrap();
        fs::write(self.file(), ciphertext).unwrap();
        fs::write(self.statement(), statement.to_text()).unwrap();
    }

    fn statement(&self) -> PathBuf {
        self.fixture.directory.path().join("web.bundle.seal")
    }

    pub(crate) fn workload(&self) -> Workload {
        self.workload_at(&self.place(), "")
    }

    pub(crate) fn workload_at(&self, place: &Path, more: &str) -> Workload {
        let secrets = format!(
            "[[secret]]\nname = \"image_key\"\n[[bundle]]\nname = \"web\"\nfile = \"{}\"\npath = \"{}\"\n{more}\n",
            self.file().display(),
            place.display()
        );
        Workload { tables: "[environment]\nallow = [\"PATH\"]\n".to_owned(), secrets }
    }

    async fn run(&self, script: &str) -> Ended {
        let configuration = self.fixture.configuration("workload", &self.workload());
        let broker = self.fixture.broker(&configuration).await;
        let init = self.fixture.init(&configuration, broker.address, script);
        init.environment("PATH", "/usr/bin:/bin").run().await
    }

    /// It ended with 65 and this code, started nothing and left nothing.
    async fn refused(&self, code: &str) {
        let ended = self.run("echo started").await;
        ended.assert_refused(65, code);
        assert!(ended.stdout.is_empty(), "{ended:?}");
        assert!(self.names().is_empty(), "{code}: {:?} is left", self.names());
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.memory.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_finds_its_bundle_and_nobody_does_after_it() {
    let Some(fixture) = BundleFixture::new() else { return };
    fixture.seal();
    let script = format!("cd {} && cat conf && stat -c %a . etc etc/conf", fixture.place().display());
    let ended = fixture.run(&script).await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!(ended.stdout, "answer = 42\n755\n755\n644\n");
    assert!(ended.stderr.contains("bundle unpacked") && !ended.stderr.contains("AGE-SECRET"), "{ended:?}");
    assert!(fixture.names().is_empty(), "{:?} is left", fixture.names());
    // An empty directory in its place is no obstacle.
    fs::create_dir(fixture.place()).unwrap();
    assert_eq!(fixture.run(&script).await.code(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_genuine_is_not_unpacked() {
    let Some(mut fixture) = BundleFixture::new() else { return };
    fixture.refused("bundle-unreadable").await;
    let host = OwnerSigningKey::generate().unwrap();
    fixture.seal_as("web", 3, &fixture.identity, &host);
    fixture.refused("bundle-not-genuine").await;
    fixture.seal_as("web", 2, &fixture.identity, &fixture.fixture.owner);
    fixture.refused("bundle-not-genuine").await;
    fixture.seal_as("mail", 3, &fixture.identity, &fixture.fixture.owner);
    fixture.refused("bundle-not-genuine").await;
    fixture.seal_as("web", 3, &ModelIdentity::generate(), &fixture.fixture.owner);
    fixture.refused("unseal-wrong-key").await;

    // The host's tree, to the right key, under the owner's statement.
    fixture.seal();
    let statement = fs::read(fixture.statement()).unwrap();
    fs::write(fixture.tree().join("etc/conf"), "answer = 43\n").unwrap();
    fixture.seal_as("web", 3, &fixture.identity, &host);
    fs::write(fixture.statement(), statement).unwrap();
    fixture.refused("unseal-digest").await;

    fixture.seal();
    let mut changed = fs::read(fixture.file()).unwrap();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    fs::write(fixture.file(), changed).unwrap();
    fixture.refused("unseal-altered").await;

    // An owner was made to seal something that leads out.
    let mut archive = vec![0; 512];
    archive[..6].copy_from_slice(b"../out");
    archive[257..265].copy_from_slice(b"ustar\x0000");
    archive[156] = b'0';
    archive[100..108].copy_from_slice(b"0000644\0");
    archive.resize(512 + 1024, 0);
    fixture.seal_bytes(&archive);
    fixture.refused("bundle-path-parent").await;

    // No rule; then a secret that is no key.
    fixture.seal();
    let provision = fixture.fixture.provision.clone();
    fixture.fixture.provision = Provision { models: Vec::new(), tables: String::new(), ..provision.clone() };
    fixture.refused("bundle-rule-missing").await;
    let secrets = vec![("image_key", "opaque", fixture.identity.to_text().to_string())];
    fixture.fixture.provision = Provision { secrets, ..provision };
    fixture.refused("bundle-key").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_is_larger_than_allowed_is_not_decrypted() {
    let Some(fixture) = BundleFixture::new() else { return };
    fixture.seal();
    let workload = fixture.workload_at(&fixture.place(), "maximum_size = 1000");
    let configuration = fixture.fixture.configuration("workload", &workload);
    let broker = fixture.fixture.broker(&configuration).await;
    let ended = fixture.fixture.init(&configuration, broker.address, "echo started").run().await;
    ended.assert_refused(65, "bundle-too-large");
    assert!(fixture.names().is_empty());
}

/// Refused before the broker is asked.
#[tokio::test]
async fn a_bundle_without_a_safe_and_free_place() {
    let Some(fixture) = BundleFixture::new() else { return };
    fixture.seal();
    let attempt = async |place: &Path| {
        let configuration = fixture.fixture.configuration("workload", &fixture.workload_at(place, ""));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ended =
            fixture.fixture.init(&configuration, listener.local_addr().unwrap(), "echo started").run().await;
        let came = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
        assert!(came.is_err(), "init connected: {ended:?}");
        ended
    };
    attempt(Path::new("/proc/self/web")).await.assert_refused(73, "storage-unsafe");
    attempt(Path::new("/no/such/directory/web")).await.assert_refused(73, "storage-failed");
    let place = fixture.place();
    fs::create_dir(&place).unwrap();
    fs::write(place.join("precious"), "untouched").unwrap();
    attempt(&place).await.assert_refused(73, "storage-occupied");
    assert_eq!(fs::read_to_string(place.join("precious")).unwrap(), "untouched");
    let file = fixture.memory.path().join("file");
    fs::write(&file, "").unwrap();
    attempt(&file).await.assert_refused(73, "storage-occupied");
    let link = fixture.memory.path().join("link");
    symlink(fixture.fixture.directory.path(), &link).unwrap();
    attempt(&link).await.assert_refused(73, "storage-occupied");
}

/// A killed init can't clean up; the next one does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_init_left_is_replaced() {
    let Some(fixture) = BundleFixture::new() else { return };
    fixture.seal();
    let configuration = fixture.fixture.configuration("workload", &fixture.workload());
    let broker = fixture.fixture.broker(&configuration).await;
    let script = format!(
        "echo more > {}/etc/more; echo program $$ ready.; exec sleep 1000",
        fixture.place().display()
    );
    let init =
        fixture.fixture.init(&configuration, broker.address, &script).environment("PATH", "/usr/bin:/bin");
    let mut child = init.start();
    let said = read_until(&mut child, "ready.").await;
    let program: i32 = said.split_whitespace().nth(1).unwrap().parse().unwrap();
    kill(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()), Signal::SIGKILL).unwrap();
    child.wait().await.unwrap();
    eventually("the program ends", || !is_running(program)).await;
    assert!(fixture.place().join("etc/more").exists());
    let ended = fixture.run(&format!("ls {}/etc", fixture.place().display())).await;
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "conf\n"), "{ended:?}");
    assert!(fixture.names().is_empty(), "{:?} is left", fixture.names());
}

/// As the reference's encrypted image has the program itself in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_may_come_in_the_bundle() {
    let Some(fixture) = BundleFixture::new() else { return };
    fs::copy(Shell::PATH, fixture.tree().join("sh")).unwrap();
    let program = fixture.place().join("sh");
    let configuration = fixture.fixture.configuration("workload", &fixture.workload());
    let text = fs::read_to_string(&configuration).unwrap();
    let pinned = text.replacen("path = \"/bin/sh\"", &format!("path = \"{}\"", program.display()), 1);
    fs::write(&configuration, pinned).unwrap();
    let broker = fixture.fixture.broker(&configuration).await;
    let start =
        |words: &[&str]| fixture.fixture.init(&configuration, broker.address, "").program(words).run();
    let program = program.to_str().unwrap();
    fixture.seal();
    let ended = start(&[program, "-c", "echo $0 started"]).await;
    assert_eq!((ended.code(), ended.stdout), (0, format!("{program} started\n")), "{}", ended.stderr);
    // Another path is refused before anything is fetched.
    let ended = start(&["/bin/sh", "-c", "echo started"]).await;
    ended.assert_refused(78, "program-not-pinned");
    assert!(!ended.stderr.contains("bundle unpacked"));
    // Another program in the owner's own bundle.
    fs::write(fixture.tree().join("sh"), "#!/bin/false\n").unwrap();
    fixture.seal();
    let ended = start(&[program, "-c", "echo started"]).await;
    ended.assert_refused(78, "program-mismatch");
    assert!(fixture.names().is_empty(), "{:?} is left", fixture.names());
}

/// A caller that gives up waiting leaves nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unpacking_that_nobody_waits_for_ends_and_leaves_nothing() {
    let Some(fixture) = BundleFixture::new() else { return };
    fs::File::create(fixture.tree().join("large")).unwrap().set_len(16 << 20).unwrap();
    fixture.seal();
    let path = fixture.fixture.configuration("workload", &fixture.workload());
    let configuration = MeasuredConfiguration::load(&path).unwrap();
    let bundles = Bundles::prepare(&configuration, Platform::Simulation).unwrap();
    let key = SecretValue::new(fixture.identity.to_text().as_bytes().to_vec(), SecretKind::AgeIdentity, 1);
    let rule = ModelRule {
        name: "web".parse().unwrap(),
        signers: [fixture.fixture.owner.public_key()].into(),
        minimum_version: 0,
        digests: [].into(),
    };
    let released = Released {
        secrets: [("image_key".parse().unwrap(), key)].into(),
        models: vec![rule],
        manifest: None,
        lease: Some(Lease { duration: Duration::from_secs(60), grace: Duration::ZERO }),
    };
    let mut unpacking = Box::pin(bundles.unpack(&configuration, released));
    // Until it has begun; then nobody waits any more.
    let begun = eventually("it has begun", || !fixture.names().is_empty());
    tokio::select! {
        biased;
        // On a fast machine it is done first; what it made goes all the same.
        _ = &mut unpacking => {}
        () = begun => {}
    }
    drop(unpacking);
    eventually("nothing is left", || fixture.names().is_empty()).await;
}
