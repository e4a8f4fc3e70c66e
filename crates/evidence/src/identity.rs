//! The identity of a workload: digest(init ‖ program ‖ measured configuration).
//!
//! On SGX the hardware computes MRENCLAVE over a build that contains all three;
//! in TDX and SEV-SNP guests this value is carried by MRCONFIGID or HOST_DATA;
//! the simulated platform puts it in the place of MRENCLAVE.

use std::{
    fs::File,
    io::{self, BufReader},
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::measurement::{Sha256Digest, WorkloadIdentity};

const DOMAIN: &[u8] = b"adytum workload v1";

/// How much of a file is read at once, in bytes: few calls, and it stays in the
/// processor's cache.
const READ_LENGTH: usize = 128 * 1024;

impl WorkloadIdentity {
    /// SHA-256 over the length-prefixed domain, digest of init's binary, digest
    /// of the program's binary and digest of the canonical measured
    /// configuration. Where init is a library in the program, both digests are
    /// that of the one binary.
    pub fn of(init: Sha256Digest, program: Sha256Digest, canonical_configuration: &[u8]) -> Self {
        let configuration = Sha256Digest::of_bytes(canonical_configuration);
        let mut hasher = LengthPrefixed::<Sha256>::new();
        hasher.field(DOMAIN);
        hasher.field(&init.0);
        hasher.field(&program.0);
        hasher.field(&configuration.0);
        Self(hasher.finish().into())
    }
}

impl Sha256Digest {
    /// The digest of these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of a file's contents, read in constant memory.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut file = BufReader::with_capacity(READ_LENGTH, File::open(path)?);
        io::copy(&mut file, &mut HashWriter(&mut hasher))?;
        Ok(Self(hasher.finalize().into()))
    }

    /// The digest of the binary that this process runs.
    pub fn of_this_program() -> io::Result<Self> {
        Self::of_file(Path::new("/proc/self/exe"))
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A digest over fields, each preceded by its length as eight bytes,
/// big-endian, so that no two different lists of fields hash alike.
#[derive(Debug)]
pub struct LengthPrefixed<D>(D);

impl<D: Digest> LengthPrefixed<D> {
    /// Nothing hashed yet.
    #[expect(clippy::new_without_default, reason = "a hash state is started by name")]
    pub fn new() -> Self {
        Self(D::new())
    }

    /// Appends a field.
    pub fn field(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// The digest.
    pub fn finish(self) -> sha2::digest::Output<D> {
        self.0.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_changed_byte_anywhere_changes_the_identity() {
        let init = Sha256Digest::of_bytes(b"init");
        let program = Sha256Digest::of_bytes(b"program");
        let identity = WorkloadIdentity::of(init, program, b"configuration");
        for other in [
            WorkloadIdentity::of(Sha256Digest::of_bytes(b"inis"), program, b"configuration"),
            WorkloadIdentity::of(init, Sha256Digest::of_bytes(b"prograM"), b"configuration"),
            WorkloadIdentity::of(init, program, b"configuratioN"),
            WorkloadIdentity::of(program, init, b"configuration"),
        ] {
            assert_ne!(identity, other);
        }
    }

    #[test]
    fn fields_do_not_run_together() {
        let digest = |fields: &[&[u8]]| {
            let mut hasher = LengthPrefixed::<Sha256>::new();
            fields.iter().for_each(|field| hasher.field(field));
            hasher.finish()
        };
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_ne!(digest(&[b""]), digest(&[]));
    }
}
