//! Why the server ended.

use std::{io, path::PathBuf};

use adytum_init::InitError;
use adytum_sealed::keys::ModelKeyError;

use crate::{flags::FlagError, loading::LoadingError, tls::TlsError};

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A flag.
    #[error(transparent)]
    Flag(#[from] FlagError),
    /// The measured configuration, or what it asks for.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The port.
    #[error("port {port}: {source}; choose another with --port")]
    Listen {
        /// The port.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// The `SSLConfig` file.
    #[error("--ssl_config_file {}: {source}", path.display())]
    SslConfigFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A secret without a use.
    #[error(
        "the measured configuration puts the secret {name} at {destination}, but this server takes secrets in \
         memory and as --ssl_config_file only"
    )]
    Destination {
        /// The secret.
        name: String,
        /// Where it should go.
        destination: String,
    },
    /// The `SSLConfig`'s content.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A model's key.
    #[error("the secret {name}: {source}")]
    ModelKey {
        /// The secret.
        name: String,
        /// What is wrong with it.
        source: ModelKeyError,
    },
    /// The model.
    #[error(transparent)]
    Loading(#[from] LoadingError),
    /// The system.
    #[error("{operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl ServeError {
    /// A stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::Flag(error) => error.code(),
            Self::Init(error) => error.code(),
            Self::Listen { .. } => "listen",
            Self::SslConfigFile { .. } => "ssl-config-unreadable",
            Self::Destination { .. } => "secret-destination",
            Self::Tls(error) => error.code(),
            Self::ModelKey { source, .. } => source.code(),
            Self::Loading(error) => error.code(),
            Self::System { .. } => "system-failed",
        }
    }

    /// What the process ends with (sysexits.h, as init does).
    pub fn exit_code(&self) -> u8 {
        use adytum_init::exit_code;
        match self {
            Self::Init(error) => error.exit_code(),
            Self::Flag(_) | Self::Destination { .. } => exit_code::CONFIGURATION,
            _ => 1,
        }
    }
}
