//! Fixed-length values that identify code, platforms and sessions, each a type
//! of its own, written as lower-case hexadecimal.

mod features;
mod firmware;
mod guest;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use self::{
    features::{FeatureMask, SgxType, UnknownMask},
    firmware::SnpTcb,
    guest::{Endorser, SnpAbi, SnpGuestPolicy, SnpPlatformInfo, UnknownAbi},
};

/// A text that is not the hexadecimal form of a value of `length` bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {length} bytes as {digits} hexadecimal digits, found {found}", digits = .length * 2)]
pub struct HexError {
    /// The type that was wanted.
    pub what: &'static str,
    /// Its length in bytes.
    pub length: usize,
    /// The text found instead.
    pub found: String,
}

fn parse<const LENGTH: usize>(what: &'static str, text: &str) -> Result<[u8; LENGTH], HexError> {
    let mut bytes = [0; LENGTH];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| HexError {
        what,
        length: LENGTH,
        found: match text.chars().find(|c| !c.is_ascii_hexdigit()) {
            Some(c) => format!("the character {c:?}"),
            None => format!("{} digits", text.len()),
        },
    })?;
    Ok(bytes)
}

macro_rules! fixed_bytes {
    ($(#[$documentation:meta])* $type:ident, $length:literal) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(pub [u8; $length]);

        impl $type {
            /// Length in bytes.
            pub const LENGTH: usize = $length;

            /// Is every byte zero, as where nothing was measured?
            pub fn is_zero(&self) -> bool {
                self.0 == [0; $length]
            }

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = HexError;

            fn from_str(text: &str) -> Result<Self, HexError> {
                parse(stringify!($type), text).map(Self)
            }
        }

        impl TryFrom<String> for $type {
            type Error = HexError;

            fn try_from(text: String) -> Result<Self, HexError> {
                text.parse()
            }
        }

        impl TryFrom<&[u8]> for $type {
            type Error = HexError;

            fn try_from(bytes: &[u8]) -> Result<Self, HexError> {
                bytes.try_into().map(Self).map_err(|_| HexError {
                    what: stringify!($type),
                    length: $length,
                    found: format!("{} bytes", bytes.len()),
                })
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                hex::encode(value.0)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), hex::encode(self.0))
            }
        }
    };
}

fixed_bytes!(
    /// SGX: the digest of an enclave's initial contents (Intel SDM, MRENCLAVE).
    MrEnclave,
    32
);
fixed_bytes!(
    /// SGX: the digest of the enclave signer's public key (Intel SDM, MRSIGNER).
    MrSigner,
    32
);
fixed_bytes!(
    /// TDX: a SHA-384 measurement register (MRTD, MRCONFIGID, RTMR0..3).
    TdxMeasurement,
    48
);
fixed_bytes!(
    /// SEV-SNP: the launch digest of a guest.
    SnpMeasurement,
    48
);
fixed_bytes!(
    /// SEV-SNP: the host data given at launch.
    HostData,
    32
);
fixed_bytes!(
    /// SEV-SNP: the digest of the key that signed a guest's ID block, or of the key that
    /// signed that key (AMD 56860, ID_KEY_DIGEST, AUTHOR_KEY_DIGEST).
    SnpKeyDigest,
    48
);
fixed_bytes!(
    /// SGX: what an enclave was started with besides its contents (Intel SDM, CONFIGID).
    ConfigId,
    64
);
fixed_bytes!(
    /// What an attester was asked to bind into its evidence.
    ReportData,
    64
);
fixed_bytes!(
    /// A SHA-256 digest.
    Sha256Digest,
    32
);
fixed_bytes!(
    /// Which workload this is: see [`crate::identity`].
    WorkloadIdentity,
    32
);
fixed_bytes!(
    /// SHA-384 of a trust root's public key (its SubjectPublicKeyInfo bit string,
    /// as `dcap-qvl` computes `root_key_id`).
    RootKeyId,
    48
);
fixed_bytes!(
    /// Intel: family, model, stepping, platform type and custom SKU.
    Fmspc,
    6
);

impl RootKeyId {
    /// The beginning, enough to tell one from another by eye.
    pub(crate) fn short(&self) -> String {
        hex::encode(&self.0[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_lower_case_hexadecimal_both_ways() {
        let digest = Sha256Digest([0xab; 32]);
        assert_eq!(digest.to_string(), "ab".repeat(32));
        assert_eq!("AB".repeat(32).parse(), Ok(digest));
    }

    #[test]
    fn errors_name_what_was_found() {
        let error = "ab".parse::<MrEnclave>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "MrEnclave: expected 32 bytes as 64 hexadecimal digits, found 2 digits"
        );
        let error = "x".repeat(64).parse::<MrEnclave>().unwrap_err();
        assert!(error.to_string().ends_with("found the character 'x'"), "{error}");
        assert!(MrSigner::try_from(&[1u8, 2][..]).unwrap_err().to_string().ends_with("found 2 bytes"));
    }
}
