//! What a SEV-SNP report says of its key, of the platform's configuration and of what
//! the guest's owner allows.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Which key signs a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endorser {
    /// The chip's own (versioned chip endorsement key).
    Vcek,
    /// A cloud provider's, loaded into all its chips (versioned loaded endorsement
    /// key).
    Vlek,
}

impl fmt::Display for Endorser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
        })
    }
}

/// How the platform is configured (AMD 56860, table PLATFORM_INFO). Bits without a
/// field here are not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpPlatformInfo {
    /// Bit 0: simultaneous multithreading is on.
    pub smt: bool,
    /// Bit 3: running average power limit is off, through which the host measures power.
    pub rapl_disabled: bool,
    /// Bit 4: the host cannot read the ciphertext of guests' memory.
    pub ciphertext_hiding: bool,
    /// Bit 5: since the last reset the firmware has found no two addresses that lead to
    /// the same memory, the attack "BadRAM" (CVE-2024-21944).
    pub alias_check_complete: bool,
    /// Bit 7: trusted I/O is on: devices may have a part in guests.
    pub tio: bool,
}

impl SnpPlatformInfo {
    /// Reads PLATFORM_INFO.
    pub fn read(bits: u64) -> Self {
        let bit = |number: u32| bits & (1 << number) != 0;
        Self {
            smt: bit(0),
            rapl_disabled: bit(3),
            ciphertext_hiding: bit(4),
            alias_check_complete: bit(5),
            tio: bit(7),
        }
    }
}

/// What the guest was launched to allow and to require (AMD 56860, table POLICY).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpGuestPolicy {
    /// Bits 15 to 0: the oldest interface of the firmware that may run the guest.
    pub minimum_abi: SnpAbi,
    /// Bit 16: simultaneous multithreading is allowed.
    pub smt: bool,
    /// Bit 20: the guest runs on one socket only.
    pub single_socket: bool,
    /// Bit 21: memory or devices behind CXL are allowed.
    pub cxl: bool,
}

impl SnpGuestPolicy {
    /// Reads POLICY.
    pub fn read(bits: u64) -> Self {
        let bit = |number: u32| bits & (1 << number) != 0;
        let [minor, major, ..] = bits.to_le_bytes();
        Self { minimum_abi: SnpAbi { major, minor }, smt: bit(16), single_socket: bit(20), cxl: bit(21) }
    }
}

/// A version of the SEV-SNP firmware's interface, written as "1.55".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnpAbi {
    pub major: u8,
    pub minor: u8,
}

/// A text that is no version of an interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SEV-SNP interface: expected two numbers from 0 to 255 as in \"1.55\", found {0:?}")]
pub struct UnknownAbi(pub String);

impl FromStr for SnpAbi {
    type Err = UnknownAbi;

    fn from_str(text: &str) -> Result<Self, UnknownAbi> {
        let number = |digits: &str| match digits.bytes().all(|digit| digit.is_ascii_digit()) {
            true => digits.parse::<u8>().ok(),
            false => None,
        };
        text.split_once('.')
            .and_then(|(major, minor)| Some(Self { major: number(major)?, minor: number(minor)? }))
            .ok_or_else(|| UnknownAbi(text.to_owned()))
    }
}

impl TryFrom<String> for SnpAbi {
    type Error = UnknownAbi;

    fn try_from(text: String) -> Result<Self, UnknownAbi> {
        text.parse()
    }
}

impl From<SnpAbi> for String {
    fn from(version: SnpAbi) -> Self {
        version.to_string()
    }
}

impl fmt::Display for SnpAbi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_lie_where_amd_says() {
        assert_eq!(SnpPlatformInfo::read(0), SnpPlatformInfo::default());
        // Bits 1, 2 and 6 (TSME, ECC, IOMMU writes) have no field.
        assert_eq!(SnpPlatformInfo::read(0b0100_0110), SnpPlatformInfo::default());
        for (bit, field) in [
            (0, SnpPlatformInfo { smt: true, ..Default::default() }),
            (3, SnpPlatformInfo { rapl_disabled: true, ..Default::default() }),
            (4, SnpPlatformInfo { ciphertext_hiding: true, ..Default::default() }),
            (5, SnpPlatformInfo { alias_check_complete: true, ..Default::default() }),
            (7, SnpPlatformInfo { tio: true, ..Default::default() }),
        ] {
            assert_eq!(SnpPlatformInfo::read(1 << bit), field);
        }
        let none = SnpGuestPolicy::default();
        for (bits, policy) in [
            (0x0137, SnpGuestPolicy { minimum_abi: "1.55".parse().unwrap(), ..none }),
            (1 << 16, SnpGuestPolicy { smt: true, ..none }),
            (1 << 17, none),
            (1 << 20, SnpGuestPolicy { single_socket: true, ..none }),
            (1 << 21, SnpGuestPolicy { cxl: true, ..none }),
        ] {
            assert_eq!(SnpGuestPolicy::read(bits), policy);
        }
    }

    #[test]
    fn interfaces_are_ordered_by_number_and_read_back() {
        let abi = |text: &str| text.parse::<SnpAbi>();
        assert!(abi("1.9").unwrap() < abi("1.55").unwrap() && abi("1.55").unwrap() < abi("2.0").unwrap());
        assert_eq!(abi("1.55").unwrap().to_string(), "1.55");
        for wrong in ["", "1", "1.", ".5", "1.256", "1.+5", "1.5.5", "-1.5"] {
            assert_eq!(abi(wrong), Err(UnknownAbi(wrong.to_owned())));
        }
    }
}
