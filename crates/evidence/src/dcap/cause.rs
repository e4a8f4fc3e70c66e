//! What `dcap-qvl` objects to. It gives types to the errors of certificate chains and
//! revocation lists only; everything else it says in words, and this is the one place
//! that reads them. The tests provoke each of these messages, in the version that is
//! locked.

use webpki::Error as ChainError;

/// What a verification with `dcap-qvl` failed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A certificate is on a revocation list.
    CertificateRevoked,
    /// The platform's TCB level is revoked.
    TcbRevoked,
    /// No TCB level fits the platform.
    TcbNotMatched,
    /// The signature of this part of collateral does not hold.
    CollateralSignature(&'static str),
    /// This part of collateral is not what it should be.
    Collateral(&'static str),
    /// One of three certificate chains does not hold; it does not say which.
    Chain,
    /// The guest is configured in a way that is unsafe anywhere.
    Configuration,
    /// This structure of the quote does not hold.
    Quote(&'static str),
}

/// A part of a message, and what it means.
struct Message {
    part: &'static str,
    cause: Cause,
}

const fn message(part: &'static str, cause: Cause) -> Message {
    Message { part, cause }
}

/// The first that fits counts.
const MESSAGES: &[Message] = &[
    message("TCB status is invalid: Revoked", Cause::TcbRevoked),
    message("No matching TCB level", Cause::TcbNotMatched),
    message("No TDX module identity", Cause::TcbNotMatched),
    message("below minimum required", Cause::TcbNotMatched),
    message("No TCB levels", Cause::TcbNotMatched),
    message("Failed to evaluate the current TDX TCB", Cause::TcbNotMatched),
    message("for tcb_info in quote_collateral", Cause::CollateralSignature("TCB info")),
    message("for qe_identity in quote_collateral", Cause::CollateralSignature("QE identity")),
    message("root CA CRL", Cause::Collateral("root CA CRL")),
    message("PCK CRL", Cause::Collateral("PCK CRL")),
    message("Fmspc mismatch", Cause::Collateral("TCB info")),
    message("TCB info in the collateral", Cause::Collateral("TCB info")),
    message("TCB Info", Cause::Collateral("TCB info")),
    message("tdxModule", Cause::Collateral("TCB info")),
    message("QE Identity", Cause::Collateral("QE identity")),
    message("Failed to verify certificate chain", Cause::Chain),
    message("Too many intermediate", Cause::Chain),
    message("Reserved bits in TD attributes", Cause::Configuration),
    message("TD migration is enabled", Cause::Configuration),
    message("SERVTD_EXT is enabled", Cause::Configuration),
    message("SEPT_VE_DISABLE is not enabled", Cause::Configuration),
    message("Invalid MR service TD", Cause::Configuration),
    message("SEAMATTRIBUTES", Cause::Configuration),
    message("ISV enclave report signature", Cause::Quote("signature over header and body")),
    message("QE report hash mismatch", Cause::Quote("attestation key")),
    message("Invalid QE auth data", Cause::Quote("attestation key")),
    message("qe_report", Cause::Quote("QE report")),
    message("QE report", Cause::Quote("QE report")),
    message("QE MRSIGNER", Cause::Quote("QE report")),
    message("QE ISVPRODID", Cause::Quote("QE report")),
    message("QE MISCSELECT", Cause::Quote("QE report")),
    message("QE ATTRIBUTES", Cause::Quote("QE report")),
];

impl Cause {
    /// Reads an error of `dcap-qvl`.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        let text = format!("{error:#}");
        let said = MESSAGES.iter().find(|message| text.contains(message.part)).map(|message| message.cause);
        match error.downcast_ref::<ChainError>() {
            Some(ChainError::CertRevoked) => Self::CertificateRevoked,
            // Which list it is, only the words around it say, and not always.
            Some(error) if is_about_lists(error) => match said {
                Some(Self::Collateral(list)) => Self::Collateral(list),
                _ => Self::Collateral("PCK CRL"),
            },
            _ => said.unwrap_or(Self::Quote("quote")),
        }
    }
}

/// Is it a revocation list, or the lack of one, that makes verification fail?
fn is_about_lists(error: &ChainError) -> bool {
    matches!(
        error,
        ChainError::CrlExpired { .. }
            | ChainError::InvalidCrlNumber
            | ChainError::InvalidCrlSignatureForPublicKey
            | ChainError::IssuerNotCrlSigner
            | ChainError::UnknownRevocationStatus
            | ChainError::UnsupportedCrlIssuingDistributionPoint
            | ChainError::UnsupportedCrlSignatureAlgorithmContext(_)
            | ChainError::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
            | ChainError::UnsupportedCrlVersion
            | ChainError::UnsupportedDeltaCrl
            | ChainError::UnsupportedIndirectCrl
    )
}

#[cfg(test)]
mod tests;
