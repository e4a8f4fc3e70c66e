//! A simulated platform as files.
//!
//! Everything lies open in one directory: this is what simulation is. Private
//! keys have mode 0600. `platform.json` is written last, so a directory without
//! it holds no platform, and a creation that was cut off can be made again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use adytum_evidence::collateral::QuoteCollateralV3;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    certificates::{Certificate, CertifiedKey, Chain},
    error::SimError,
    faults::Faults,
    hardware::Hardware,
    keys::SigningKey,
};

/// The root's certificate: what a verifier is given to trust this platform.
pub const ROOT_CERTIFICATE_FILE: &str = "root.pem";
/// The directory of collateral within a platform's directory.
pub const COLLATERAL_DIRECTORY: &str = "collateral";

const DESCRIPTION_FILE: &str = "platform.json";
const README_FILE: &str = "README";
const LOCK_FILE: &str = ".lock";
const ATTESTATION_KEY_FILE: &str = "attestation.key.pem";
const SEALING_SECRET_FILE: &str = "sealing-secret.hex";
/// (certificate, key) of each link of the chain.
const ROOT: (&str, &str) = (ROOT_CERTIFICATE_FILE, "root.key.pem");
const PCK_CA: (&str, &str) = ("pck-ca.pem", "pck-ca.key.pem");
const TCB_SIGNER: (&str, &str) = ("tcb-signer.pem", "tcb-signer.key.pem");
const PCK: (&str, &str) = ("pck.pem", "pck.key.pem");

const README: &str = "\
This is a SIMULATED SGX platform. It protects nothing: every key of it lies in
this directory, and whoever reads them can sign any quote.

root.pem is what a verifier is given, by name, to trust this platform.
collateral/ is what a verifier needs to verify its quotes.
";

const FORMAT: &str = "adytum simulated platform 1";
/// More than any file of a platform has.
const MAXIMUM_FILE_LENGTH: u64 = 256 * 1024;
const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

/// All that makes a platform what it is, but its collateral.
pub(crate) struct Contents {
    pub(crate) hardware: Hardware,
    pub(crate) faults: Faults,
    pub(crate) chain: Chain,
    pub(crate) attestation_key_pem: Zeroizing<String>,
    pub(crate) sealing_secret: Zeroizing<[u8; 32]>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: String,
    hardware: Hardware,
    #[serde(default)]
    faults: Faults,
}

/// The directory of one platform.
#[derive(Clone, Debug)]
pub(crate) struct Directory(pub(crate) PathBuf);

/// Held while a platform is being created.
pub(crate) struct CreationLock {
    _file: File,
}

impl Directory {
    /// Makes the directory where there is none, and waits until nobody else
    /// creates a platform in it.
    pub(crate) fn lock_for_creation(&self) -> Result<CreationLock, SimError> {
        fs::create_dir_all(&self.0).map_err(|error| file_error("create", &self.0, error))?;
        if !self.holds_platform() {
            self.refuse_foreign_files()?;
        }
        let path = self.0.join(LOCK_FILE);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(PRIVATE)
            .open(&path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|error| file_error("lock", &path, error))?;
        Ok(CreationLock { _file: file })
    }

    pub(crate) fn holds_platform(&self) -> bool {
        self.0.join(DESCRIPTION_FILE).exists()
    }

    /// Nothing but what a creation that was cut off left may be there.
    fn refuse_foreign_files(&self) -> Result<(), SimError> {
        let entries = fs::read_dir(&self.0).map_err(|error| file_error("list", &self.0, error))?;
        for entry in entries {
            let name = entry.map_err(|error| file_error("list", &self.0, error))?.file_name();
            let ours = name.to_str().is_some_and(|name| {
                let chain = [ROOT, PCK_CA, TCB_SIGNER, PCK];
                // A file that was being written is NAME.PROCESS.new.
                let name = name
                    .strip_suffix(".new")
                    .and_then(|name| name.rsplit_once('.'))
                    .map_or(name, |(name, _process)| name);
                [
                    README_FILE,
                    LOCK_FILE,
                    ATTESTATION_KEY_FILE,
                    SEALING_SECRET_FILE,
                    COLLATERAL_DIRECTORY,
                    DESCRIPTION_FILE,
                ]
                .contains(&name)
                    || chain.iter().any(|(certificate, key)| [*certificate, *key].contains(&name))
            });
            if !ours {
                return Err(SimError::Exists { path: self.0.clone() });
            }
        }
        Ok(())
    }

