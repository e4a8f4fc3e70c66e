//! Why there is no collateral.

/// Why there is no collateral.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// The text names no source of collateral.
    ///
    /// Do: give http://HOST:PORT, https://HOST:PORT or file:///DIRECTORY in `PCCS_URL`
    /// (SEV-SNP: `AMD_KDS_URL`) or `--collateral`.
    #[error(
        "collateral source {found:?}: {reason}; give http://HOST:PORT, https://HOST:PORT or file:///DIRECTORY"
    )]
    Url { found: String, reason: String },
    /// The text names a host without a scheme, so it says neither http nor https.
    ///
    /// Do: write http:// or https:// before the host in `PCCS_URL` (SEV-SNP:
    /// `AMD_KDS_URL`) or `--collateral`; a directory begins with / or with ./.
    #[error(
        "collateral source {found:?} has no scheme; write http://{found} or https://{found}, or file:///DIRECTORY \
         for a directory"
    )]
    NoScheme { found: String },
    /// No source is configured for the collateral that is needed.
    ///
    /// Do: name a PCCS or a directory in `PCCS_URL`, and for SEV-SNP a KDS or a directory
    /// in `AMD_KDS_URL`.
    #[error(
        "there is no source of {what}: name a PCCS or a directory in PCCS_URL, and for SEV-SNP a KDS or a directory in \
         AMD_KDS_URL"
    )]
    NoSource {
        /// The kind of collateral that is needed.
        what: String,
    },
    /// The source of collateral can't be reached, or answers with an error of its own.
    ///
    /// Do: check `PCCS_URL` (SEV-SNP: `AMD_KDS_URL`), the network and that the source
    /// runs.
    #[error(
        "collateral source {origin} is unreachable: {reason}; check PCCS_URL (SEV-SNP: AMD_KDS_URL) and the network, then retry"
    )]
    Unreachable {
        /// The URL or directory.
        origin: String,
        reason: String,
    },
    /// The answer is none of a source of collateral: a gateway, a proxy or another
    /// service answers in its place. It says nothing about the platform.
    ///
    /// Do: see that the address in `PCCS_URL` (SEV-SNP: `AMD_KDS_URL`) is the one of the
    /// source, and that gateways between let the request pass unchanged.
    #[error(
        "collateral source {origin}: {answer}, which is no answer of a source of collateral; check the address in \
         PCCS_URL (SEV-SNP: AMD_KDS_URL) and the gateways on the way, then retry"
    )]
    Gateway {
        origin: String,
        /// The status or the kind of page that was received instead.
        answer: String,
    },
    /// The source answered, and has no collateral for this platform.
    ///
    /// Do: register the platform with the PCCS, or add the file to the directory.
    #[error(
        "collateral source {origin} has no {what}; register the platform with the PCCS, or add the file to the directory"
    )]
    Missing {
        /// The URL or directory.
        origin: String,
        /// The kind of collateral that is needed.
        what: String,
    },
    /// The directory that is named as the source of collateral does not exist.
    ///
    /// Do: create it and put the file of the message there, or correct `--collateral`,
    /// `PCCS_URL` or `AMD_KDS_URL`.
    #[error(
        "there is no collateral directory {directory}; create it and put {what} there, or correct --collateral or \
         PCCS_URL (SEV-SNP: --amd-kds or AMD_KDS_URL)"
    )]
    NoDirectory {
        directory: String,
        /// The file that was looked for in it.
        what: String,
    },
    /// The source answered with something that is not collateral.
    ///
    /// Do: fetch the collateral again from its vendor.
    #[error("collateral source {origin}: {what} is malformed: {reason}; fetch it again from its vendor")]
    Malformed {
        /// The URL or directory.
        origin: String,
        /// The kind of collateral that is needed.
        what: String,
        reason: String,
    },
}

impl CollateralError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Url { .. } => "collateral-url",
            Self::NoScheme { .. } => "collateral-url-without-scheme",
            Self::NoSource { .. } => "collateral-no-source",
            Self::Unreachable { .. } => "collateral-unreachable",
            Self::Gateway { .. } => "collateral-gateway",
            Self::Missing { .. } => "collateral-missing",
            Self::NoDirectory { .. } => "collateral-no-directory",
            Self::Malformed { .. } => "collateral-malformed",
        }
    }

    /// May the same request be answered later?
    pub fn retry(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Gateway { .. })
    }
}
