//! Secrets: their kinds, and values that are wiped and never print.

use std::{fmt, str::FromStr, sync::Arc};

use adytum_api::broker;
use adytum_evidence::measurement::Sha256Digest;
use adytum_signing::OwnerPublicKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The longest value, in bytes.
pub const MAXIMUM_VALUE_LENGTH: usize = 64 * 1024;

/// What a secret's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SecretKind {
    /// Bytes that an owner uploaded.
    Opaque,
    /// An age X25519 identity: it opens sealed models.
    AgeIdentity,
    /// Bytes made in the broker; no person has seen them.
    Random,
    /// A certificate that the broker issues for a key made in the replica.
    TlsCertificate,
    /// The same, delivered as TensorFlow Serving's SSLConfig.
    SslConfig,
}

impl SecretKind {
    /// The wire form.
    pub fn to_wire(self) -> broker::SecretKind {
        match self {
            Self::Opaque => broker::SecretKind::Opaque,
            Self::AgeIdentity => broker::SecretKind::AgeIdentity,
            Self::Random => broker::SecretKind::Random,
            Self::TlsCertificate => broker::SecretKind::TlsCertificate,
            Self::SslConfig => broker::SecretKind::SslConfig,
        }
    }

    /// Reads the wire form; `None` for a kind that this version doesn't know.
    pub fn from_wire(wire: i32) -> Option<Self> {
        match broker::SecretKind::try_from(wire).ok()? {
            broker::SecretKind::Unspecified => None,
            broker::SecretKind::Opaque => Some(Self::Opaque),
            broker::SecretKind::AgeIdentity => Some(Self::AgeIdentity),
            broker::SecretKind::Random => Some(Self::Random),
            broker::SecretKind::TlsCertificate => Some(Self::TlsCertificate),
            broker::SecretKind::SslConfig => Some(Self::SslConfig),
        }
    }
}

impl fmt::Display for SecretKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Opaque => "opaque",
            Self::AgeIdentity => "age-identity",
            Self::Random => "random",
            Self::TlsCertificate => "tls-certificate",
            Self::SslConfig => "ssl-config",
        })
    }
}

/// A value of its kind. Wiped when the last holder lets go of it; never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Arc<Zeroizing<Vec<u8>>>);

impl SecretValue {
    /// Takes bytes as a value of this kind.
    pub fn parse(kind: SecretKind, bytes: Zeroizing<Vec<u8>>) -> Result<Self, ValueError> {
        if bytes.is_empty() {
            return Err(ValueError::Empty);
        }
        if bytes.len() > MAXIMUM_VALUE_LENGTH {
            return Err(ValueError::TooLong { found: bytes.len() });
        }
        match kind {
            SecretKind::Opaque => Ok(Self(Arc::new(bytes))),
            SecretKind::AgeIdentity => {
                let text = std::str::from_utf8(&bytes).map_err(|_| ValueError::NotAnAgeIdentity)?.trim();
                age::x25519::Identity::from_str(text).map_err(|_| ValueError::NotAnAgeIdentity)?;
                Ok(Self(Arc::new(Zeroizing::new(text.as_bytes().to_vec()))))
            }
            SecretKind::Random | SecretKind::TlsCertificate | SecretKind::SslConfig => {
                Err(ValueError::NotUploaded { kind })
            }
        }
    }

    /// New random bytes.
    pub fn random(length: usize) -> Result<Self, ValueError> {
        let mut bytes = Zeroizing::new(vec![0; length]);
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| ValueError::Random)?;
        Ok(Self(Arc::new(bytes)))
    }

    /// The substitute for the value of a certificate: the digest of the terms on which it
    /// is issued.
    pub fn terms(digest: Sha256Digest) -> Self {
        Self(Arc::new(Zeroizing::new(digest.0.to_vec())))
    }

    /// A value of this kind as a store kept it.
    pub fn stored(kind: SecretKind, bytes: Zeroizing<Vec<u8>>) -> Result<Self, ValueError> {
        match kind {
            SecretKind::Opaque | SecretKind::AgeIdentity => Self::parse(kind, bytes),
            SecretKind::Random | SecretKind::TlsCertificate | SecretKind::SslConfig => {
                // Any bytes are of these kinds; the limits are those of all values.
                Self::parse(SecretKind::Opaque, bytes)
            }
        }
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretValue({} bytes)", self.0.len())
    }
}

