//! Why a token proves nothing.

use crate::clock::UnixSeconds;

/// Why a token of an attestation service proves nothing.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The text is not a signed JSON Web Token in its compact form.
    ///
    /// Do: give the token as the attestation service answered it.
    #[error("malformed token: {reason}; give it as the attestation service answered it")]
    Malformed { reason: String },
    /// The token names an algorithm that is not accepted, such as `none` or one with a shared
    /// secret.
    ///
    /// Do: refuse the token; attestation services sign with RSA or with elliptic curves.
    #[error("the token's algorithm {found:?} is not accepted; refuse it")]
    Algorithm { found: String },
    /// The token does not name the key that signed it, and several are pinned.
    ///
    /// Do: pin the one key that signs such tokens.
    #[error("the token names no key (kid), and several are pinned; pin the one that signs")]
    NoKeyId,
    /// The file of an attestation service's keys can't be read.
    ///
    /// Do: give the service's JWK set, as it answers at `/certs`, fetched when the service was
    /// trusted.
    #[error(
        "the keys of the attestation service can't be read: {reason}; give its JWK set, as it answers at /certs"
    )]
    Keys { reason: String },
    /// None of the pinned keys has the name that the token has. The service may have new keys.
    ///
    /// Do: compare the service's keys at `/certs` with the pinned ones, and pin the new ones if
    /// they are the service's.
    #[error("no pinned key is named {key_id:?} ({pinned} are pinned); if the service has new keys, pin them")]
    KeyUnknown { key_id: String, pinned: usize },
    /// The key that the token names can't verify its signature: it is of another kind, or too
    /// short.
    ///
    /// Do: refuse the token.
    #[error("the pinned key {key_id:?} does not fit: {reason}; refuse the token")]
    KeyUnfit { key_id: String, reason: String },
    /// The token's signature does not hold: it was altered, or forged.
    ///
    /// Do: refuse the token.
    #[error("the token's signature by the key {key_id:?} does not hold: it was altered or forged; refuse it")]
    Signature { key_id: String },
    /// Another service than the expected one has issued the token.
    ///
    /// Do: refuse the token, or pin that service's name and keys.
    #[error("expected a token of the issuer {expected:?}, found {found:?}; refuse it, or pin that issuer")]
    Issuer { expected: String, found: String },
    /// The token has a claim of another form than it should, or lacks it.
    ///
    /// Do: refuse the token; if the service is a new one, ask for its claims to be supported.
    #[error("the token's claim {name}: expected {expected}; refuse it")]
    Claim { name: &'static str, expected: &'static str },
    /// The token is past the end of its validity.
    ///
    /// Do: ask the service for a new token, and check the clock of this machine.
    #[error(
        "the token was valid until {until} and it is {now}; ask for a new one, and check this machine's clock"
    )]
    Expired {
        until: UnixSeconds,
        /// The time of the injected clock.
        now: UnixSeconds,
    },
    /// The token becomes valid later than now.
    ///
    /// Do: check the clock of this machine.
    #[error("the token is valid from {from} and it is {now}; check this machine's clock")]
    NotYetValid {
        from: UnixSeconds,
        /// The time of the injected clock.
        now: UnixSeconds,
    },
}

impl TokenError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "token-malformed",
            Self::Algorithm { .. } => "token-algorithm",
            Self::NoKeyId => "token-no-key-id",
            Self::Keys { .. } => "token-keys-malformed",
            Self::KeyUnknown { .. } => "token-key-unknown",
            Self::KeyUnfit { .. } => "token-key-unfit",
            Self::Signature { .. } => "token-signature-invalid",
            Self::Issuer { .. } => "token-issuer",
            Self::Claim { .. } => "token-claim",
            Self::Expired { .. } => "token-expired",
            Self::NotYetValid { .. } => "token-not-yet-valid",
        }
    }
}
