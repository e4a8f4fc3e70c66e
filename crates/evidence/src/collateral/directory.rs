//! Collateral in files.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;

use super::{
    CollateralError, CollateralRequest, CollateralSource, MAXIMUM_COLLATERAL_LENGTH, QuoteCollateralV3,
};

/// A directory with one file for each platform family, named
/// `{sgx|tdx}-{FMSPC}-{processor|platform}.json` (FMSPC as 12 lower-case
/// hexadecimal digits), such as `sgx-00a067110000-processor.json`. Its content
/// is a [`QuoteCollateralV3`] as JSON: the field names are those of the type,
/// CRLs and signatures in hexadecimal, the rest as Intel serves it.
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
        let path = self.path(request);
        let what = request.to_string();
        match tokio::task::spawn_blocking(move || read(&path, what)).await {
            Ok(answer) => answer.map(Arc::new),
            Err(error) => Err(CollateralError::Unreachable {
                origin: self.directory.display().to_string(),
                reason: error.to_string(),
            }),
        }
    }
}

fn read(path: &Path, what: String) -> Result<QuoteCollateralV3, CollateralError> {
    let origin = path.display().to_string();
    let text = match bounded(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(CollateralError::Missing { origin, what });
        }
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Err(CollateralError::Malformed { origin, what, reason: error.to_string() });
        }
        Err(error) => return Err(CollateralError::Unreachable { origin, reason: error.to_string() }),
    };
    serde_json::from_slice(&text).map_err(|error| CollateralError::Malformed {
        origin,
        what,
        reason: error.to_string(),
    })
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
