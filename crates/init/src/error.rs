//! Why a program was not started or got no secrets, and how that ends a process.

use std::{io, path::PathBuf};

use adytum_evidence::{
    attester::AttesterError, collateral::CollateralError, measurement::Sha256Digest,
    verifier::VerificationError,
};

use crate::{
    bundles::UnpackError, configuration::ConfigurationError, delivery::DeliveryError,
    environment::EnvironmentRefusal, fetch::FetchError, pattern::ArgumentRefusal, renewal::LeaseEnd,
};

/// Exit codes of `adytum-init` where it ends by itself; after
/// sysexits.h. Otherwise it ends with the program's own code, or with 128 and
/// the number of the signal that ended the program.
pub mod exit_code {
    /// A bundle is not what the broker's rule says, or malformed (EX_DATAERR).
    pub const BUNDLE: u8 = 65;
    /// The program could not be started, or the system refused something.
    pub const SYSTEM: u8 = 71;
    /// A secret could not be put where the configuration says (EX_CANTCREAT).
    pub const DELIVERY: u8 = 73;
    /// The broker was not reached in time (EX_UNAVAILABLE).
    pub const UNREACHABLE: u8 = 69;
    /// The broker refused, or was refused (EX_NOPERM).
    pub const REFUSED: u8 = 77;
    /// Configuration, program, arguments, environment or libraries (EX_CONFIG).
    pub const CONFIGURATION: u8 = 78;
}

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
    /// A flag.
    #[error("{0}")]
    Flag(String),
    /// The TEE.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// The source of collateral.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
    /// A trust root.
    #[error(transparent)]
    TrustRoot(#[from] VerificationError),
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
    #[error("health port {port}: {source}; choose another, or 0 for none")]
    HealthPort {
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The port for evidence.
    #[error("--evidence-listen {address}: {source}; give HOST:PORT with a port that is free")]
    EvidencePort {
        /// What was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
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
            Self::Flag(_) => "flag-invalid",
            Self::Attester(error) => error.code(),
            Self::Collateral(error) => error.code(),
            Self::TrustRoot(error) => error.code(),
            Self::Fetch(error) => error.code(),
            Self::Delivery(error) => error.code(),
            Self::Bundle(error) => error.code(),
            Self::Lease(end) => end.code(),
            Self::HealthPort { .. } => "health-port",
            Self::EvidencePort { .. } => "evidence-port",
            Self::System { .. } => "system-failed",
        }
    }

    /// What a process that fails with this ends with; see [`exit_code`].
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_)
            | Self::Argument(_)
            | Self::Environment(_)
            | Self::Program(_)
            | Self::Flag(_)
            | Self::TrustRoot(_) => exit_code::CONFIGURATION,
            Self::Collateral(_) => exit_code::UNREACHABLE,
            Self::Fetch(error) => error.exit_code(),
            Self::Lease(end) => end.exit_code(),
            Self::Delivery(_) | Self::Bundle(UnpackError::Place { .. }) => exit_code::DELIVERY,
            Self::Bundle(_) => exit_code::BUNDLE,
            Self::Attester(_) | Self::HealthPort { .. } | Self::EvidencePort { .. } | Self::System { .. } => {
                exit_code::SYSTEM
            }
        }
    }
}
