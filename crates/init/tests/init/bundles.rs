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

use crate::bed::{
    Bed, Ended, Provision, Shell, Workload, eventually, is_running, memory_directory, read_until,
};

/// A bed whose broker has the key of a bundle, the bundle's tree, and a place for
/// it.
pub(crate) struct BundleBed {
    pub(crate) bed: Bed,
    pub(crate) memory: tempfile::TempDir,
    identity: ModelIdentity,
}

impl BundleBed {
    pub(crate) fn new() -> Option<Self> {
        let (mut bed, memory) = (Bed::new()?, memory_directory()?);
        // As for a program that gives up its rights.
        fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let identity = ModelIdentity::generate();
        bed.provision = Provision {
            secrets: vec![("image_key", "age-identity", identity.to_text().to_string())],
            models: vec!["web"],
            tables: format!(
                "[[model]]\nname = \"web\"\nsigners = [\"{}\"]\nminimum_version = 3\n",
                bed.owner.public_key()
            ),
            ..Provision::default()
        };
        let tree = bed.directory.path().join("tree");
        fs::create_dir_all(tree.join("etc")).unwrap();
        fs::write(tree.join("etc/conf"), "answer = 42\n").unwrap();
        symlink("etc/conf", tree.join("conf")).unwrap();
        Some(Self { bed, memory, identity })
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.bed.directory.path().join("tree")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.bed.directory.path().join("web.bundle")
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
        self.seal_as("web", 3, &self.identity, &self.bed.owner);
    }

    /// An owner's seal on whatever bytes.
    fn seal_bytes(&self, archive: &[u8]) {
        let options =
            SealOptions { model: "web".parse().unwrap(), version: 3, file_name: FileName::bundle_tar() };
        let mut ciphertext = Vec::new();
        let recipient = self.identity.recipient();
        let statement =
            seal(archive, &mut ciphertext, &recipient, &self.bed.owner, &options, &mut |_| {}).unwrap();
        fs::write(self.file(), ciphertext).unwrap();
        fs::write(self.statement(), statement.to_text()).unwrap();
    }

