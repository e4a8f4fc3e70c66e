//! Why evidence did not become claims.

use super::{CollateralError, MaaError};
use crate::{clock::UnixSeconds, measurement::RootKeyId};

/// Why evidence did not become claims. Each kind has a stable code, and says
/// what was found and what to do.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerificationError {
    /// The bytes are not evidence of the stated format.
    ///
    /// Do: send exactly what the quoting service of the TEE returned, or give the file
    /// that `adytum evidence collect --out FILE` wrote.
    #[error(
        "malformed evidence: {what}: {reason}; send exactly what the TEE's quoting service returned, or give the file \
         that `adytum evidence collect` or --write-evidence wrote"
    )]
    Malformed { what: &'static str, reason: String },
    /// The evidence is of a kind or a version that this verifier does not read.
    ///
    /// Do: attest on SGX, TDX or SEV-SNP, with DCAP quotes or attestation reports of a
    /// supported version.
    #[error("unsupported evidence: found {found}; supported are {supported}")]
    Unsupported { found: String, supported: &'static str },
    /// No root is trusted at all, as before a broker's first manifest.
    ///
    /// Do: apply a manifest that names the trusted vendors with `adytum manifest apply`,
    /// then try again.
    ///
    /// Retry: later
    #[error(
        "no root is trusted here yet, so no evidence can be verified; a broker's first manifest names the vendors that \
         it trusts: apply one with `adytum manifest apply`, then try again"
    )]
    NothingTrusted,
    /// The evidence chains to a root that is not trusted here.
    ///
    /// Do: refuse the peer; if the root is a vendor's own, name it in `vendors` of the
    /// manifest's `[trust]`; trust a simulated platform with `--trust-simulation` of
    /// `adytum broker status`, or in `simulation_roots`.
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
    /// A signature or a certificate chain of the evidence does not hold: it was altered,
    /// or forged.
    ///
    /// Do: refuse the peer; if the peer is your own, collect its evidence again.
    #[error(
        "invalid evidence: {what}: {reason}; it was altered on its way or forged, collect it again or refuse the peer"
    )]
    Invalid { what: &'static str, reason: String },
    /// A certificate inside the evidence is not valid at this time.
    ///
    /// Do: check the clock of this machine; if it is right, get a new PCK certificate for
    /// the platform.
    #[error(
        "evidence outside its validity: {what} is valid from {from} to {until} and it is {now}; check this machine's clock, else the platform needs a new PCK certificate"
    )]
    EvidenceValidity {
        what: &'static str,
        from: UnixSeconds,
        until: UnixSeconds,
        /// The time of the injected clock.
        now: UnixSeconds,
    },
    /// A part of the collateral is past the end of its validity.
    ///
    /// Do: refresh the PCCS or the collateral directory, and check the clock of this
    /// machine.
    ///
    /// Retry: later
    #[error(
        "collateral expired: {what} was valid until {until} and it is {now}; refresh the PCCS or the collateral directory, and check this machine's clock"
    )]
    CollateralExpired {
        what: &'static str,
        until: UnixSeconds,
        /// The time of the injected clock.
        now: UnixSeconds,
    },
    /// A part of the collateral becomes valid later than now.
    ///
    /// Do: check the clock of this machine.
    ///
    /// Retry: later
    #[error(
        "collateral not yet valid: {what} is valid from {from} and it is {now}; check this machine's clock"
    )]
    CollateralNotYetValid {
        what: &'static str,
        from: UnixSeconds,
        /// The time of the injected clock.
        now: UnixSeconds,
    },
    /// The vendor did not sign the collateral, or it is for another platform.
    ///
    /// Do: fetch the collateral again from the vendor; check the source that serves it.
    ///
    /// Retry: later
    #[error(
        "invalid collateral: {what}: {reason}; the source serves altered or mixed-up collateral, fetch it again"
    )]
    CollateralInvalid { what: &'static str, reason: String },
    /// No collateral is available to verify the evidence with.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
    /// The token of an attestation service is no evidence.
    #[error(transparent)]
    Token(#[from] Box<MaaError>),
    /// The vendor has revoked a certificate that the evidence depends on.
    ///
    /// Do: do not trust the platform; run the workload on another machine.
    #[error(
        "revoked: the vendor revoked {what}{}; the platform can no longer be trusted",
        serial_of(.serial)
    )]
    Revoked {
        what: &'static str,
        /// Its serial number in hexadecimal; empty when not known.
        serial: String,
    },
    /// The vendor has revoked the TCB level of the platform.
    ///
    /// Do: update the microcode and the TCB of the machine, and attest again.
    #[error(
        "TCB revoked: the vendor revoked this platform's TCB level ({reason}); update its microcode and TCB and attest again"
    )]
    TcbRevoked {
        /// What the collateral says.
        reason: String,
    },
    /// The platform's TCB is older than every published level, or unknown to the vendor.
    ///
    /// Do: update the microcode, the TDX module or the quoting enclave of the machine.
    #[error(
        "TCB unknown: {reason}; the platform is older than every published TCB level: update its microcode, TDX module or quoting enclave"
    )]
    TcbNotMatched { reason: String },
    /// The evidence is genuine, and of a configuration that is unsafe on any platform.
    ///
    /// Do: start the guest or enclave without the setting that the message names.
    #[error("unsafe configuration: {reason}; start the guest without it")]
    Configuration { reason: String },
    /// A certificate that is offered as a trust root is none.
    ///
    /// Do: give a self-signed certificate: a simulated platform's is `root.pem` in its
    /// directory.
    #[error("trust root: {reason}; give a self-signed certificate in DER")]
    TrustRoot { reason: String },
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
            Self::Token(error) => error.code(),
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
    /// True where only the collateral or its source is the obstacle, or nothing has
    /// been laid down yet.
    pub fn retry(&self) -> bool {
        self.blames_collateral() || matches!(self, Self::NothingTrusted)
    }
}
