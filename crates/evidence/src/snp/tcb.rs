//! The versions of what a processor trusts in a SEV-SNP guest's protection.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::SnpProduct;

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
    /// Its operating system.
    pub tee: u8,
    /// Its SEV-SNP firmware.
    pub snp: u8,
    /// The lowest microcode of all cores.
    pub microcode: u8,
}

impl SnpTcb {
    /// Reads TCB_VERSION, whose layout differs between processors.
    pub fn read(product: SnpProduct, bytes: [u8; 8]) -> Self {
        let [first, second, third, fourth, _, _, seventh, microcode] = bytes;
        match product {
            SnpProduct::Milan | SnpProduct::Genoa => {
                Self { fmc: None, bootloader: first, tee: second, snp: seventh, microcode }
            }
            SnpProduct::Turin => {
                Self { fmc: Some(first), bootloader: second, tee: third, snp: fourth, microcode }
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn the_layout_is_the_processors() {
        let milan = SnpTcb::read(SnpProduct::Milan, BYTES);
        assert_eq!(milan.to_string(), "bootloader 1, tee 2, snp 7, microcode 8");
        assert_eq!(SnpTcb::read(SnpProduct::Genoa, BYTES), milan);
        let turin = SnpTcb::read(SnpProduct::Turin, BYTES);
        assert_eq!(turin.to_string(), "fmc 1, bootloader 2, tee 3, snp 4, microcode 8");
    }

    #[test]
    fn a_minimum_is_reached_in_every_level_or_not_at_all() {
        let found = SnpTcb::read(SnpProduct::Turin, BYTES);
        assert!(found.reaches(&found));
        assert!(found.reaches(&SnpTcb { fmc: None, ..found }));
        for minimum in [
            SnpTcb { fmc: Some(2), ..found },
            SnpTcb { bootloader: 3, ..found },
            SnpTcb { tee: 4, ..found },
            SnpTcb { snp: 5, ..found },
            SnpTcb { microcode: 9, ..found },
        ] {
            assert!(!found.reaches(&minimum), "{minimum}");
            assert_eq!(found.lowest(minimum), found);
            assert!(minimum.reaches(&found.lowest(minimum)));
        }
        let milan = SnpTcb::read(SnpProduct::Milan, BYTES);
        assert!(milan.reaches(&SnpTcb { fmc: Some(9), ..milan }), "it has no FMC");
    }
}
