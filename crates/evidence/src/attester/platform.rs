//! Which interfaces produce evidence, by name.

use std::{fmt, str::FromStr};

/// What produces the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TeePlatform {
    /// An SGX enclave with the Gramine LibOS.
    Gramine,
    /// An SGX enclave with the Occlum LibOS.
    Occlum,
    /// A TDX guest.
    Tdx,
    /// A SEV-SNP guest.
    Snp,
    /// Software, which protects nothing.
    Simulation,
}

impl fmt::Display for TeePlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gramine => "gramine",
            Self::Occlum => "occlum",
            Self::Tdx => "tdx",
            Self::Snp => "snp",
            Self::Simulation => "simulation",
        })
    }
}

/// Which of the hardware's interfaces to use, as flags name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TeeInterface {
    /// The one that is there.
    Auto,
    /// Occlum's `/dev/sgx`.
    Occlum,
    /// Gramine's `/dev/attestation`.
    Gramine,
    /// A confidential guest: Linux's configfs-tsm.
    Tsm,
}

impl TeeInterface {
    /// Every interface.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Occlum, Self::Gramine, Self::Tsm];
}

impl fmt::Display for TeeInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Occlum => "occlum",
            Self::Gramine => "gramine",
            Self::Tsm => "tsm",
        })
    }
}

impl FromStr for TeeInterface {
    type Err = UnknownTee;

    fn from_str(text: &str) -> Result<Self, UnknownTee> {
        Self::ALL
            .into_iter()
            .find(|interface| interface.to_string() == text)
            .ok_or_else(|| UnknownTee(text.to_owned()))
    }
}

/// A text that names no TEE.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown TEE {0:?}; known are auto, occlum, gramine, tsm, and simulation=DIRECTORY or simulation=URL in a build \
     that has simulation"
)]
pub struct UnknownTee(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_read_as_it_is_written() {
        for interface in TeeInterface::ALL {
            assert_eq!(interface.to_string().parse(), Ok(interface));
        }
        for text in ["", "sgx", "Auto", "tdx", "simulation", "simulation=/x"] {
            let error = text.parse::<TeeInterface>().unwrap_err();
            assert!(error.to_string().contains("tsm"), "{error}");
        }
    }
}
