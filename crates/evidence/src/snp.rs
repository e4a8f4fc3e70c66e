//! AMD SEV-SNP: its attestation report, the certificates that a guest has of its
//! host, and the processors whose keys sign (AMD 56860, SEV Secure Nested Paging
//! Firmware ABI Specification; AMD 57230, Versioned Chip Endorsement Key
//! Certificate and KDS Interface Specification).
//!
//! Forms only: nothing in here is verified.

mod certificate_table;
mod product;
mod report;
mod tcb;

pub use self::{
    certificate_table::{CertificateTable, single as certificate_table},
    product::{Endorser, SnpProduct},
    report::{REPORT_LENGTH, SnpReport, parse_report},
    tcb::SnpTcb,
};
