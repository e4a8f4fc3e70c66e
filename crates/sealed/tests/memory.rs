//! Sealing and unsealing, of models and of bundles, need constant memory, and opening in memory needs the
//! plaintext and little more. Measured as the peak of this process, so there is
//! one test in this file.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    io::{self, Read},
};

use adytum_sealed::{
    bundle::{LinkTarget, SealedBundle, Sink, seal_bundle},
    keys::ModelIdentity,
    rule::ModelRule,
    seal::{SealOptions, seal},
    statement::FileName,
    unseal::{open_in_memory, unseal_to_writer},
};
use adytum_signing::OwnerSigningKey;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 128 * MIB;

/// As many bytes as wanted, the same ones each time.
struct Generated {
    position: u64,
}

impl Read for Generated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (SIZE - self.position).min(buffer.len() as u64) as usize;
        buffer[..count].fill((self.position >> 16) as u8);
        self.position += count as u64;
        Ok(count)
    }
}

/// The most resident memory that this process has had, in bytes.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[test]
fn memory_stays_constant() {
    let Some(before) = peak() else {
        println!("SKIPPED: this system does not tell a process's peak memory");
        return;
    };
    let owner = OwnerSigningKey::generate().unwrap();
    let identity = ModelIdentity::generate();
    let options =
        SealOptions { model: "big".parse().unwrap(), version: 1, file_name: FileName::model_onnx() };
    let recipient = identity.recipient();
    let seal_into = |writer: &mut dyn io::Write| {
        seal(Generated { position: 0 }, writer, &recipient, &owner, &options, &mut |_| {}).unwrap()
    };

    let statement = seal_into(&mut io::sink());
    assert_eq!(statement.size, SIZE);
    assert_growth("sealing", before, 4 * MIB);

    let rule = ModelRule {
        name: "big".parse().unwrap(),
        signers: [owner.public_key()].into(),
        minimum_version: 0,
        digests: [].into(),
    };
    let genuine = rule.judge(&statement).unwrap();
    let identities = [identity.clone()];
    // The ciphertext goes through a pipe and is nowhere whole.
    let piped = |take: &mut dyn FnMut(io::PipeReader)| {
        let (reader, mut writer) = io::pipe().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                seal_into(&mut writer);
                drop(writer);
            });
            take(reader);
        });
    };
    piped(&mut |reader| unseal_to_writer(reader, &genuine, &identities, io::sink(), &mut |_| {}).unwrap());
    assert_growth("unsealing", before, 8 * MIB);

    bundle_in_constant_memory(&owner, &identity, before);

    piped(&mut |reader| {
        let secret = open_in_memory(reader, &genuine, &identities, SIZE).unwrap();
        let vector = secret.into_vec();
        assert_eq!((vector.len() as u64, vector.capacity() as u64), (SIZE, SIZE));
    });
    assert_growth("opening in memory", before, SIZE + 8 * MIB);
}

/// A file of holes: it takes no room on the disk, and all of it in an archive.
fn bundle_in_constant_memory(owner: &OwnerSigningKey, identity: &ModelIdentity, before: u64) {
    let directory = tempfile::tempdir().unwrap();
    let (tree, file) = (directory.path().join("tree"), directory.path().join("bundle"));
    fs::create_dir(&tree).unwrap();
    fs::File::create(tree.join("big")).unwrap().set_len(SIZE).unwrap();
    let name = "big".parse().unwrap();
    seal_bundle(&tree, &file, &identity.recipient(), owner, &name, 1, &mut |_| Ok(())).unwrap();
    assert_growth("sealing a bundle", before, 8 * MIB);
    let rule =
        ModelRule { name, signers: [owner.public_key()].into(), minimum_version: 0, digests: [].into() };
    let genuine = SealedBundle::open(&file).unwrap().judge(&rule).unwrap();
    let mut counted = Counted(0);
    genuine.unseal(std::slice::from_ref(identity), u64::MAX, &mut counted, &mut |_| Ok(())).unwrap();
    assert_eq!(counted.0, SIZE);
    assert_growth("unsealing a bundle", before, 8 * MIB);
}

/// Counts the bytes of files.
struct Counted(u64);

impl Sink for Counted {
    fn enter(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn begin(&mut self, _: &str, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0 += bytes.len() as u64;
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn link(&mut self, _: &str, _: &LinkTarget) -> io::Result<()> {
        Ok(())
    }
}

fn assert_growth(what: &str, before: u64, allowed: u64) {
    let growth = peak().unwrap() - before;
    println!("{what}: {} KiB more at the peak", growth / 1024);
    assert!(growth <= allowed, "{what} took {growth} bytes more, {allowed} are allowed");
}
