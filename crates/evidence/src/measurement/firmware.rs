//! The versions of what a processor trusts in a guest's protection, as evidence states
//! them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Security patch levels of a processor's firmware, each counted for itself (AMD
/// 56860, TCB_VERSION). Higher is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpTcb {
    /// The firmware of the chiplets' controller: Turin and later only. In a minimum,
    /// none is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// The boot loader of the AMD secure processor.
    pub bootloader: u8,
    pub tee: u8,
    pub snp: u8,
    /// The lowest microcode of all cores.
    pub microcode: u8,
}

impl SnpTcb {
    /// Of each level the lower.
    #[must_use]
    pub fn lowest(self, other: Self) -> Self {
        Self {
            fmc: self.fmc.min(other.fmc),
            bootloader: self.bootloader.min(other.bootloader),
            tee: self.tee.min(other.tee),
            snp: self.snp.min(other.snp),
            microcode: self.microcode.min(other.microcode),
        }
    }

    /// Is every level at least what `minimum` asks for?
    pub fn reaches(&self, minimum: &Self) -> bool {
        // A processor without an FMC has none that could be too old.
        let fmc = match (self.fmc, minimum.fmc) {
            (Some(level), Some(minimum)) => level >= minimum,
            _ => true,
        };
        fmc && self.bootloader >= minimum.bootloader
            && self.tee >= minimum.tee
            && self.snp >= minimum.snp
            && self.microcode >= minimum.microcode
    }
}

impl fmt::Display for SnpTcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(f, "fmc {fmc}, ")?;
        }
        let Self { bootloader, tee, snp, microcode, .. } = self;
        write!(f, "bootloader {bootloader}, tee {tee}, snp {snp}, microcode {microcode}")
    }
}
