//! What AMD publishes for SEV-SNP: the certificates above endorsement keys, which
//! of them are revoked, and each chip's endorsement key.

use std::fmt;

use super::product::SnpProduct;
use crate::{
    certificate::validity::{self, Part, Unreadable},
    clock::UnixSeconds,
    measurement::Endorser,
};

/// Which of AMD's hierarchies is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnpRequest {
    /// The family of processors.
    pub product: SnpProduct,
    /// The kind of key that signed a report.
    pub endorser: Endorser,
}

impl fmt::Display for SnpRequest {
    /// As in `snp-milan-vcek`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", format!("snp-{}-{}", self.product, self.endorser).to_lowercase())
    }
}

/// Certificates and CRL of one of AMD's hierarchies, each in DER.
#[derive(Clone, PartialEq, Eq)]
pub struct SnpCollateral {
    /// Whose key signs those of endorsement keys ("ASK", or "ASVK" for VLEKs).
    pub issuer: Vec<u8>,
    /// The certificate of the root ("ARK"), in DER.
    pub root: Vec<u8>,
    /// Which of these are revoked, signed by the root.
    pub crl: Vec<u8>,
}

impl fmt::Debug for SnpCollateral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnpCollateral({}, {} and {} bytes)", self.issuer.len(), self.root.len(), self.crl.len())
    }
}

/// Which chip's endorsement key is asked for: it changes with the firmware.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VcekRequest {
    /// The family of processors.
    pub product: SnpProduct,
    /// The chip, as a report has it.
    pub chip_id: [u8; 64],
    /// The TCB_VERSION that a report names as reported.
    pub reported_tcb: [u8; 8],
}

impl VcekRequest {
    /// What names the chip in certificates and URLs: Turin uses eight bytes.
    pub fn hardware_id(&self) -> String {
        let length = if self.product == SnpProduct::Turin { 8 } else { 64 };
        hex::encode(&self.chip_id[..length])
    }
}

impl fmt::Display for VcekRequest {
    /// As in `snp-milan-vcek-<chip in hexadecimal>-0300000000000873`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = SnpRequest { product: self.product, endorser: Endorser::Vcek };
        write!(f, "{request}-{}-{}", self.hardware_id(), hex::encode(self.reported_tcb))
    }
}

/// Every dated part: the CRL, and the certificates. Nothing is verified.
pub(crate) fn parts(collateral: &SnpCollateral) -> Result<Vec<Part>, Unreadable> {
    Ok(vec![
        validity::crl("AMD CRL", &collateral.crl)?,
        validity::certificate("AMD issuer certificate", &collateral.issuer)?,
        validity::certificate("AMD root certificate", &collateral.root)?,
    ])
}

/// When the CRL was issued.
pub(crate) fn issued(collateral: &SnpCollateral) -> Result<UnixSeconds, Unreadable> {
    Ok(validity::crl("AMD CRL", &collateral.crl)?.from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_as_files_and_logs_have_them() {
        let request = SnpRequest { product: SnpProduct::Milan, endorser: Endorser::Vlek };
        assert_eq!(request.to_string(), "snp-milan-vlek");
        let mut chip_id = [0; 64];
        chip_id[..8].fill(0xab);
        let chip =
            VcekRequest { product: SnpProduct::Turin, chip_id, reported_tcb: [1, 2, 3, 4, 0, 0, 0, 5] };
        assert_eq!(chip.to_string(), "snp-turin-vcek-abababababababab-0102030400000005");
        let milan = VcekRequest { product: SnpProduct::Milan, ..chip };
        assert_eq!(milan.hardware_id().len(), 128);
    }
}
