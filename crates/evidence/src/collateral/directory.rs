//! Collateral in files.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;

use super::{
    CollateralError, CollateralRequest, CollateralSource, MAXIMUM_COLLATERAL_LENGTH, QuoteCollateralV3,
    SnpCollateral, SnpRequest, VcekRequest,
};
use crate::verifier::parse_issuer_chain;

/// A directory with one file for each platform family, named
/// `{sgx|tdx}-{FMSPC}-{processor|platform}.json` (FMSPC as 12 lower-case
/// hexadecimal digits), such as `sgx-00a067110000-processor.json`. Its content
/// is a [`QuoteCollateralV3`] as JSON: the field names are those of the type,
/// CRLs and signatures in hexadecimal, the rest as Intel serves it.
///
/// For SEV-SNP it has, for each family of processors and kind of key, the
/// certificates of its issuer and root in PEM and its CRL in DER, as AMD's KDS serves
/// them: `snp-{milan|genoa|turin}-{vcek|vlek}.pem` and the same with `.crl`; and, for
/// guests whose host does not give them theirs, chips' certificates in DER, named
/// `snp-{...}-vcek-{chip}-{reported TCB_VERSION}.der` in lower-case hexadecimal.
///
/// Read anew at each request, so that a file may be replaced (by renaming) at
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

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Path) -> Result<T, CollateralError> + Send + 'static,
    ) -> Result<T, CollateralError> {
        let directory = self.directory.clone();
        tokio::task::spawn_blocking(move || read(&directory)).await.unwrap_or_else(|error| {
            Err(CollateralError::Unreachable {
                origin: self.directory.display().to_string(),
                reason: error.to_string(),
            })
        })
    }

    /// Where the collateral for this request is looked for.
    pub fn path(&self, request: &CollateralRequest) -> PathBuf {
        self.directory.join(format!("{request}.json"))
    }
}

#[async_trait]
impl CollateralSource for DirectorySource {
    async fn collateral(
        &self,
        request: &CollateralRequest,
    ) -> Result<Arc<QuoteCollateralV3>, CollateralError> {
        let (path, what) = (self.path(request), request.to_string());
        self.read(move |_| {
            serde_json::from_slice(&file(&path, &what)?)
                .map(Arc::new)
                .map_err(|error| malformed(&path, what, error.to_string()))
        })
        .await
    }

    async fn snp(&self, request: &SnpRequest) -> Result<Arc<SnpCollateral>, CollateralError> {
        let what = request.to_string();
        self.read(move |directory| {
            let chain = directory.join(format!("{what}.pem"));
            let crl = file(&directory.join(format!("{what}.crl")), &what)?;
            let [issuer, root] = std::str::from_utf8(&file(&chain, &what)?)
                .map_err(|error| error.to_string())
                .and_then(parse_issuer_chain)
                .map_err(|reason| malformed(&chain, what, reason))?;
            Ok(Arc::new(SnpCollateral { issuer, root, crl }))
        })
        .await
    }

    async fn vcek(&self, request: &VcekRequest) -> Result<Arc<[u8]>, CollateralError> {
        let what = request.to_string();
        self.read(move |directory| Ok(file(&directory.join(format!("{what}.der")), &what)?.into())).await
    }
}

fn malformed(path: &Path, what: String, reason: String) -> CollateralError {
    CollateralError::Malformed { origin: path.display().to_string(), what, reason }
}

fn file(path: &Path, what: &str) -> Result<Vec<u8>, CollateralError> {
    let origin = path.display().to_string();
    match bounded(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(CollateralError::Missing { origin, what: what.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(CollateralError::Malformed { origin, what: what.to_owned(), reason: error.to_string() })
        }
        Err(error) => Err(CollateralError::Unreachable { origin, reason: error.to_string() }),
    }
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