    /// Writes a whole platform, its description last.
    pub(crate) fn write(
        &self,
        _lock: &CreationLock,
        contents: &Contents,
        collateral: &QuoteCollateralV3,
    ) -> Result<(), SimError> {
        self.put(README_FILE, PUBLIC, README.as_bytes())?;
        let chain = &contents.chain;
        for ((certificate, key), link) in
            [(ROOT, &chain.root), (PCK_CA, &chain.pck_ca), (TCB_SIGNER, &chain.tcb_signer), (PCK, &chain.pck)]
        {
            self.put(key, PRIVATE, link.key.to_pem().as_bytes())?;
            self.put(certificate, PUBLIC, link.certificate.pem.as_bytes())?;
        }
        self.put(ATTESTATION_KEY_FILE, PRIVATE, contents.attestation_key_pem.as_bytes())?;
        let secret = Zeroizing::new(hex::encode(*contents.sealing_secret));
        self.put(SEALING_SECRET_FILE, PRIVATE, secret.as_bytes())?;
        self.write_collateral(&contents.hardware, collateral)?;
        self.write_description(&contents.hardware, contents.faults)
    }

    pub(crate) fn write_description(&self, hardware: &Hardware, faults: Faults) -> Result<(), SimError> {
        let description = Description { format: FORMAT.to_owned(), hardware: hardware.clone(), faults };
        let mut text = serde_json::to_vec_pretty(&description)
            .map_err(|error| SimError::cryptography("write its description", error))?;
        text.push(b'\n');
        self.put(DESCRIPTION_FILE, PUBLIC, &text)
    }

    /// Writes the collateral where a verifier's directory source looks for it.
    pub(crate) fn write_collateral(
        &self,
        hardware: &Hardware,
        collateral: &QuoteCollateralV3,
    ) -> Result<(), SimError> {
        let directory = self.0.join(COLLATERAL_DIRECTORY);
        fs::create_dir_all(&directory).map_err(|error| file_error("create", &directory, error))?;
        let text = serde_json::to_vec_pretty(collateral)
            .map_err(|error| SimError::cryptography("write its collateral", error))?;
        self.put(&collateral_file(hardware), PUBLIC, &text)
    }

    /// Reads a platform and checks that its parts belong together.
    pub(crate) fn read(&self) -> Result<Contents, SimError> {
        let description = self.0.join(DESCRIPTION_FILE);
        // Another error than for a directory that may not be read.
        if !description.try_exists().map_err(|error| file_error("look for", &description, error))? {
            return Err(SimError::Missing { path: self.0.clone() });
        }
        let text = self.get(DESCRIPTION_FILE)?;
        let description: Description = serde_json::from_str(&text)
            .map_err(|error| self.damaged(DESCRIPTION_FILE, "a description in JSON", error))?;
        if description.format != FORMAT {
            let expected = "the format \"adytum simulated platform 1\"";
            return Err(self.damaged(DESCRIPTION_FILE, expected, format!("{:?}", description.format)));
        }

        let mut sealing_secret = Zeroizing::new([0; 32]);
        hex::decode_to_slice(self.get(SEALING_SECRET_FILE)?.trim(), &mut *sealing_secret)
            .map_err(|error| self.damaged(SEALING_SECRET_FILE, "64 hexadecimal digits", error))?;

        Ok(Contents {
            hardware: description.hardware,
            faults: description.faults,
            chain: Chain {
                root: self.link(ROOT)?,
                pck_ca: self.link(PCK_CA)?,
                tcb_signer: self.link(TCB_SIGNER)?,
                pck: self.link(PCK)?,
            },
            attestation_key_pem: self.get(ATTESTATION_KEY_FILE)?,
            sealing_secret,
        })
    }

