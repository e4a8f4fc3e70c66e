//! The algorithms of signatures (RFC 7518, section 3.1; RFC 8037).

use std::{fmt, str::FromStr};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RsaParameters,
    VerificationAlgorithm,
};

/// An algorithm of signatures. There is none for a secret that two share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSA, PKCS#1 1.5, SHA-256.
    Rs256,
    /// RSA, PKCS#1 1.5, SHA-384.
    Rs384,
    /// RSA, PSS, SHA-256.
    Ps256,
    /// RSA, PSS, SHA-384.
    Ps384,
    /// ECDSA on P-256, SHA-256.
    Es256,
    /// ECDSA on P-384, SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

/// What verifies a signature of an algorithm, by the kind of key.
pub(super) enum Verification {
    Rsa(&'static RsaParameters),
    Curve(Curve, &'static dyn VerificationAlgorithm),
}

/// A curve, whose keys are points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    Ed25519,
}

impl Algorithm {
    /// All.
    pub const ALL: [Self; 7] =
        [Self::Rs256, Self::Rs384, Self::Ps256, Self::Ps384, Self::Es256, Self::Es384, Self::EdDsa];

    pub(super) fn verification(self) -> Verification {
        match self {
            Self::Rs256 => Verification::Rsa(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Verification::Rsa(&RSA_PKCS1_2048_8192_SHA384),
            Self::Ps256 => Verification::Rsa(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Verification::Rsa(&RSA_PSS_2048_8192_SHA384),
            Self::Es256 => Verification::Curve(Curve::P256, &ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Verification::Curve(Curve::P384, &ECDSA_P384_SHA384_FIXED),
            Self::EdDsa => Verification::Curve(Curve::Ed25519, &ED25519),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        })
    }
}

impl FromStr for Algorithm {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|algorithm| algorithm.to_string() == text).ok_or(())
    }
}
