//! Why a program was not started or got no secrets, and how that ends a process.

use std::{io, path::PathBuf};

use adytum_evidence::measurement::Sha256Digest;

use crate::{
    attestation_token::AttestationTokenError, bundles::UnpackError, cdh::CdhError,
    configuration::ConfigurationError, delivery::DeliveryError, environment::EnvironmentRefusal,
    evidence_port::EvidencePortError, exit_code, fetch::FetchError, health::HealthPortError,
    pattern::ArgumentRefusal, renewal::LeaseEnd, sealed_secrets::SealedSecretError, tee::TeeError,
};

/// Why a program was not started or got no secrets.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The measured configuration is refused.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// An argument of the program is not allowed by the measured configuration.
    ///
    /// Do: change the arguments, or allow them in `arguments` of the measured
    /// configuration and measure it again.
    #[error("{0}; change the arguments, or measure a configuration that allows them")]
    Argument(#[from] ArgumentRefusal),
    /// An environment variable of the host is not allowed by the measured configuration.
    ///
    /// Do: unset the variable in the message, or change `environment` of the measured
    /// configuration and measure it again.
    #[error(transparent)]
    Environment(#[from] EnvironmentRefusal),
    /// The program or one of its libraries is not the pinned one.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The TEE is missing, or what the broker's evidence is verified with.
    #[error(transparent)]
    Tee(#[from] TeeError),
    /// The broker gave no secrets.
    #[error(transparent)]
    Fetch(Box<FetchError>),
    /// There is no token of an attestation service.
    #[error(transparent)]
    AttestationToken(#[from] Box<AttestationTokenError>),
    /// A secret can't be put in its place.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// A bundle was not unpacked.
    #[error(transparent)]
    Bundle(#[from] UnpackError),
    /// Other programs in the guest can't be served.
    #[error(transparent)]
    Cdh(#[from] CdhError),
    /// A sealed secret of the host is not opened.
    #[error(transparent)]
    SealedSecret(#[from] SealedSecretError),
    /// The right to the secrets is over.
    #[error(transparent)]
    Lease(Box<LeaseEnd>),
    /// The port for probes can't be opened.
    #[error(transparent)]
    HealthPort(#[from] HealthPortError),
    /// The port for evidence can't be opened.
    #[error(transparent)]
    EvidencePort(#[from] EvidencePortError),
    /// The operating system refused an operation that init needs.
    ///
    /// See: ServeError::System.
    #[error("{operation}: {source}")]
    System { operation: &'static str, source: io::Error },
}

impl From<AttestationTokenError> for InitError {
    fn from(error: AttestationTokenError) -> Self {
        Self::AttestationToken(Box::new(error))
    }
}

impl From<FetchError> for InitError {
    fn from(error: FetchError) -> Self {
        Self::Fetch(Box::new(error))
    }
}

impl From<LeaseEnd> for InitError {
    fn from(end: LeaseEnd) -> Self {
        Self::Lease(Box::new(end))
    }
}

/// Why a program is not the one that the configuration pins.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The program is not the one that the measured configuration pins, by its path or at
    /// all.
    ///
    /// Do: make `path` and `sha256` in `[program]` of the measured configuration fit the
    /// program that is started; leave `[program]` and bundles out for a program with init
    /// in itself.
    #[error("the measured configuration pins no program; add [program] with path and sha256")]
    NotPinned,
    /// The configuration has bundles, which no program with init in itself unpacks.
    #[error(
        "the measured configuration has bundles, which adytum-init unpacks for a program that it starts; this program \
         has init in itself; remove them"
    )]
    Bundles,
    /// The configuration pins a program to start, and init is in this program itself.
    #[error(
        "the measured configuration pins the program {pinned} for init to start, but this program has init in \
         itself; remove [program]"
    )]
    Pinned { pinned: String },
    /// The path of the program to start is not the pinned one.
    #[error("asked to start {}, but the measured configuration pins {pinned}", found.display())]
    Path {
        pinned: String,
        /// The path asked for.
        found: PathBuf,
    },
    /// The program or one of its libraries can't be read.
    ///
    /// See: ConfigurationError::NotMeasured.
    #[error("{}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program or a library has another digest than the measured configuration pins.
    ///
    /// See: ConfigurationError::Program.
    #[error(
        "{} has the digest {found}, and the measured configuration pins {wanted}: it is another file, or it \
         was changed",
        path.display()
    )]
    Digest { path: PathBuf, wanted: Sha256Digest, found: Sha256Digest },
    /// The file to start is no program for this machine.
    ///
    /// Do: give the program as an ELF file for this machine; the message says what was
    /// found.
    #[error("{}: {reason}", path.display())]
    Format {
        path: PathBuf,
        /// The fact and the next step.
        reason: String,
    },
    /// The program loads a library that the measured configuration does not pin.
    ///
    /// Do: add a `[[library]]` with its `path` and `sha256` to the measured
    /// configuration, or link the program statically.
    #[error(
        "{} loads {library} at run time, which the measured configuration does not pin; add a [[library]] with \
         its path and sha256, or use a statically linked program",
        path.display()
    )]
    Library { path: PathBuf, library: String },
    /// The model server was asked for ONNX Runtime, and the measured configuration does not
    /// pin its library, or pins one at another path.
    ///
    /// Do: add `[onnxruntime]` with `library` and `sha256` to the measured configuration,
    /// and name the same path or none in `--onnxruntime_library`.
    #[error(
        "--engine onnxruntime: expected [onnxruntime] with library and sha256 in the measured configuration, found \
         none; add it"
    )]
    OnnxRuntimeNotPinned,
    /// The library of ONNX Runtime to load is not the pinned one.
    #[error(
        "--onnxruntime_library {}: expected {pinned}, which the measured configuration pins; leave the flag out",
        found.display()
    )]
    OnnxRuntimePath {
        pinned: String,
        /// The path asked for.
        found: PathBuf,
    },
}

