//! Why a program was not started or got no secrets, and how that ends a process.

use std::{io, path::PathBuf};

use adytum_evidence::measurement::Sha256Digest;

use crate::{
    bundles::UnpackError, configuration::ConfigurationError, delivery::DeliveryError,
    environment::EnvironmentRefusal, evidence_port::EvidencePortError, exit_code, fetch::FetchError,
    health::HealthPortError, pattern::ArgumentRefusal, renewal::LeaseEnd, tee::TeeError,
};

/// Why a program was not started or got no secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The measured configuration.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The program's arguments.
    #[error("{0}; change the arguments, or measure a configuration that allows them")]
    Argument(#[from] ArgumentRefusal),
    /// The environment.
    #[error(transparent)]
    Environment(#[from] EnvironmentRefusal),
    /// The program or one of its libraries.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The TEE, or what the broker's is verified with.
    #[error(transparent)]
    Tee(#[from] TeeError),
    /// The way to the secrets.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The way of the secrets.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// A bundle.
    #[error(transparent)]
    Bundle(#[from] UnpackError),
    /// The right to the secrets is over.
    #[error(transparent)]
    Lease(Box<LeaseEnd>),
    /// The port for probes.
    #[error(transparent)]
    HealthPort(#[from] HealthPortError),
    /// The port for evidence.
    #[error(transparent)]
    EvidencePort(#[from] EvidencePortError),
    /// The system.
    #[error("{operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl From<LeaseEnd> for InitError {
    fn from(end: LeaseEnd) -> Self {
        Self::Lease(Box::new(end))
    }
}

/// Why a program is not the one that the configuration pins.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The configuration pins none.
    #[error("the measured configuration pins no program; add [program] with path and sha256")]
    NotPinned,
    /// There are bundles where nobody would unpack them.
    #[error(
        "the measured configuration has bundles, which adytum-init unpacks for a program that it starts; this program \
         has init in itself; remove them"
    )]
    Bundles,
    /// It pins one where init is a library in the program itself.
    #[error(
        "the measured configuration pins the program {pinned} for init to start, but this program has init in \
         itself; remove [program]"
    )]
    Pinned {
        /// The pinned path.
        pinned: String,
    },
    /// Another path was asked for.
    #[error("asked to start {}, but the measured configuration pins {pinned}", found.display())]
    Path {
        /// The pinned path.
        pinned: String,
        /// The path asked for.
        found: PathBuf,
    },
    /// A file can't be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has another digest.
    #[error(
        "{} has the digest {found}, and the measured configuration pins {wanted}: it is another file, or it \
         was changed",
        path.display()
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// The pinned digest.
        wanted: Sha256Digest,
        /// The file's.
        found: Sha256Digest,
    },
    /// It is no program for this machine.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found and what to do.
        reason: String,
    },
    /// It loads a library that is not pinned.
    #[error(
        "{} loads {library} at run time, which the measured configuration does not pin; add a [[library]] with \
         its path and sha256, or use a statically linked program",
        path.display()
    )]
    Library {
        /// Who loads it.
        path: PathBuf,
        /// What is loaded.
        library: String,
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
            Self::Delivery(error) => error.code(),
            Self::Bundle(error) => error.code(),
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
            Self::Lease(end) => end.exit_code(),
            Self::Delivery(_) | Self::Bundle(UnpackError::Place { .. }) => exit_code::DELIVERY,
            Self::Bundle(_) => exit_code::BUNDLE,
            Self::HealthPort(_) | Self::EvidencePort(_) | Self::System { .. } => exit_code::SYSTEM,
        }
    }
}
