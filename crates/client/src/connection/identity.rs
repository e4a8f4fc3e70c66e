//! The certificate that a client shows, where the server asks for one.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};
use zeroize::Zeroizing;

use super::TargetError;

/// No key and no chain of certificates is longer than this, in bytes.
const MAXIMUM_FILE_LENGTH: u64 = 1 << 20;

/// PEM files with a client's certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, and those that lead from it to an authority.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl ClientIdentity {
    /// What rustls shows: whatever version of X.509 the certificate has.
    pub(crate) fn read(&self, provider: &CryptoProvider) -> Result<Arc<SingleCertAndKey>, TargetError> {
        let error = |path: &Path, problem: String| TargetError::ClientFile { path: path.to_owned(), problem };
        let pem = read(&self.certificate)?;
        let certificates = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|problem| error(&self.certificate, format!("the file is not PEM: {problem}")))?;
        if certificates.is_empty() {
            return Err(error(&self.certificate, "the file has no certificate in it".to_owned()));
        }
        // The message has no word of the file, which holds a key.
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?)
            .map_err(|_| error(&self.key, "the file has no private key in PEM".to_owned()))?;
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|problem| error(&self.key, format!("the key can't be used: {problem}")))?;
        Ok(Arc::new(SingleCertAndKey::from(CertifiedKey::new(certificates, key))))
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TargetError> {
    let error = |problem: String| TargetError::ClientFile { path: path.to_owned(), problem };
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)
        .and_then(|file| file.take(MAXIMUM_FILE_LENGTH + 1).read_to_end(&mut bytes))
        .map_err(|problem| error(problem.to_string()))?;
    if bytes.len() as u64 > MAXIMUM_FILE_LENGTH {
        return Err(error("the file is too large".to_owned()));
    }
    Ok(bytes)
}
