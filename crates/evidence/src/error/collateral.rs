//! Why there is no collateral.

/// Why there is no collateral.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// A text that names no source.
    #[error(
        "collateral source {found:?}: {reason}; give http://HOST:PORT, https://HOST:PORT or file:///DIRECTORY"
    )]
    Url {
        /// The text.
        found: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody said where to get it.
    #[error(
        "there is no source of {what}: name a PCCS or a directory in PCCS_URL, and for SEV-SNP a KDS or a directory in \
         AMD_KDS_URL"
    )]
    NoSource {
        /// What was asked for.
        what: String,
    },
    /// The source can't be reached; trying again may help.
    #[error(
        "collateral source {origin} is unreachable: {reason}; check PCCS_URL (SEV-SNP: AMD_KDS_URL) and the network, then retry"
    )]
    Unreachable {
        /// The URL or directory.
        origin: String,
        /// What went wrong.
        reason: String,
    },
    /// The source answered, but has nothing for this platform.
    #[error(
        "collateral source {origin} has no {what}; register the platform with the PCCS, or add the file to the directory"
    )]
    Missing {
        /// The URL or directory.
        origin: String,
        /// What was asked for.
        what: String,
    },
    /// There is no such directory.
    #[error(
        "there is no collateral directory {directory}; create it and put {what} there, or correct --collateral or \
         PCCS_URL (SEV-SNP: --amd-kds or AMD_KDS_URL)"
    )]
    NoDirectory {
        /// The directory.
        directory: String,
        /// The file that was looked for in it.
        what: String,
    },
    /// The source answered with something that is not collateral.
    #[error("collateral source {origin}: {what} is malformed: {reason}; fetch it anew from its vendor")]
    Malformed {
        /// The URL or directory.
        origin: String,
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl CollateralError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Url { .. } => "collateral-url",
            Self::NoSource { .. } => "collateral-no-source",
            Self::Unreachable { .. } => "collateral-unreachable",
            Self::Missing { .. } => "collateral-missing",
            Self::NoDirectory { .. } => "collateral-no-directory",
            Self::Malformed { .. } => "collateral-malformed",
        }
    }

    /// May the same request be answered later?
    pub fn retry(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}
