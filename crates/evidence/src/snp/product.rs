//! The processors that have SEV-SNP, by the names of AMD's key hierarchies.

use std::fmt;

use crate::measurement::{Endorser, RootKeyId};

/// A family of processors with a root key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SnpProduct {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004, Bergamo and Siena among them.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl SnpProduct {
    /// Every product.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The processor with this family and model, each put together with its
    /// extension as CPUID function 1 defines.
    pub fn from_cpuid(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x1f) => Some(Self::Turin),
            _ => None,
        }
    }

    /// The key of its root certificate ("ARK"): SHA-384 over the public key. The
    /// keys are AMD's published ones; the certificate comes with collateral.
    pub(crate) fn root_key_id(self) -> RootKeyId {
        RootKeyId(match self {
            Self::Milan => [
                0x3c, 0x8b, 0xb5, 0x36, 0x70, 0x40, 0x58, 0x9d, 0x49, 0x6a, 0x2c, 0x5e, 0x91, 0xd5, 0x37,
                0x7e, 0xe5, 0x0a, 0xd2, 0xae, 0xf4, 0x55, 0x2e, 0xa3, 0x94, 0xaf, 0xb8, 0xde, 0x65, 0xa6,
                0xda, 0xa5, 0xea, 0x73, 0x6c, 0xd3, 0x22, 0x53, 0x56, 0x63, 0x9a, 0x6d, 0x30, 0x5b, 0x2f,
                0x2e, 0x2e, 0xb3,
            ],
            Self::Genoa => [
                0xb9, 0xb8, 0xb4, 0x41, 0x41, 0x40, 0xe1, 0xef, 0xbe, 0x8f, 0xeb, 0x3c, 0x40, 0xd5, 0x58,
                0x60, 0x7a, 0x48, 0xb4, 0x22, 0x4d, 0xda, 0xe8, 0x51, 0x51, 0xa4, 0xb7, 0xe1, 0x4a, 0xd8,
                0x43, 0x2c, 0x26, 0x4e, 0x5f, 0x7e, 0x89, 0x5b, 0x9c, 0x25, 0x23, 0x71, 0x63, 0xdf, 0xf2,
                0x23, 0x48, 0xd8,
            ],
            Self::Turin => [
                0x02, 0xfb, 0x29, 0xaf, 0x72, 0x9a, 0x9c, 0xd8, 0x69, 0x24, 0x03, 0xd8, 0x1d, 0xd9, 0x88,
                0xe5, 0x79, 0x27, 0x54, 0x76, 0xdc, 0xf2, 0xe0, 0x4d, 0x96, 0x32, 0x81, 0x3b, 0x43, 0xa6,
                0x76, 0x39, 0xd8, 0x52, 0x41, 0x5c, 0xb1, 0x01, 0x83, 0x10, 0xfe, 0x9c, 0x71, 0x7a, 0xc9,
                0xbb, 0xcb, 0x17,
            ],
        })
    }

    /// The product and the kind of key whose issuer has this common name, such as
    /// "SEV-Milan" or "SEV-VLEK-Milan".
    pub(crate) fn of_issuer(common_name: &str) -> Option<(Self, Endorser)> {
        let name = common_name.strip_prefix("SEV-")?;
        let (endorser, name) = match name.strip_prefix("VLEK-") {
            Some(name) => (Endorser::Vlek, name),
            None => (Endorser::Vcek, name),
        };
        let product = Self::ALL.into_iter().find(|product| product.to_string() == name)?;
        Some((product, endorser))
    }
}

impl fmt::Display for SnpProduct {
    /// As AMD writes it in certificates and URLs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_name_product_and_key() {
        assert_eq!(SnpProduct::of_issuer("SEV-Milan"), Some((SnpProduct::Milan, Endorser::Vcek)));
        assert_eq!(SnpProduct::of_issuer("SEV-VLEK-Turin"), Some((SnpProduct::Turin, Endorser::Vlek)));
        for other in ["", "SEV-", "SEV-VLEK-", "ARK-Milan", "SEV-Naples", "SEV-milan", "SEV-Milan "] {
            assert_eq!(SnpProduct::of_issuer(other), None, "{other}");
        }
    }

    #[test]
    fn processors_are_known_by_family_and_model() {
        assert_eq!(SnpProduct::from_cpuid(0x19, 0x01), Some(SnpProduct::Milan));
        assert_eq!(SnpProduct::from_cpuid(0x19, 0x11), Some(SnpProduct::Genoa));
        assert_eq!(SnpProduct::from_cpuid(0x19, 0xa0), Some(SnpProduct::Genoa));
        assert_eq!(SnpProduct::from_cpuid(0x1a, 0x02), Some(SnpProduct::Turin));
        assert_eq!(SnpProduct::from_cpuid(0x17, 0x31), None);
    }
}
