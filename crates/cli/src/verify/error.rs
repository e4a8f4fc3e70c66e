//! Why nothing can be said of a thing.

/// Why `adytum verify` can say nothing of a thing.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    /// The bytes are none of the forms that `adytum verify` reads.
    ///
    /// Do: give a quote, a report, a certificate, a token, or evidence of the KBS protocol, as the
    /// TEE or the service gave it.
    #[error(
        "unknown form: {found}; give a quote of SGX or TDX, a report of SEV-SNP, a certificate, a token, or evidence of \
         the KBS protocol"
    )]
    UnknownForm { found: String },
    /// The bytes begin as evidence, and can't be read on.
    ///
    /// Do: give the quote or the report whole, as the TEE's quoting service returned it.
    #[error("{reason}")]
    Malformed { reason: String },
    /// No connection to the server.
    ///
    /// Do: check the address, and that the server runs.
    ///
    /// Retry: yes
    #[error("{address} can't be reached: {reason}; check the address, and that the server runs")]
    Unreachable { address: String, reason: String },
    /// The server does not answer TLS, so it proves nothing about itself.
    ///
    /// Do: check the port.
    #[error("{address} does not answer TLS, so it proves nothing: {reason}; check the port")]
    NoTls { address: String, reason: String },
    /// The server has not shown that it has the key of its certificate.
    ///
    /// Do: refuse the server.
    #[error(
        "{address} has not signed the handshake with the key of its certificate: {reason}; refuse the server"
    )]
    HandshakeUnsigned { address: String, reason: String },
    /// The token is of a service whose claims no policy judges.
    ///
    /// Do: leave `--policy` out, and read what the token says; or give a token of Azure
    /// Attestation.
    #[error(
        "the token is genuine, and no policy judges the claims of its service; leave --policy out, and read them"
    )]
    NoClaims,
    /// A token can be verified only with the keys and the name of the service that signed it.
    ///
    /// Do: give the service's JWK set with `--token-keys`, and its name with `--issuer`.
    #[error(
        "the token is not verified: give the keys of its attestation service with --token-keys (its JWK set), and its \
         name with --issuer"
    )]
    NoTokenKeys,
}

impl VerifyError {
    /// Stable code for `adytum explain`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::UnknownForm { .. } => "verify-unknown-form",
            Self::Malformed { .. } => "verify-malformed",
            Self::Unreachable { .. } => "verify-unreachable",
            Self::NoTls { .. } => "verify-no-tls",
            Self::HandshakeUnsigned { .. } => "verify-handshake-unsigned",
            Self::NoClaims => "verify-no-claims",
            Self::NoTokenKeys => "verify-no-token-keys",
        }
    }
}
