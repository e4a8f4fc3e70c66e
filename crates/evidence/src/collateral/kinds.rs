//! The kinds of collateral, and the requests for them.

use std::{fmt, sync::Arc};

#[cfg(feature = "collect")]
use crate::certificate::validity::Part;
use crate::{
    certificate::validity::Unreadable,
    clock::UnixSeconds,
    dcap::{self, DcapRequest, QuoteCollateralV3},
    evidence::EvidenceFormat,
    snp::{self, SnpCollateral, SnpRequest, VcekRequest},
};

/// The collateral to fetch, by the TEE at hand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CollateralRequest {
    /// What DCAP quotes of a platform family need.
    Dcap(DcapRequest),
    /// What SEV-SNP reports of a family of processors need.
    Snp(SnpRequest),
    /// The certificate of a chip's endorsement key, for the guest on it whose host does
    /// not give it.
    Vcek(VcekRequest),
}

/// The answer to a [`CollateralRequest`] of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Collateral {
    /// For DCAP quotes.
    Dcap(Arc<QuoteCollateralV3>),
    /// For SEV-SNP reports.
    Snp(Arc<SnpCollateral>),
    /// A certificate in DER.
    Vcek(Arc<[u8]>),
}

/// [`Collateral`] that somebody else owns.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum CollateralRef<'a> {
    /// For DCAP quotes.
    Dcap(&'a QuoteCollateralV3),
    /// For SEV-SNP reports.
    Snp(&'a SnpCollateral),
    /// A certificate in DER.
    Vcek(&'a [u8]),
}

impl From<DcapRequest> for CollateralRequest {
    fn from(request: DcapRequest) -> Self {
        Self::Dcap(request)
    }
}

impl From<SnpRequest> for CollateralRequest {
    fn from(request: SnpRequest) -> Self {
        Self::Snp(request)
    }
}

impl From<VcekRequest> for CollateralRequest {
    fn from(request: VcekRequest) -> Self {
        Self::Vcek(request)
    }
}

impl fmt::Display for CollateralRequest {
    /// As in `sgx-00a067110000-processor` and `snp-milan-vcek`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dcap(request) => request.fmt(f),
            Self::Snp(request) => request.fmt(f),
            Self::Vcek(request) => request.fmt(f),
        }
    }
}

impl Collateral {
    /// The same, borrowed.
    pub fn borrowed(&self) -> CollateralRef<'_> {
        match self {
            Self::Dcap(collateral) => CollateralRef::Dcap(collateral),
            Self::Snp(collateral) => CollateralRef::Snp(collateral),
            Self::Vcek(certificate) => CollateralRef::Vcek(certificate),
        }
    }

    /// Is it the very same answer, at the same place in memory?
    #[cfg(feature = "collect")]
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dcap(one), Self::Dcap(other)) => Arc::ptr_eq(one, other),
            (Self::Snp(one), Self::Snp(other)) => Arc::ptr_eq(one, other),
            (Self::Vcek(one), Self::Vcek(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// Every dated part. Nothing is verified.
    #[cfg(feature = "collect")]
    pub(crate) fn parts(&self) -> Result<Vec<Part>, Unreadable> {
        match self {
            Self::Dcap(collateral) => dcap::parts(collateral),
            Self::Snp(collateral) => snp::parts(collateral),
            Self::Vcek(_) => Ok(Vec::new()),
        }
    }
}

impl<'a> From<&'a QuoteCollateralV3> for CollateralRef<'a> {
    fn from(collateral: &'a QuoteCollateralV3) -> Self {
        Self::Dcap(collateral)
    }
}

impl<'a> From<&'a SnpCollateral> for CollateralRef<'a> {
    fn from(collateral: &'a SnpCollateral) -> Self {
        Self::Snp(collateral)
    }
}

impl<'a> From<&'a Collateral> for CollateralRef<'a> {
    fn from(collateral: &'a Collateral) -> Self {
        collateral.borrowed()
    }
}

impl<'a> CollateralRef<'a> {
    /// The evidence that it verifies; none for the certificate of one key, which is
    /// itself part of evidence.
    pub(crate) fn format(self) -> Option<EvidenceFormat> {
        match self {
            Self::Dcap(_) => Some(EvidenceFormat::DcapQuote),
            Self::Snp(_) => Some(EvidenceFormat::SnpReport),
            Self::Vcek(_) => None,
        }
    }

    /// The same in words.
    pub(crate) fn fits(self) -> &'static str {
        match self {
            Self::Dcap(_) => "DCAP quotes, with collateral for them",
            Self::Snp(_) => "SEV-SNP reports, with collateral for them",
            Self::Vcek(_) => "no evidence, with the certificate of one key",
        }
    }

    /// The signed document in it whose date [`Self::issued`] reads.
    pub(crate) fn dated_document(self) -> &'a [u8] {
        match self {
            Self::Dcap(collateral) => &collateral.tcb_info_signature,
            Self::Snp(collateral) => &collateral.crl,
            Self::Vcek(certificate) => certificate,
        }
    }

    /// When the newest document in it was issued.
    pub(crate) fn issued(self) -> Result<UnixSeconds, Unreadable> {
        match self {
            Self::Dcap(collateral) => dcap::issued(collateral),
            Self::Snp(collateral) => snp::issued(collateral),
            Self::Vcek(_) => {
                Err(("VCEK certificate", "it is no document that is published again".to_owned()))
            }
        }
    }
}