    fn statement(&self) -> PathBuf {
        self.bed.directory.path().join("web.bundle.seal")
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
        let configuration = self.bed.configuration("workload", &self.workload());
        let broker = self.bed.broker(&configuration).await;
        let init = self.bed.init(&configuration, broker.address, script);
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
    let Some(bed) = BundleBed::new() else { return };
    bed.seal();
    let script = format!("cd {} && cat conf && stat -c %a . etc etc/conf", bed.place().display());
    let ended = bed.run(&script).await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!(ended.stdout, "answer = 42\n755\n755\n644\n");
    assert!(ended.stderr.contains("bundle unpacked") && !ended.stderr.contains("AGE-SECRET"), "{ended:?}");
    assert!(bed.names().is_empty(), "{:?} is left", bed.names());
    // An empty directory in its place is no obstacle.
    fs::create_dir(bed.place()).unwrap();
    assert_eq!(bed.run(&script).await.code(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_genuine_is_not_unpacked() {
    let Some(mut bed) = BundleBed::new() else { return };
    bed.refused("bundle-unreadable").await;
    let host = OwnerSigningKey::generate().unwrap();
    bed.seal_as("web", 3, &bed.identity, &host);
    bed.refused("bundle-not-genuine").await;
    bed.seal_as("web", 2, &bed.identity, &bed.bed.owner);
    bed.refused("bundle-not-genuine").await;
    bed.seal_as("mail", 3, &bed.identity, &bed.bed.owner);
    bed.refused("bundle-not-genuine").await;
    bed.seal_as("web", 3, &ModelIdentity::generate(), &bed.bed.owner);
    bed.refused("unseal-wrong-key").await;

    // The host's tree, to the right key, under the owner's statement.
    bed.seal();
    let statement = fs::read(bed.statement()).unwrap();
    fs::write(bed.tree().join("etc/conf"), "answer = 43\n").unwrap();
    bed.seal_as("web", 3, &bed.identity, &host);
    fs::write(bed.statement(), statement).unwrap();
    bed.refused("unseal-digest").await;

    bed.seal();
    let mut changed = fs::read(bed.file()).unwrap();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    fs::write(bed.file(), changed).unwrap();
    bed.refused("unseal-altered").await;

    // An owner was made to seal something that leads out.
    let mut archive = vec![0; 512];
    archive[..6].copy_from_slice(b"../out");
    archive[257..265].copy_from_slice(b"ustar\x0000");
    archive[156] = b'0';
    archive[100..108].copy_from_slice(b"0000644\0");
    archive.resize(512 + 1024, 0);
    bed.seal_bytes(&archive);
    bed.refused("bundle-path-parent").await;

    // No rule; then a secret that is no key.
    bed.seal();
    let provision = bed.bed.provision.clone();
    bed.bed.provision = Provision { models: Vec::new(), tables: String::new(), ..provision.clone() };
    bed.refused("bundle-rule-missing").await;
    let secrets = vec![("image_key", "opaque", bed.identity.to_text().to_string())];
    bed.bed.provision = Provision { secrets, ..provision };
    bed.refused("bundle-key").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_is_larger_than_allowed_is_not_decrypted() {
    let Some(bed) = BundleBed::new() else { return };
    bed.seal();
    let workload = bed.workload_at(&bed.place(), "maximum_size = 1000");
    let configuration = bed.bed.configuration("workload", &workload);
    let broker = bed.bed.broker(&configuration).await;
    let ended = bed.bed.init(&configuration, broker.address, "echo started").run().await;
    ended.assert_refused(65, "bundle-too-large");
    assert!(bed.names().is_empty());
}

/// Refused before the broker is asked.
#[tokio::test]
async fn a_bundle_without_a_safe_and_free_place() {
    let Some(bed) = BundleBed::new() else { return };
    bed.seal();
    let attempt = async |place: &Path| {
        let configuration = bed.bed.configuration("workload", &bed.workload_at(place, ""));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ended = bed.bed.init(&configuration, listener.local_addr().unwrap(), "echo started").run().await;
        let came = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
        assert!(came.is_err(), "init connected: {ended:?}");
        ended
    };
    attempt(Path::new("/proc/self/web")).await.assert_refused(73, "storage-unsafe");
    attempt(Path::new("/no/such/directory/web")).await.assert_refused(73, "storage-failed");
    let place = bed.place();
    fs::create_dir(&place).unwrap();
    fs::write(place.join("precious"), "untouched").unwrap();
    attempt(&place).await.assert_refused(73, "storage-occupied");
    assert_eq!(fs::read_to_string(place.join("precious")).unwrap(), "untouched");
    let file = bed.memory.path().join("file");
    fs::write(&file, "").unwrap();
    attempt(&file).await.assert_refused(73, "storage-occupied");
    let link = bed.memory.path().join("link");
    symlink(bed.bed.directory.path(), &link).unwrap();
    attempt(&link).await.assert_refused(73, "storage-occupied");
}

/// A killed init can't clean up; the next one does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_init_left_is_replaced() {
    let Some(bed) = BundleBed::new() else { return };
    bed.seal();
    let configuration = bed.bed.configuration("workload", &bed.workload());
    let broker = bed.bed.broker(&configuration).await;
    let script =
        format!("echo more > {}/etc/more; echo program $$ ready.; exec sleep 1000", bed.place().display());
    let init = bed.bed.init(&configuration, broker.address, &script).environment("PATH", "/usr/bin:/bin");
    let mut child = init.start();
    let said = read_until(&mut child, "ready.").await;
    let program: i32 = said.split_whitespace().nth(1).unwrap().parse().unwrap();
    kill(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()), Signal::SIGKILL).unwrap();
    child.wait().await.unwrap();
    eventually("the program ends", || !is_running(program)).await;
    assert!(bed.place().join("etc/more").exists());
    let ended = bed.run(&format!("ls {}/etc", bed.place().display())).await;
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "conf\n"), "{ended:?}");
    assert!(bed.names().is_empty(), "{:?} is left", bed.names());
}

/// As the reference's encrypted image has the program itself in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_may_come_in_the_bundle() {
    let Some(bed) = BundleBed::new() else { return };
    fs::copy(Shell::PATH, bed.tree().join("sh")).unwrap();
    let program = bed.place().join("sh");
    let configuration = bed.bed.configuration("workload", &bed.workload());
    let text = fs::read_to_string(&configuration).unwrap();
    let pinned = text.replacen("path = \"/bin/sh\"", &format!("path = \"{}\"", program.display()), 1);
    fs::write(&configuration, pinned).unwrap();
    let broker = bed.bed.broker(&configuration).await;
    let start = |words: &[&str]| bed.bed.init(&configuration, broker.address, "").program(words).run();
    let program = program.to_str().unwrap();
    bed.seal();
    let ended = start(&[program, "-c", "echo $0 started"]).await;
    assert_eq!((ended.code(), ended.stdout), (0, format!("{program} started\n")), "{}", ended.stderr);
    // Another path is refused before anything is fetched.
    let ended = start(&["/bin/sh", "-c", "echo started"]).await;
    ended.assert_refused(78, "program-not-pinned");
    assert!(!ended.stderr.contains("bundle unpacked"));
    // Another program in the owner's own bundle.
    fs::write(bed.tree().join("sh"), "#!/bin/false\n").unwrap();
    bed.seal();
    let ended = start(&[program, "-c", "echo started"]).await;
    ended.assert_refused(78, "program-mismatch");
    assert!(bed.names().is_empty(), "{:?} is left", bed.names());
}

/// A caller that gives up waiting leaves nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unpacking_that_nobody_waits_for_ends_and_leaves_nothing() {
    let Some(bed) = BundleBed::new() else { return };
    fs::File::create(bed.tree().join("large")).unwrap().set_len(16 << 20).unwrap();
    bed.seal();
    let path = bed.bed.configuration("workload", &bed.workload());
    let configuration = MeasuredConfiguration::load(&path).unwrap();
    let bundles = Bundles::prepare(&configuration, Platform::Simulation).unwrap();
    let key = SecretValue::new(bed.identity.to_text().as_bytes().to_vec(), SecretKind::AgeIdentity, 1);
    let rule = ModelRule {
        name: "web".parse().unwrap(),
        signers: [bed.bed.owner.public_key()].into(),
        minimum_version: 0,
        digests: [].into(),
    };
    let released = Released {
        secrets: [("image_key".parse().unwrap(), key)].into(),
        models: vec![rule],
        manifest_version: 1,
        lease: Lease { duration: Duration::from_secs(60), grace: Duration::ZERO },
    };
    let mut unpacking = Box::pin(bundles.unpack(&configuration, released));
    // Until it has begun; then nobody waits any more.
    let begun = eventually("it has begun", || !bed.names().is_empty());
    tokio::select! {
        biased;
        // On a fast machine it is done first; what it made goes all the same.
        _ = &mut unpacking => {}
        () = begun => {}
    }
    drop(unpacking);
    eventually("nothing is left", || bed.names().is_empty()).await;
}
