//! AMD's Key Distribution Service (AMD 57230, chapter 4).

use std::sync::Arc;

use super::{
    collateral::{SnpCollateral, SnpRequest, VcekRequest},
    product::SnpProduct,
};
use crate::{
    certificate::chain::parse_issuer_chain,
    error::CollateralError,
    http_get::{self, malformed},
    measurement::SnpTcb,
};

/// AMD's own service.
pub const AMD_KDS: &str = "https://kdsintf.amd.com";

/// A Key Distribution Service, AMD's or a mirror. Not trusted: what it serves is
/// signed.
#[derive(Clone, Debug)]
pub struct KdsSource {
    /// Scheme, host, port and the path before `/vcek/v1`.
    base: String,
}

impl KdsSource {
    /// The service at this URL, such as [`AMD_KDS`].
    pub fn new(url: &str) -> Result<Self, CollateralError> {
        let base = http_get::Base::new(url)?;
        Ok(Self { base: base.url.trim_end_matches('/').to_owned() })
    }

    fn at(&self, request: &SnpRequest, what: &str) -> String {
        let SnpRequest { product, endorser } = request;
        format!("{}/{}/v1/{product}/{what}", self.base, endorser.to_string().to_lowercase())
    }

    /// Fetches the certificates above endorsement keys of this kind, and their CRL.
    pub async fn fetch(&self, request: &SnpRequest) -> Result<Arc<SnpCollateral>, CollateralError> {
        let (chain_url, crl_url) = (self.at(request, "cert_chain"), self.at(request, "crl"));
        let (chain, crl) = tokio::try_join!(
            http_get::fetch("AMD certificate chain", &chain_url),
            http_get::fetch("AMD CRL", &crl_url)
        )?;
        let [issuer, root] = std::str::from_utf8(&chain.body)
            .map_err(|error| error.to_string())
            .and_then(parse_issuer_chain)
            .map_err(|reason| malformed(&chain_url, "AMD certificate chain", reason))?;
        Ok(Arc::new(SnpCollateral { issuer, root, crl: crl.body.to_vec() }))
    }

    /// Fetches the certificate of a chip's endorsement key, in DER.
    pub async fn vcek(&self, request: &VcekRequest) -> Result<Arc<[u8]>, CollateralError> {
        let SnpTcb { fmc, bootloader, tee, snp, microcode } =
            SnpTcb::read(request.product, request.reported_tcb);
        let fmc = match (request.product, fmc) {
            (SnpProduct::Turin, Some(fmc)) => format!("fmcSPL={fmc:02}&"),
            _ => String::new(),
        };
        let url = format!(
            "{}/vcek/v1/{}/{}?{fmc}blSPL={bootloader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}",
            self.base,
            request.product,
            request.hardware_id()
        );
        Ok(http_get::fetch("VCEK certificate", &url).await?.body.to_vec().into())
    }
}
