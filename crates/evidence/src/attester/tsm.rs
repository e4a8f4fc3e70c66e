//! TDX and SEV-SNP guests, through the kernel's reports in configfs (Linux,
//! Documentation/ABI/testing/configfs-tsm).

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use aws_lc_rs::rand;

use super::{Attester, AttesterError, SealingKey, TeePlatform, blocking, checked_dcap_quote, files};
use crate::{
    evidence::{Evidence, MAXIMUM_EVIDENCE_LENGTH},
    measurement::ReportData,
};

/// Where the kernel has its reports, once configfs is mounted.
pub const TSM_DIRECTORY: &str = "/sys/kernel/config/tsm/report";

/// A report asked for again when somebody else wrote to it meanwhile.
const ATTEMPTS: usize = 3;
/// How many names for a report directory are tried.
const NAMES: usize = 4;

/// Evidence from the kernel of a confidential guest.
pub struct Tsm {
    kernel: Arc<dyn Kernel>,
    provider: Provider,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Provider {
    Tdx,
    Snp,
}

/// The reports of configfs. A trait, because files can't stand for it: the
/// kernel fills a directory when it is made and removes it filled.
trait Kernel: Send + Sync {
    /// Makes a report directory.
    fn create(&self, report: &str) -> io::Result<()>;
    /// Removes it.
    fn remove(&self, report: &str) -> io::Result<()>;
    /// Where an attribute of it lies.
    fn attribute(&self, report: &str, name: &str) -> PathBuf;
    /// Reads an attribute, at most `limit` bytes.
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, AttesterError> {
        files::read(path, limit).map(|bytes| bytes.to_vec())
    }
    /// Writes an attribute.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), AttesterError> {
        files::write(path, bytes)
    }
}

struct Configfs(PathBuf);

impl Kernel for Configfs {
    fn create(&self, report: &str) -> io::Result<()> {
        fs::create_dir(self.0.join(report))
    }

    fn remove(&self, report: &str) -> io::Result<()> {
        fs::remove_dir(self.0.join(report))
    }

    fn attribute(&self, report: &str, name: &str) -> PathBuf {
        self.0.join(report).join(name)
    }
}

/// `outblob`, and `auxblob` where the provider has one.
struct Blobs {
    out: Vec<u8>,
    aux: Vec<u8>,
}

/// A report directory that goes when it is dropped.
struct Report<'a> {
    kernel: &'a dyn Kernel,
    name: String,
}

impl<'a> Report<'a> {
    fn new(kernel: &'a dyn Kernel) -> Result<Self, AttesterError> {
        let mut tried = 1;
        loop {
            let name = random_name()?;
            match kernel.create(&name) {
                Ok(()) => return Ok(Self { kernel, name }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tried < NAMES => tried += 1,
                Err(error) => {
                    let path = kernel.attribute(&name, "");
                    return Err(files::failed(&path, "make the report directory", &error));
                }
            }
        }
    }

    fn read(&self, attribute: &str, limit: usize) -> Result<Vec<u8>, AttesterError> {
        self.kernel.read(&self.path(attribute), limit)
    }

    fn path(&self, attribute: &str) -> PathBuf {
        self.kernel.attribute(&self.name, attribute)
    }

    fn line(&self, attribute: &str) -> Result<String, AttesterError> {
        let bytes = self.read(attribute, 256)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\0']).to_owned())
    }

    fn answer(&self, attribute: &str, expected: &str, found: String) -> AttesterError {
        AttesterError::Answer {
            interface: self.path(attribute).display().to_string(),
            expected: expected.to_owned(),
            found,
        }
    }

    fn provider(&self) -> Result<Provider, AttesterError> {
        match self.line("provider")?.as_str() {
            "tdx_guest" => Ok(Provider::Tdx),
            "sev_guest" => Ok(Provider::Snp),
            found => Err(self.answer("provider", "\"tdx_guest\" or \"sev_guest\"", format!("{found:?}"))),
        }
    }

    /// How many times the report's inputs have been written.
    fn generation(&self) -> Result<u64, AttesterError> {
        let text = self.line("generation")?;
        text.parse().map_err(|_| self.answer("generation", "a number", format!("{text:?}")))
    }

    /// The kernel's answer for these bytes, or `None` when somebody else
    /// wrote to the report meanwhile.
    fn blobs(&self, report_data: ReportData) -> Result<Option<Blobs>, AttesterError> {
        let before = self.generation()?;
        self.kernel.write(&self.path("inblob"), report_data.as_bytes())?;
        let out = self.read("outblob", MAXIMUM_EVIDENCE_LENGTH)?;
        let aux = match self.provider()? {
            Provider::Snp => self.read("auxblob", MAXIMUM_EVIDENCE_LENGTH)?,
            Provider::Tdx => Vec::new(),
        };
        Ok((self.generation()? == before.saturating_add(1)).then_some(Blobs { out, aux }))
    }
}

/// Containers share the directory, each with a process 1, and a process that was
/// killed leaves its reports behind: nothing that a process knows is unique.
fn random_name() -> Result<String, AttesterError> {
    let mut bytes = [0u8; 8];
    rand::fill(&mut bytes).map_err(|error| AttesterError::Interface {
        interface: "the random number generator".to_owned(),
        operation: "name a report directory",
        reason: error.to_string(),
    })?;
    Ok(format!("adytum-{}", hex::encode(bytes)))
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.kernel.remove(&self.name) {
            tracing::warn!(report = self.name, %error, "report directory not removed");
        }
    }
}

