//! Endorsements: what vendors publish so that evidence can be verified.

mod amd;
mod by_vendor;
mod cached;
mod directory;
mod http_get;
mod kds;
mod pccs;
pub(crate) mod validity;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
pub use dcap_qvl::QuoteCollateralV3;

pub use self::{
    amd::{SnpCollateral, SnpRequest, VcekRequest},
    by_vendor::ByVendor,
    cached::CachedSource,
    directory::DirectorySource,
    kds::{AMD_KDS, KdsSource},
    pccs::PccsSource,
};
use crate::{
    claims::TeeKind,
    clock::{Clock, SystemClock},
    measurement::Fmspc,
};

/// The largest collateral read, in bytes, over all its parts. Intel's largest
/// today is below 100 KiB.
pub const MAXIMUM_COLLATERAL_LENGTH: usize = 2 * 1024 * 1024;

/// Which collateral a quote needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CollateralRequest {
    /// SGX or TDX.
    pub tee: TeeKind,
    /// The platform family.
    pub fmspc: Fmspc,
    /// Which CA issued the PCK certificate.
    pub ca: PckCa,
}

/// The two CAs that issue PCK certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PckCa {
    /// Single-package machines.
    Processor,
    /// Multi-package machines.
    Platform,
}

impl fmt::Display for PckCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Processor => "processor",
            Self::Platform => "platform",
        })
    }
}

impl fmt::Display for CollateralRequest {
    /// As in `sgx-00a067110000-processor`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.tee, self.fmspc, self.ca)
    }
}

/// Where collateral comes from. It is signed, so the source is not trusted.
#[async_trait]
pub trait CollateralSource: Send + Sync {
    /// The collateral for DCAP quotes of this kind.
    async fn collateral(
        &self,
        request: &CollateralRequest,
    ) -> Result<Arc<QuoteCollateralV3>, CollateralError>;

    /// What is kept is fetched anew with its next use, and served until that has
    /// succeeded. What comes replaces it, unless what is kept has verified and what
    /// comes was issued before it. A source that keeps nothing has nothing to do.
    fn refresh(&self) {}

    /// Is told that evidence has verified with this collateral, which it gave.
    fn verified(&self, request: &CollateralRequest, collateral: &Arc<QuoteCollateralV3>) {
        let _ = (request, collateral);
    }

    /// Is told that verification failed because of this collateral, which it gave.
    fn refused(&self, request: &CollateralRequest, collateral: &Arc<QuoteCollateralV3>) {
        let _ = (request, collateral);
    }

    /// The collateral for SEV-SNP reports of this kind. By default there is none.
    async fn snp(&self, request: &SnpRequest) -> Result<Arc<SnpCollateral>, CollateralError> {
        Err(CollateralError::NoSource { what: request.to_string() })
    }

    /// [`Self::verified`] for a SEV-SNP report.
    fn snp_verified(&self, request: &SnpRequest, collateral: &Arc<SnpCollateral>) {
        let _ = (request, collateral);
    }

    /// [`Self::refused`] for a SEV-SNP report.
    fn snp_refused(&self, request: &SnpRequest, collateral: &Arc<SnpCollateral>) {
        let _ = (request, collateral);
    }

    /// The certificate of a chip's endorsement key, in DER, for the guest on it whose
    /// host does not give it. By default there is none.
    async fn vcek(&self, request: &VcekRequest) -> Result<Arc<[u8]>, CollateralError> {
        Err(CollateralError::NoSource { what: request.to_string() })
    }
}

#[async_trait]
impl<S: CollateralSource + ?Sized> CollateralSource for Arc<S> {
    async fn collateral(
        &self,
        request: &CollateralRequest,
    ) -> Result<Arc<QuoteCollateralV3>, CollateralError> {
        (**self).collateral(request).await
    }

    fn refresh(&self) {
        (**self).refresh();
    }

    fn verified(&self, request: &CollateralRequest, collateral: &Arc<QuoteCollateralV3>) {
        (**self).verified(request, collateral);
    }

    fn refused(&self, request: &CollateralRequest, collateral: &Arc<QuoteCollateralV3>) {
        (**self).refused(request, collateral);
    }

    async fn snp(&self, request: &SnpRequest) -> Result<Arc<SnpCollateral>, CollateralError> {
        (**self).snp(request).await
    }

    fn snp_verified(&self, request: &SnpRequest, collateral: &Arc<SnpCollateral>) {
        (**self).snp_verified(request, collateral);
    }

    fn snp_refused(&self, request: &SnpRequest, collateral: &Arc<SnpCollateral>) {
        (**self).snp_refused(request, collateral);
    }

    async fn vcek(&self, request: &VcekRequest) -> Result<Arc<[u8]>, CollateralError> {
        (**self).vcek(request).await
    }
}

