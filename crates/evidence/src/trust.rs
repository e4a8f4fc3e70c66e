//! Whose signatures count: the roots that evidence may chain to.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Who stands behind a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Vendor {
    /// Intel's SGX root CA: SGX and TDX.
    Intel,
    /// AMD's root keys: SEV-SNP.
    Amd,
    /// A software platform that protects nothing.
    Simulation,
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Intel => "intel",
            Self::Amd => "amd",
            Self::Simulation => "simulation",
        })
    }
}

impl FromStr for Vendor {
    type Err = UnknownVendor;

    fn from_str(text: &str) -> Result<Self, UnknownVendor> {
        match text {
            "intel" => Ok(Self::Intel),
            "amd" => Ok(Self::Amd),
            "simulation" => Ok(Self::Simulation),
            _ => Err(UnknownVendor(text.to_owned())),
        }
    }
}

/// A text that names no vendor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown vendor {0:?}; known are \"intel\", \"amd\" and \"simulation\"")]
pub struct UnknownVendor(pub String);