impl ProgramError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotPinned | Self::Bundles | Self::Pinned { .. } | Self::Path { .. } => "program-not-pinned",
            Self::Unreadable { .. } => "program-unreadable",
            Self::Digest { .. } => "program-mismatch",
            Self::Format { .. } => "program-format",
            Self::Library { .. } => "library-not-pinned",
            Self::OnnxRuntimeNotPinned | Self::OnnxRuntimePath { .. } => "onnxruntime-not-pinned",
        }
    }
}

impl InitError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &str {
        match self {
            Self::Configuration(error) => error.code(),
            Self::Argument(_) => "argument-refused",
            Self::Environment(_) => "environment-refused",
            Self::Program(error) => error.code(),
            Self::Tee(error) => error.code(),
            Self::Fetch(error) => error.code(),
            Self::AttestationToken(error) => error.code(),
            Self::Delivery(error) => error.code(),
            Self::Bundle(error) => error.code(),
            Self::Cdh(error) => error.code(),
            Self::SealedSecret(error) => error.code(),
            Self::Lease(end) => end.code(),
            Self::HealthPort(error) => error.code(),
            Self::EvidencePort(error) => error.code(),
            Self::System { .. } => "system-failed",
        }
    }

    /// What a process that fails with this ends with; see [`exit_code`].
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Argument(_) | Self::Environment(_) | Self::Program(_) => {
                exit_code::CONFIGURATION
            }
            Self::Tee(error) => error.exit_code(),
            Self::Fetch(error) => error.exit_code(),
            Self::Cdh(error) => error.exit_code(),
            Self::SealedSecret(error) => error.exit_code(),
            Self::Lease(end) => end.exit_code(),
            Self::AttestationToken(error) => error.exit_code(),
            Self::Delivery(_) | Self::Bundle(UnpackError::Place { .. }) => exit_code::DELIVERY,
            Self::Bundle(_) => exit_code::BUNDLE,
            Self::HealthPort(_) | Self::EvidencePort(_) | Self::System { .. } => exit_code::SYSTEM,
        }
    }
}
