//! The sources that flags and variables name.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;

use super::{
    by_vendor::ByVendor,
    cached::CachedSource,
    directory::DirectorySource,
    kinds::{Collateral, CollateralRequest},
    source::CollateralSource,
};
use crate::{
    clock::{Clock, SystemClock},
    dcap::PccsSource,
    error::CollateralError,
    snp::{AMD_KDS, KdsSource},
};

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
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
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
    if looks_like_a_host(place) && !Path::new(place).exists() {
        return Err(CollateralError::NoScheme { found: place.to_owned() });
    }
    Ok(Arc::new(CachedSource::new(DirectorySource::new(place), Arc::clone(clock))))
}

/// Whether a text without a scheme is more likely a host than a directory: by a port, by a
/// name that ends in a domain, or by a path that only a PCCS has.
fn looks_like_a_host(place: &str) -> bool {
    if place.starts_with(['/', '.', '~']) {
        return false;
    }
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    has_port || host == "localhost" || host.contains('.') || path.contains("/certification/v")
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
