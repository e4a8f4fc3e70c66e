//! The roots that this crate knows: each vendor's own.

use crate::{
    dcap,
    snp::SnpProduct,
    trust::{TrustRoot, Vendor},
};

impl TrustRoot {
    /// Intel's SGX root CA (SGX and TDX).
    pub fn intel() -> Self {
        dcap::intel()
    }

    /// AMD's roots, one for each family of processors (SEV-SNP).
    pub fn amd() -> impl Iterator<Item = Self> {
        SnpProduct::ALL.into_iter().map(|product| Self::of_key(Vendor::Amd, product.root_key_id()))
    }

    /// The roots of a vendor that this crate knows; none of simulated platforms, and none of
    /// Azure Attestation, whose keys are pinned one by one.
    pub fn of_vendor(vendor: Vendor) -> Vec<Self> {
        match vendor {
            Vendor::Intel => vec![Self::intel()],
            Vendor::Amd => Self::amd().collect(),
            Vendor::Azure | Vendor::Simulation => Vec::new(),
        }
    }
}
