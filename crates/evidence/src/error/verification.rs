//! Why evidence did not become claims.

use super::CollateralError;
use crate::{clock::UnixSeconds, measurement::RootKeyId};

/// Why evidence did not become claims. Each kind has a stable code, and says
/// what was found and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerificationError {
    /// The bytes are not evidence of the stated format.
    #[error(
        "malformed evidence: {what}: {reason}; send exactly what the TEE's quoting service returned, or give the file \
         that `adytum evidence collect` or --write-evidence wrote"
    )]
    Malformed {
        /// The structure.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Evidence of a kind that this verifier does not read.
    #[error("unsupported evidence: found {found}; supported are {supported}")]
    Unsupported {
        /// What was found.
        found: String,
        /// What would do.
        supported: &'static str,
    },
    /// No root is trusted at all, as before a broker's first manifest.
    #[error(
        "no root is trusted here yet, so no evidence can be verified; a broker's first manifest names the vendors that \
         it trusts: apply one with `adytum manifest apply`, then try again"
    )]
    NothingTrusted,
    /// The evidence chains to a root that is not trusted here.
    #[error("untrusted root: {}", untrusted_root(.found, .subject, *.simulated, .trusted))]
    UntrustedRoot {
        /// The key of the root found.
        found: RootKeyId,
        /// The name in its certificate; not authenticated.
        subject: String,
        /// It calls itself a simulated platform's.
        simulated: bool,
        /// The roots trusted, by vendor; a simulated one with the beginning of its key id.
        trusted: Vec<String>,
    },
    /// A signature or a certificate chain does not hold.
    #[error(
        "invalid evidence: {what}: {reason}; it was altered on its way or forged, collect it anew or refuse the peer"
    )]
    Invalid {
        /// The structure.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate inside the evidence is not valid at this time.
    #[error(
        "evidence outside its validity: {what} is valid from {from} to {until} and it is {now}; check this machine's clock, else the platform needs a new PCK certificate"
    )]
    EvidenceValidity {
        /// The certificate.
        what: &'static str,
        /// Its start.
        from: UnixSeconds,
        /// Its end.
        until: UnixSeconds,
        /// The time of the injected clock.
        now: UnixSeconds,
    },
    /// Collateral has passed its end.
    #[error(
        "collateral expired: {what} was valid until {until} and it is {now}; refresh the PCCS or the collateral directory, and check this machine's clock"
    )]
    CollateralExpired {
        /// The part.
        what: &'static str,
        /// Its end.
        until: UnixSeconds,
        /// The time of the injected clock.
        now: UnixSeconds,
    },
    /// Collateral lies in the future.
    #[error(
        "collateral not yet valid: {what} is valid from {from} and it is {now}; check this machine's clock"
    )]
    CollateralNotYetValid {
        /// The part.
        what: &'static str,
        /// Its start.
        from: UnixSeconds,
        /// The time of the injected clock.
        now: UnixSeconds,
    },
    /// Collateral that its vendor did not sign, or that is for another platform.
    #[error(
        "invalid collateral: {what}: {reason}; the source serves altered or mixed-up collateral, fetch it anew"
    )]
    CollateralInvalid {
        /// The part.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No collateral was to be had.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
    /// The vendor has revoked a certificate that the evidence hangs on.
    #[error("revoked: the vendor revoked {what}{}; the platform can no longer be trusted", serial_of(.serial))]
    Revoked {
        /// The certificate.
        what: &'static str,
        /// Its serial number in hexadecimal; empty when not known.
        serial: String,
    },
    /// The vendor has revoked the platform's TCB level.
    #[error(
        "TCB revoked: the vendor revoked this platform's TCB level ({reason}); update its microcode and TCB and attest again"
    )]
    TcbRevoked {
        /// What the collateral says.
        reason: String,
    },
    /// The platform is older than, or unknown to, every TCB level published.
    #[error(
        "TCB unknown: {reason}; the platform is older than every published TCB level: update its microcode, TDX module or quoting enclave"
    )]
    TcbNotMatched {
        /// What did not match.
        reason: String,
    },
    /// Genuine evidence of a configuration that is unsafe on any platform.
    #[error("unsafe configuration: {reason}; start the guest without it")]
    Configuration {
        /// What is set or missing.
        reason: String,
    },
    /// A certificate offered as a trust root is none.
    #[error("trust root: {reason}; give a self-signed certificate in DER")]
    TrustRoot {
        /// What is wrong with it.
        reason: String,
    },
}

fn untrusted_root(found: &RootKeyId, subject: &str, simulated: bool, trusted: &[String]) -> String {
    let (key, trusted) = (found.short(), trusted.join(", "));
    if simulated {
        format!(
            "the evidence is of a simulated platform (key {key}), which protects nothing; trusted here: {trusted}. \
             Attest on hardware, or trust this platform's root by name: with --trust-simulation of `adytum`, in \
             simulation_roots of a manifest, in simulation_root of a measured configuration"
        )
    } else {
        format!(
            "the evidence chains to {subject} (key {key}); trusted here: {trusted}. Refuse the peer; if the root is a \
             vendor's own, name the vendor in `vendors` of the manifest's [trust] or of the policy"
        )
    }
}

fn serial_of(serial: &str) -> String {
    if serial.is_empty() { String::new() } else { format!(" with serial number {serial}") }
}

impl VerificationError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "evidence-malformed",
            Self::Unsupported { .. } => "evidence-unsupported",
            Self::NothingTrusted => "nothing-trusted-yet",
            Self::UntrustedRoot { .. } => "untrusted-root",
            Self::Invalid { .. } => "evidence-invalid",
            Self::EvidenceValidity { .. } => "evidence-outside-validity",
            Self::CollateralExpired { .. } => "collateral-expired",
            Self::CollateralNotYetValid { .. } => "collateral-not-yet-valid",
            Self::CollateralInvalid { .. } => "collateral-invalid",
            Self::Collateral(error) => error.code(),
            Self::Revoked { .. } => "platform-revoked",
            Self::TcbRevoked { .. } => "tcb-revoked",
            Self::TcbNotMatched { .. } => "tcb-not-matched",
            Self::Configuration { .. } => "configuration-unsafe",
            Self::TrustRoot { .. } => "trust-root-malformed",
        }
    }

    /// May other collateral make the difference?
    pub(crate) fn blames_collateral(&self) -> bool {
        matches!(
            self,
            Self::CollateralExpired { .. }
                | Self::CollateralNotYetValid { .. }
                | Self::CollateralInvalid { .. }
                | Self::Collateral(_)
        )
    }

    /// May the same evidence pass later without anything done about it here?
    /// True where only the collateral or its source stands in the way, or nothing has
    /// been laid down yet.
    pub fn retry(&self) -> bool {
        self.blames_collateral() || matches!(self, Self::NothingTrusted)
    }
}
