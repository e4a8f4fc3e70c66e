//! How SEV-SNP reports write the versions of a processor's firmware.

use super::product::SnpProduct;
use crate::measurement::SnpTcb;

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