    /// The attestation key among the contents that were read.
    pub(crate) fn attestation_key(&self, contents: &Contents) -> Result<SigningKey, SimError> {
        SigningKey::from_pem(&contents.attestation_key_pem)
            .map_err(|reason| self.damaged(ATTESTATION_KEY_FILE, "an ECDSA P-256 key in PEM", reason))
    }

    /// The collateral, or `None` where its file is missing.
    pub(crate) fn read_collateral(&self, hardware: &Hardware) -> Result<Option<QuoteCollateralV3>, SimError> {
        let name = collateral_file(hardware);
        if !self.0.join(&name).exists() {
            return Ok(None);
        }
        serde_json::from_str(&self.get(&name)?)
            .map(Some)
            .map_err(|error| self.damaged(&name, "collateral in JSON", error))
    }

    pub(crate) fn damaged_collateral(&self, hardware: &Hardware, found: &str) -> SimError {
        self.damaged(&collateral_file(hardware), "collateral signed by this platform", found)
    }

    fn link(&self, (certificate_file, key_file): (&str, &str)) -> Result<CertifiedKey, SimError> {
        let key = SigningKey::from_pem(&self.get(key_file)?)
            .map_err(|reason| self.damaged(key_file, "an ECDSA P-256 key in PEM", reason))?;
        let certificate = Certificate::from_pem(self.get(certificate_file)?.to_string(), &key)
            .map_err(|reason| self.damaged(certificate_file, "the certificate of its key", reason))?;
        Ok(CertifiedKey { key, certificate })
    }

    fn damaged(&self, name: &str, expected: &'static str, found: impl ToString) -> SimError {
        SimError::Damaged { path: self.0.join(name), expected, found: found.to_string() }
    }

    fn get(&self, name: &str) -> Result<Zeroizing<String>, SimError> {
        let path = self.0.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.damaged(name, "a file", "none"));
            }
            Err(error) => return Err(file_error("open", &path, error)),
        };
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(MAXIMUM_FILE_LENGTH + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| file_error("read", &path, error))?;
        if bytes.len() as u64 > MAXIMUM_FILE_LENGTH {
            return Err(self.damaged(name, "at most 256 KiB", "more"));
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Zeroizing::new(text.to_owned())),
            Err(_) => Err(self.damaged(name, "text", "bytes that are not UTF-8")),
        }
    }

    /// Replaces a file as a whole: readers see the old one or the new one.
    fn put(&self, name: &str, mode: u32, bytes: &[u8]) -> Result<(), SimError> {
        let path = self.0.join(name);
        // The process id keeps two processes that renew at once apart.
        let new = self.0.join(format!("{name}.{}.new", std::process::id()));
        let written = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(mode)
            .open(&new)
            .and_then(|mut file| {
                if mode == PRIVATE {
                    // What an earlier process left may be there with another mode.
                    file.set_permissions(fs::Permissions::from_mode(PRIVATE))?;
                }
                file.write_all(bytes)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| {
            // Best effort: the error that matters is the first.
            let _ = fs::remove_file(&new);
            file_error("write", &path, error)
        })
    }
}

/// Relative to the platform's directory.
fn collateral_file(hardware: &Hardware) -> String {
    format!("{COLLATERAL_DIRECTORY}/sgx-{}-{}.json", hardware.fmspc, hardware.ca.text())
}

fn file_error(operation: &'static str, path: &Path, source: io::Error) -> SimError {
    SimError::File { operation, path: path.to_owned(), source }
}
