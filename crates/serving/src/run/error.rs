//! Why the server ended.

use std::{io, path::PathBuf};

use adytum_init::InitError;
use adytum_sealed::keys::ModelKeyError;

use crate::{
    attested::AnnouncementFull,
    batching::BatchingError,
    engine_choice::EngineChoiceError,
    flags::FlagError,
    loading::{ConfigurationError, LoadingError, ReloadError},
    text_format::TextError,
    tls::TlsError,
};

/// The reason why the server ended.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A flag that the server can't honour.
    #[error(transparent)]
    Flag(#[from] FlagError),
    /// The measured configuration can't be used, or the replica got no secrets.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The server can't listen on its port.
    ///
    /// Do: choose another port with `--port`, or end the process that has this one;
    /// `--listen_address` takes addresses of this machine only.
    ///
    /// Retry: later
    #[error("port {port}: {source}; choose another with --port, or another --listen_address")]
    Listen {
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// The server can't listen on its Unix socket.
    ///
    /// Do: choose another path with `--grpc_socket_path`, or end the process that has this one.
    ///
    /// Retry: later
    #[error("--grpc_socket_path {}: {source}", path.display())]
    ListenUnix {
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file of the `SSLConfig` can't be read.
    ///
    /// Do: check the path in `--ssl_config_file`, and that the server's user may read it.
    #[error("--ssl_config_file {}: {source}", path.display())]
    SslConfigFile {
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The measured configuration delivers a secret to a place that the server does not
    /// read.
    ///
    /// Do: deliver a model's key to memory, and the `SSLConfig` to the path in
    /// `--ssl_config_file`.
    #[error(
        "the measured configuration puts the secret {name} at {destination}, but this server takes secrets in \
         memory and as --ssl_config_file only"
    )]
    Destination {
        name: String,
        /// Where it should go.
        destination: String,
    },
    /// The content of the `SSLConfig` can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The secret of a model's key is no key.
    #[error("the secret {name}: {source}")]
    ModelKey { name: String, source: ModelKeyError },
    /// The engine can't be used.
    #[error(transparent)]
    Engine(#[from] EngineChoiceError),
    /// No model can be loaded.
    #[error(transparent)]
    Loading(#[from] LoadingError),
    /// The configuration of models can't be used.
    #[error(transparent)]
    Models(#[from] ReloadError),
    /// A file that a flag names can't be read.
    ///
    /// Do: check the path in the flag, and that the server's user may read the file.
    #[error("--{flag} {}: {source}", path.display())]
    File {
        flag: &'static str,
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The batching parameters can't be used.
    #[error(transparent)]
    Batching(#[from] BatchingError),
    /// The configuration of monitoring can't be used.
    #[error(transparent)]
    Monitoring(#[from] TextError),
    /// The server has more models than it can announce in an attested session.
    #[error(transparent)]
    Announcement(#[from] AnnouncementFull),
    /// The operating system refused an operation that the server needs.
    ///
    /// Do: read the operation and the reason in the message; on a full machine, free
    /// memory, threads or open files.
    #[error("{operation}: {source}")]
    System {
        operation: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl From<ConfigurationError> for ServeError {
    fn from(error: ConfigurationError) -> Self {
        Self::Models(error.into())
    }
}

impl ServeError {
    /// A stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::Flag(error) => error.code(),
            Self::Init(error) => error.code(),
            Self::Listen { .. } => "listen",
            Self::ListenUnix { .. } => "listen-unix",
            Self::SslConfigFile { .. } => "ssl-config-unreadable",
            Self::Destination { .. } => "secret-destination",
            Self::Tls(error) => error.code(),
            Self::ModelKey { source, .. } => source.code(),
            Self::Engine(error) => error.code(),
            Self::Loading(error) => error.code(),
            Self::Models(error) => error.code(),
            Self::File { .. } => "flag-file-unreadable",
            Self::Batching(error) => error.code(),
            Self::Monitoring(error) => error.code(),
            Self::Announcement(error) => error.code(),
            Self::System { .. } => "system-failed",
        }
    }

    /// What the process ends with (sysexits.h, as init does).
    pub fn exit_code(&self) -> u8 {
        use adytum_init::exit_code;
        match self {
            Self::Init(error) => error.exit_code(),
            Self::Flag(_)
            | Self::Destination { .. }
            | Self::Engine(_)
            | Self::Models(ReloadError::Configuration(_))
            | Self::Batching(_)
            | Self::Monitoring(_) => exit_code::CONFIGURATION,
            _ => 1,
        }
    }
}