/// What the broker holds under a secret's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSecret {
    /// The kind that the value was accepted as.
    pub kind: SecretKind,
    /// The value; `None` once it was removed. Of certificates, which are issued for
    /// every key, the digest of the terms on which they are.
    pub value: Option<SecretValue>,
    /// Counts the values that the name has had; goes on after a removal.
    pub version: u64,
    /// The owners who agreed to the last change.
    pub changed_by: Vec<OwnerPublicKey>,
}

/// Why bytes are no value. Says nothing of the bytes themselves.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The value of the secret is empty.
    ///
    /// Do: give `adytum secret put --from-file` a file with at least one byte.
    #[error("the value is empty; give a file with at least one byte")]
    Empty,
    /// The value of the secret has more than [`MAXIMUM_VALUE_LENGTH`] bytes.
    ///
    /// Do: shorten the value, or deliver it as a sealed bundle (`adytum seal --bundle`).
    #[error("the value has {found} bytes; at most {MAXIMUM_VALUE_LENGTH} are allowed")]
    TooLong { found: usize },
    /// The secret's kind is `age-identity`, and the value is not one age X25519 identity.
    ///
    /// Do: give the file that `adytum model-key new` wrote.
    #[error(
        "the secret's kind is age-identity and the value is not one age X25519 identity; expected the line \
         \"AGE-SECRET-KEY-1...\" alone, as `adytum model-key new` writes it"
    )]
    NotAnAgeIdentity,
    /// The system's random generator failed, so no value was made.
    ///
    /// Do: try again; if it fails again, check the broker's machine.
    ///
    /// Retry: yes
    #[error("the system's random generator failed, so no value was made; try again")]
    Random,
    /// The broker makes the values of this secret itself and takes none from owners.
    ///
    /// Do: have the broker make a new value with `adytum secret rotate`.
    #[error(
        "values of the kind {kind} are made by the broker and never uploaded; `adytum secret rotate` makes a \
         new one"
    )]
    NotUploaded { kind: SecretKind },
}

impl ValueError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "secret-value-empty",
            Self::TooLong { .. } => "secret-value-too-long",
            Self::NotAnAgeIdentity => "secret-value-not-an-age-identity",
            Self::Random => "secret-value-random",
            Self::NotUploaded { .. } => "secret-value-not-uploaded",
        }
    }
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret;
    use proptest::prelude::*;

    use super::*;

    fn parse(kind: SecretKind, bytes: &[u8]) -> Result<SecretValue, &'static str> {
        SecretValue::parse(kind, Zeroizing::new(bytes.to_vec())).map_err(|error| error.code())
    }

    #[test]
    fn values_are_judged_by_their_kind() {
        let identity = age::x25519::Identity::generate().to_string();
        let identity = identity.expose_secret();
        let line = format!("{identity}\n");
        assert_eq!(
            parse(SecretKind::AgeIdentity, line.as_bytes()).unwrap().expose(),
            identity.as_bytes(),
            "kept without the line's end"
        );
        let mut other = identity.to_owned().into_bytes();
        other[20] ^= 1;
        for bytes in [&b"sesame"[..], &other, &[0xff, 0xfe], identity.repeat(2).as_bytes()] {
            assert_eq!(parse(SecretKind::AgeIdentity, bytes), Err("secret-value-not-an-age-identity"));
        }
        assert_eq!(parse(SecretKind::Opaque, b""), Err("secret-value-empty"));
        assert!(parse(SecretKind::Opaque, &vec![0; MAXIMUM_VALUE_LENGTH]).is_ok());
        assert_eq!(
            parse(SecretKind::Opaque, &vec![0; MAXIMUM_VALUE_LENGTH + 1]),
            Err("secret-value-too-long")
        );
    }

    #[test]
    fn values_do_not_print() {
        let value = parse(SecretKind::Opaque, b"sesame").unwrap();
        assert_eq!(format!("{value:?}"), "SecretValue(6 bytes)");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(SecretKind::AgeIdentity, &bytes);
        }
    }
}