impl std::fmt::Debug for Tsm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tsm({:?})", self.provider)
    }
}

impl Tsm {
    /// The reports below this directory ([`TSM_DIRECTORY`]).
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, AttesterError> {
        Self::with(Arc::new(Configfs(directory.into())))
    }

    fn with(kernel: Arc<dyn Kernel>) -> Result<Self, AttesterError> {
        let provider = Report::new(&*kernel)?.provider()?;
        Ok(Self { kernel, provider })
    }
}

fn collect(
    kernel: &dyn Kernel,
    provider: Provider,
    report_data: ReportData,
) -> Result<Evidence, AttesterError> {
    let report = Report::new(kernel)?;
    for _ in 0..ATTEMPTS {
        let Some(Blobs { out, aux }) = report.blobs(report_data)? else { continue };
        let interface = report.path("outblob").display().to_string();
        return match provider {
            Provider::Tdx => checked_dcap_quote(&interface, out, report_data),
            Provider::Snp => snp_report(&interface, out, aux, report_data),
        };
    }
    Err(AttesterError::Interface {
        interface: report.path("generation").display().to_string(),
        operation: "read a report of our own input",
        reason: format!("another process wrote to it {ATTEMPTS} times"),
    })
}

/// The report data of a SEV-SNP report lies at byte 0x50 (AMD 56860, table
/// ATTESTATION_REPORT).
fn snp_report(
    interface: &str,
    report: Vec<u8>,
    certificates: Vec<u8>,
    report_data: ReportData,
) -> Result<Evidence, AttesterError> {
    if report.get(0x50..0x90) != Some(report_data.as_bytes()) {
        return Err(AttesterError::Answer {
            interface: interface.to_owned(),
            expected: "a SEV-SNP report over the report data asked for".to_owned(),
            found: format!("{} bytes with other report data", report.len()),
        });
    }
    Ok(Evidence::snp_report(report, certificates))
}

#[async_trait]
impl Attester for Tsm {
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError> {
        let (kernel, provider) = (Arc::clone(&self.kernel), self.provider);
        blocking("tsm", move || collect(&*kernel, provider, report_data)).await
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        // TDX has none. SEV-SNP derives keys, by an interface of its own.
        Ok(None)
    }

    fn platform(&self) -> TeePlatform {
        match self.provider {
            Provider::Tdx => TeePlatform::Tdx,
            Provider::Snp => TeePlatform::Snp,
        }
    }
}

#[cfg(test)]
mod tests;
