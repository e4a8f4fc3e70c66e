//! Errors in how a server is named and trusted.

use std::path::PathBuf;

/// The reason why a server can't be named or trusted as given.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The given text is not the address of a server.
    ///
    /// Do: give `host:port`, as in `localhost:31001`.
    #[error("{text:?} is not a server address: {problem}; give host:port, as in localhost:31001")]
    Address { text: String, problem: &'static str },
    /// The file with the trusted certificate can't be used.
    ///
    /// Do: give the server's certificate in PEM (`--crt`).
    #[error("{}: {problem}; give the server's certificate in PEM", path.display())]
    CertificateFile { path: PathBuf, problem: String },
    /// The file with the client's own certificate or key can't be used.
    ///
    /// Do: give the client's certificate and its key in PEM (`--client-crt`, `--client-key`).
    #[error("{}: {problem}; give the client's certificate and its key in PEM", path.display())]
    ClientFile { path: PathBuf, problem: String },
}

impl TargetError {
    /// A stable name of the kind of error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "bad-address",
            Self::CertificateFile { .. } => "bad-certificate-file",
            Self::ClientFile { .. } => "bad-client-certificate-file",
        }
    }
}
