//! Masks of a processor's features, and the ways in which SGX protects memory.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// 64 bits of which each is a feature, written as "0x602e7": XFRM of an enclave (Intel
/// SDM volume 3D, SECS.ATTRIBUTES), XFAM and ATTRIBUTES of a TD (Intel TDX Module ABI
/// Specification, TD_PARAMS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FeatureMask(pub u64);

/// A text that is no mask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mask of features: expected 0x and 1 to 16 hexadecimal digits as in \"0x602e7\", found {0:?}")]
pub struct UnknownMask(pub String);

impl FromStr for FeatureMask {
    type Err = UnknownMask;

    fn from_str(text: &str) -> Result<Self, UnknownMask> {
        text.strip_prefix("0x")
            .filter(|digits| digits.len() <= 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(Self)
            .ok_or_else(|| UnknownMask(text.to_owned()))
    }
}

impl TryFrom<String> for FeatureMask {
    type Error = UnknownMask;

    fn try_from(text: String) -> Result<Self, UnknownMask> {
        text.parse()
    }
}

impl From<FeatureMask> for String {
    fn from(mask: FeatureMask) -> Self {
        mask.to_string()
    }
}

impl fmt::Display for FeatureMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// How the platform protects the memory of TEEs (Intel, PCK Certificate and CRL Profile
/// Specification, SGX Type).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SgxType {
    /// Encryption with integrity and against replay, for a small memory.
    Standard,
    /// Encryption of all memory, without integrity against attacks on the memory bus.
    Scalable,
    /// The same with cryptographic integrity, and none against replay.
    ScalableWithIntegrity,
}

impl SgxType {
    /// Reads the number in a PCK certificate.
    pub fn read(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Standard),
            1 => Some(Self::Scalable),
            2 => Some(Self::ScalableWithIntegrity),
            _ => None,
        }
    }
}

impl fmt::Display for SgxType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Standard => "standard",
            Self::Scalable => "scalable",
            Self::ScalableWithIntegrity => "scalable-with-integrity",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_read_back_and_nothing_else_is_one() {
        for mask in [0, 7, 0x602e7, u64::MAX] {
            assert_eq!(FeatureMask(mask).to_string().parse(), Ok(FeatureMask(mask)));
        }
        for wrong in ["", "0x", "7", "602e7", "0x+7", "0xg", "0x00000000000000007"] {
            assert_eq!(wrong.parse::<FeatureMask>(), Err(UnknownMask(wrong.to_owned())));
        }
        assert_eq!([0, 1, 2, 3].map(SgxType::read).iter().flatten().count(), 3);
    }
}
