//! AMD SEV-SNP: its attestation report, the certificates that a guest has of its
//! host, the processors whose keys sign, what AMD publishes about these keys, and
//! verification (AMD 56860, SEV Secure Nested Paging Firmware ABI Specification; AMD
//! 57230, Versioned Chip Endorsement Key Certificate and KDS Interface Specification).

mod certificate_table;
mod collateral;
#[cfg(feature = "collect")]
mod kds;
mod product;
mod report;
mod tcb;
mod verification;

#[cfg(feature = "collect")]
pub(crate) use self::collateral::parts;
#[cfg(feature = "collect")]
pub use self::kds::{AMD_KDS, KdsSource};
pub use self::{
    certificate_table::{CertificateTable, single as certificate_table},
    collateral::{SnpCollateral, SnpRequest, VcekRequest},
    product::SnpProduct,
    report::{SnpReport, parse_report},
};
pub(crate) use self::{collateral::issued, verification::SnpEvidence};
pub use crate::{
    evidence::SNP_REPORT_LENGTH as REPORT_LENGTH,
    measurement::{Endorser, SnpTcb},
};
