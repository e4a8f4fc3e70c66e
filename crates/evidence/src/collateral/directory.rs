//! Collateral in files.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;

use super::{
    kinds::{Collateral, CollateralRequest},
    source::CollateralSource,
};
use crate::{
    certificate::chain::parse_issuer_chain, dcap::DcapRequest, error::CollateralError, snp::SnpCollateral,
};

/// The largest collateral read, in bytes, over all its parts. Intel's largest
/// today is below 100 KiB.
pub const MAXIMUM_COLLATERAL_LENGTH: usize = 2 * 1024 * 1024;

/// A directory with one file for each platform family, named
/// `{sgx|tdx}-{FMSPC}-{processor|platform}.json` (FMSPC as 12 lower-case
/// hexadecimal digits), such as `sgx-00a067110000-processor.json`. Its content
/// is a [`super::QuoteCollateralV3`] as JSON: the field names are those of the type,
/// CRLs and signatures in hexadecimal, the rest as Intel serves it.
///
/// What Intel has published and does not apply yet (`update=early`) lies next to it as
/// `....early.json`, if somebody puts it there.
///
/// For SEV-SNP it has, for each family of processors and kind of key, the
/// certificates of its issuer and root in PEM and its CRL in DER, as AMD's KDS serves
/// them: `snp-{milan|genoa|turin}-{vcek|vlek}.pem` and the same with `.crl`; and, for
/// guests whose host does not give them theirs, chips' certificates in DER, named
/// `snp-{...}-vcek-{chip}-{reported TCB_VERSION}.der` in lower-case hexadecimal.
///
/// Read again at each request, so that a file may be replaced (by renaming) at
/// any time; put a [`super::CachedSource`] before it.
#[derive(Clone, Debug)]
pub struct DirectorySource {
    directory: PathBuf,
}

impl DirectorySource {
    /// Collateral in this directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Where the collateral for DCAP quotes of this kind is looked for.
    pub fn path(&self, request: &DcapRequest) -> PathBuf {
        self.directory.join(format!("{request}.json"))
    }
}

#[async_trait]
impl CollateralSource for DirectorySource {
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
        let (directory, request) = (self.directory.clone(), request.clone());
        tokio::task::spawn_blocking(move || read(&directory, &request)).await.unwrap_or_else(|error| {
            Err(CollateralError::Unreachable {
                origin: self.directory.display().to_string(),
                reason: error.to_string(),
            })
        })
    }

    async fn early(&self, request: &CollateralRequest) -> Result<Option<Collateral>, CollateralError> {
        let CollateralRequest::Dcap(request) = request else { return Ok(None) };
        let path = self.directory.join(format!("{request}.early.json"));
        let what = format!("early {request}");
        let read = tokio::task::spawn_blocking(move || dcap(&path, what)).await;
        match read {
            Ok(Ok(collateral)) => Ok(Some(collateral)),
            Ok(Err(CollateralError::Missing { .. } | CollateralError::NoDirectory { .. })) => Ok(None),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(CollateralError::Unreachable {
                origin: self.directory.display().to_string(),
                reason: error.to_string(),
            }),
        }
    }
}

fn dcap(path: &Path, what: String) -> Result<Collateral, CollateralError> {
    serde_json::from_slice(&file(path, &what)?)
        .map(|collateral| Collateral::Dcap(Arc::new(collateral)))
        .map_err(|error| malformed(path, what, error.to_string()))
}

fn read(directory: &Path, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
    let what = request.to_string();
    let path = |extension: &str| directory.join(format!("{what}.{extension}"));
    match request {
        CollateralRequest::Dcap(_) => dcap(&path("json"), what),
        CollateralRequest::Snp(_) => {
            let (chain, crl) = (path("pem"), file(&path("crl"), &what)?);
            let [issuer, root] = std::str::from_utf8(&file(&chain, &what)?)
                .map_err(|error| error.to_string())
                .and_then(parse_issuer_chain)
                .map_err(|reason| malformed(&chain, what, reason))?;
            Ok(Collateral::Snp(Arc::new(SnpCollateral { issuer, root, crl })))
        }
        CollateralRequest::Vcek(_) => Ok(Collateral::Vcek(file(&path("der"), &what)?.into())),
    }
}

fn malformed(path: &Path, what: String, reason: String) -> CollateralError {
    CollateralError::Malformed { origin: path.display().to_string(), what, reason }
}

fn file(path: &Path, what: &str) -> Result<Vec<u8>, CollateralError> {
    let origin = path.display().to_string();
    match bounded(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(path, what)),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(CollateralError::Malformed { origin, what: what.to_owned(), reason: error.to_string() })
        }
        Err(error) => Err(CollateralError::Unreachable { origin, reason: error.to_string() }),
    }
}

/// A file is not there, or not even its directory.
fn missing(path: &Path, what: &str) -> CollateralError {
    let directory = path.parent().unwrap_or(Path::new("/"));
    if directory.is_dir() {
        return CollateralError::Missing { origin: path.display().to_string(), what: what.to_owned() };
    }
    let what = path.file_name().unwrap_or_default().display().to_string();
    CollateralError::NoDirectory { directory: directory.display().to_string(), what }
}

fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let limit = MAXIMUM_COLLATERAL_LENGTH as u64;
    std::fs::File::open(path)?.take(limit + 1).read_to_end(&mut text)?;
    if text.len() > MAXIMUM_COLLATERAL_LENGTH {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("longer than {MAXIMUM_COLLATERAL_LENGTH} bytes"),
        ));
    }
    Ok(text)
}
