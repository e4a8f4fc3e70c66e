//! Why a file is not a measured configuration.

use std::{io, path::PathBuf};

use adytum_evidence::measurement::Sha256Digest;

use super::{FORMAT, MAXIMUM_LENGTH};

/// Why a file is not a measured configuration.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// The measured configuration can't be read.
    ///
    /// Do: give the file with `--configuration`, and check that the program's user may
    /// read it.
    #[error("{}: {source}; give the measured configuration with --configuration", path.display())]
    Unreadable {
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A flag names another configuration than the one in the image. A LibOS (Gramine,
    /// Occlum) measures the image, and flags are the host's.
    ///
    /// Do: put the configuration into the image at `/etc/adytum/workload.toml`, where the
    /// LibOS measures it, and start the program without `--configuration`.
    ///
    /// Retry: no
    #[error(
        "{}: a LibOS does not measure what --configuration names; put the configuration into the image at {} or {}, and \
         leave the flag out",
        path.display(), super::DEFAULT_PATH, super::DEFAULT_OCCLUM_PATH
    )]
    NotInImage { path: PathBuf },
    /// A file that is to be measured can't be read.
    ///
    /// Do: give the file with the flag in the message, and check its permissions.
    #[error("{}: {source}; give the file to measure with {flag}", path.display())]
    NotMeasured {
        path: PathBuf,
        /// The flag that names it.
        flag: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file has more bytes than any measured configuration.
    ///
    /// Do: give the measured configuration with `--configuration`;
    /// docs/measured-configuration.md describes it.
    #[error("{} has more than {MAXIMUM_LENGTH} bytes: no measured configuration", path.display())]
    TooLong { path: PathBuf },
    /// The measured configuration is no TOML, or has a missing, unknown or wrong field.
    ///
    /// Do: correct the field in the message as docs/measured-configuration.md describes
    /// it, and measure the file again.
    #[error("the measured configuration is malformed: {reason}")]
    Malformed {
        /// Where and what, in the parser's words.
        reason: String,
    },
    /// The measured configuration has a format that this program does not read.
    ///
    /// Do: correct `format` as docs/measured-configuration.md gives it, or use the
    /// release that reads it.
    #[error("the measured configuration says format = {found:?}; this program reads {FORMAT:?}")]
    Format { found: String },
    /// A field of the measured configuration contradicts itself or another.
    ///
    /// Do: correct the field in the message, and measure the file again.
    #[error("the measured configuration's {field}: {reason}")]
    Field {
        field: String,
        /// The fault and the next step.
        reason: String,
    },
    /// Occlum's file does not name the broker's genesis, so any broker of the same code
    /// would be trusted.
    ///
    /// Do: add the object `adytum` with the key `genesis` to init_ra_conf.json, and
    /// measure the file again.
    #[error(
        "init_ra_conf.json names no genesis: anybody can create a broker with the same code, and it would be \
         trusted; add \"adytum\": {{\"genesis\": \"<digest of the broker's genesis>\"}} to the file and \
         measure it again"
    )]
    GenesisMissing,
    /// Occlum's `ra_config` would accept code other than that of one program.
    ///
    /// Do: set the switch in the message so that the program is verified, and measure the
    /// file again.
    #[error("init_ra_conf.json's ra_config: {reason}")]
    OcclumRules {
        /// Which switch, and what to do.
        reason: String,
    },
    /// The measured configuration names no key source, or several. None takes the place of
    /// another.
    ///
    /// Do: name one: `[broker]`, `[aecs]`, `[key_vault]` or `[kbs]`, and measure the file again.
    #[error(
        "the measured configuration must name one key source: [broker], [aecs], [key_vault] or [kbs]; give exactly one"
    )]
    Sources,
    /// The measured configuration says nothing of the AECS server, so anybody could be it and
    /// give this workload keys and certificates of their own.
    ///
    /// Do: give the server's MRENCLAVE as `ua_policy_hex_ta_measurement` in `ra_config`, or
    /// `[aecs.policy]`; to believe anybody all the same, set `allow_unverified_aecs` to true.
    #[error(
        "nothing says what the AECS server must be, so anybody on the way could give this workload keys of their own; \
         give ua_policy_hex_ta_measurement in ra_config (TOML: [aecs.policy]), or allow_unverified_aecs = true"
    )]
    AecsUnverified,
    /// A field of the AECS client's file can't be used.
    ///
    /// Do: correct the field in the message, and measure the file again.
    #[error("the AECS client's configuration: {reason}")]
    AecsRules {
        /// Which field, and what to do.
        reason: String,
    },
    /// The key source releases no rules for models, and the measured configuration has none.
    /// Anybody can encrypt a model to a public key, so none could be loaded.
    ///
    /// Do: add a `[[model]]` with `signers` and `minimum_version`, or with `digests`, for each
    /// model, and measure the file again.
    #[error(
        "the key source releases no rules for models, and the measured configuration has none; add a [[model]] with \
         signers and minimum_version, or with digests"
    )]
    NoModelRules,
    /// A fault of the file's text.
    #[error("{}: {error}", path.display())]
    File {
        path: PathBuf,
        #[source]
        error: Box<ConfigurationError>,
    },
    /// The program to measure has another digest than the measured configuration pins.
    ///
    /// Do: correct `program.sha256` in the measured configuration, or give the pinned
    /// program.
    #[error(
        "{} has the digest {found}, and the configuration pins {wanted}; correct program.sha256 or the path",
        path.display()
    )]
    Program { path: PathBuf, wanted: Sha256Digest, found: Sha256Digest },
}

impl ConfigurationError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotInImage { .. } => "configuration-not-in-image",
            Self::Unreadable { .. } => "configuration-unreadable",
            Self::NotMeasured { .. } => "program-unreadable",
            Self::TooLong { .. } => "configuration-too-long",
            Self::Malformed { .. } => "configuration-malformed",
            Self::Format { .. } => "configuration-format",
            Self::Field { .. } => "configuration-invalid",
            Self::GenesisMissing => "configuration-genesis-missing",
            Self::OcclumRules { .. } => "configuration-pins-nothing",
            Self::Sources => "configuration-sources",
            Self::AecsUnverified => "configuration-aecs-unverified",
            Self::AecsRules { .. } => "configuration-aecs-rules",
            Self::NoModelRules => "model-rules-missing",
            Self::File { error, .. } => error.code(),
            Self::Program { .. } => "program-mismatch",
        }
    }
}

/// The refusal of a field.
pub(super) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> ConfigurationError {
    ConfigurationError::Field { field: field.into(), reason: reason.into() }
}