/// The sources that flags and variables name, each an URL or a directory and with a
/// cache before it; `None` if there are none.
/// - `intel`: a PCCS, or a directory ([`DirectorySource`]). If it is not named,
///   `otherwise` is used in its place: what simulated platforms have themselves;
/// - `amd`: a KDS, or a directory. By default it is the directory that `intel` names,
///   else AMD's own service ([`AMD_KDS`]).
pub fn from_places(
    intel: Option<&str>,
    amd: Option<&str>,
    otherwise: Option<Arc<dyn CollateralSource>>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<dyn CollateralSource>>, CollateralError> {
    let named =
        |place: Option<&str>| place.map(str::trim).filter(|place| !place.is_empty()).map(str::to_owned);
    let (intel, amd) = (named(intel), named(amd));
    let amd_source = match (&amd, &intel) {
        (None, None) => return Ok(otherwise),
        (None, Some(place)) if !is_url(place) => return Ok(Some(from_place(place, clock)?)),
        (None, Some(_)) => AMD_KDS,
        (Some(place), _) => place,
    };
    let amd = if is_url(amd_source) {
        Arc::new(CachedSource::new(KdsSource::new(amd_source)?, Arc::clone(clock)))
    } else {
        from_place(amd_source, clock)?
    };
    let intel = match intel {
        Some(place) => from_place(&place, clock)?,
        None => otherwise.unwrap_or_else(|| Arc::new(Nowhere)),
    };
    Ok(Some(Arc::new(ByVendor { intel, amd })))
}

/// Has what is published for no vendor.
struct Nowhere;

#[async_trait]
impl CollateralSource for Nowhere {
    async fn collateral(
        &self,
        request: &CollateralRequest,
    ) -> Result<Arc<QuoteCollateralV3>, CollateralError> {
        Err(CollateralError::NoSource { what: request.to_string() })
    }
}

fn is_url(place: &str) -> bool {
    place.contains("://") && !place.starts_with("file://")
}

/// [`from_url_with_clock`], or a directory's path.
fn from_place(place: &str, clock: &Arc<dyn Clock>) -> Result<Arc<dyn CollateralSource>, CollateralError> {
    if place.contains("://") {
        return from_url_with_clock(place, Arc::clone(clock));
    }
    Ok(Arc::new(CachedSource::new(DirectorySource::new(place), Arc::clone(clock))))
}

/// The source that a text names, with a cache before it, by the host's clock:
/// - `http://host:8081` or `https://host:8081/sgx/certification/v4/`: a PCCS
///   ([`PccsSource`]);
/// - `file:///directory`: a directory ([`DirectorySource`]).
pub fn from_url(text: &str) -> Result<Arc<dyn CollateralSource>, CollateralError> {
    from_url_with_clock(text, Arc::new(SystemClock))
}

/// [`from_url`] by another clock.
pub fn from_url_with_clock(
    text: &str,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn CollateralSource>, CollateralError> {
    let text = text.trim();
    if let Some(directory) = text.strip_prefix("file://") {
        if !directory.starts_with('/') {
            return Err(CollateralError::Url {
                found: text.to_owned(),
                reason: "its directory is not absolute".to_owned(),
            });
        }
        return Ok(Arc::new(CachedSource::new(DirectorySource::new(directory), clock)));
    }
    Ok(Arc::new(CachedSource::new(PccsSource::new(text)?, clock)))
}

/// Why there is no collateral.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// A text that names no source.
    #[error(
        "collateral source {found:?}: {reason}; give http://HOST:PORT, https://HOST:PORT or file:///DIRECTORY"
    )]
    Url {
        /// The text.
        found: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody said where to get it.
    #[error(
        "there is no source of {what}: name a PCCS or a directory in PCCS_URL, and for SEV-SNP a KDS or a directory in \
         AMD_KDS_URL"
    )]
    NoSource {
        /// What was asked for.
        what: String,
    },
    /// The source can't be reached; trying again may help.
    #[error(
        "collateral source {origin} is unreachable: {reason}; check PCCS_URL (SEV-SNP: AMD_KDS_URL) and the network, then retry"
    )]
    Unreachable {
        /// The URL or directory.
        origin: String,
        /// What went wrong.
        reason: String,
    },
    /// The source answered, but has nothing for this platform.
    #[error(
        "collateral source {origin} has no {what}; register the platform with the PCCS, or add the file to the directory"
    )]
    Missing {
        /// The URL or directory.
        origin: String,
        /// What was asked for.
        what: String,
    },
    /// The source answered with something that is not collateral.
    #[error("collateral source {origin}: {what} is malformed: {reason}; fetch it anew from its vendor")]
    Malformed {
        /// The URL or directory.
        origin: String,
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl CollateralError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Url { .. } => "collateral-url",
            Self::NoSource { .. } => "collateral-no-source",
            Self::Unreachable { .. } => "collateral-unreachable",
            Self::Missing { .. } => "collateral-missing",
            Self::Malformed { .. } => "collateral-malformed",
        }
    }

    /// May the same request be answered later?
    pub fn retry(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}
