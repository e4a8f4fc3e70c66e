//! Collateral from a PCCS, or from Intel's PCS, over HTTP (Intel SGX PCCS,
//! API version 4; Intel PCS API documentation).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::collateral::{DcapRequest, QuoteCollateralV3};
use crate::{
    error::CollateralError,
    http_get::{Answer, Base, fetch, malformed},
};

/// Intel's PCS has no path for its root CRL; it lies here instead, as the root
/// certificate's CRL distribution point says.
const INTEL_PCS: &str = "api.trustedservices.intel.com";
const INTEL_ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/// A PCCS. Not trusted: what it serves is signed.
#[derive(Clone, Debug)]
pub struct PccsSource {
    /// Scheme, host, port and the path before `/sgx/certification/v4`.
    base: String,
    host: String,
}

impl PccsSource {
    /// The PCCS at this URL: `http://host:8081`, or with the path that other
    /// software wants written, `https://host:8081/sgx/certification/v4/`. A path of version 3,
    /// which the reference deployment has, means the same service: version 4 is asked.
    pub fn new(url: &str) -> Result<Self, CollateralError> {
        let Base { url: base, host } = Base::new(url)?;
        let base = ["/sgx/certification/v4", "/tdx/certification/v4", "/sgx/certification/v3"]
            .into_iter()
            .find_map(|path| base.strip_suffix(path))
            .unwrap_or(&base);
        Ok(Self { host, base: base.trim_end_matches('/').to_owned() })
    }

    async fn pck_crl(&self, request: &DcapRequest) -> Result<(Vec<u8>, String), CollateralError> {
        let what = "PCK CRL";
        let url = format!("{}/sgx/certification/v4/pckcrl?ca={}&encoding=der", self.base, request.ca);
        let answer = fetch(what, &url).await?;
        let chain = issuer_chain(&answer, &["SGX-PCK-CRL-Issuer-Chain"])
            .map_err(|reason| malformed(&url, what, reason))?;
        Ok((der(&answer.body), chain))
    }

    async fn root_crl(&self) -> Result<Vec<u8>, CollateralError> {
        let own;
        let url = if self.host == INTEL_PCS {
            INTEL_ROOT_CRL
        } else {
            own = format!("{}/sgx/certification/v4/rootcacrl", self.base);
            &own
        };
        Ok(der(&fetch("root CA CRL", url).await?.body))
    }

    async fn tcb_info(&self, request: &DcapRequest, update: Update) -> Result<Signed, CollateralError> {
        #[derive(Deserialize)]
        struct TcbInfo<'a> {
            #[serde(borrow, rename = "tcbInfo")]
            body: &'a RawValue,
            signature: &'a str,
        }
        let what = "TCB info";
        let url = format!(
            "{}/{}/certification/v4/tcb?fmspc={}{}",
            self.base,
            request.tee,
            request.fmspc,
            update.parameter('&')
        );
        let answer = fetch(what, &url).await?;
        let read = || {
            let TcbInfo { body, signature } = parse(&answer.body)?;
            let chain = issuer_chain(&answer, &["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"])?;
            Signed::new(body, signature, chain)
        };
        read().map_err(|reason| malformed(&url, what, reason))
    }

    async fn qe_identity(&self, request: &DcapRequest, update: Update) -> Result<Signed, CollateralError> {
        #[derive(Deserialize)]
        struct QeIdentity<'a> {
            #[serde(borrow, rename = "enclaveIdentity")]
            body: &'a RawValue,
            signature: &'a str,
        }
        let what = "QE identity";
        let url =
            format!("{}/{}/certification/v4/qe/identity{}", self.base, request.tee, update.parameter('?'));
        let answer = fetch(what, &url).await?;
        let read = || {
            let QeIdentity { body, signature } = parse(&answer.body)?;
            let chain = issuer_chain(&answer, &["SGX-Enclave-Identity-Issuer-Chain"])?;
            Signed::new(body, signature, chain)
        };
        read().map_err(|reason| malformed(&url, what, reason))
    }

    /// Fetches the collateral for DCAP quotes of this kind.
    pub async fn fetch(&self, request: &DcapRequest) -> Result<Arc<QuoteCollateralV3>, CollateralError> {
        self.fetch_update(request, Update::Standard).await
    }

    /// Fetches what will count after the TCB recovery that is under way. `None` from a
    /// service that has no early collateral.
    pub async fn fetch_early(
        &self,
        request: &DcapRequest,
    ) -> Result<Option<Arc<QuoteCollateralV3>>, CollateralError> {
        match self.fetch_update(request, Update::Early).await {
            Ok(collateral) => Ok(Some(collateral)),
            Err(CollateralError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn fetch_update(
        &self,
        request: &DcapRequest,
        update: Update,
    ) -> Result<Arc<QuoteCollateralV3>, CollateralError> {
        let ((pck_crl, pck_crl_issuer_chain), root_ca_crl, tcb_info, qe_identity) = tokio::try_join!(
            self.pck_crl(request),
            self.root_crl(),
            self.tcb_info(request, update),
            self.qe_identity(request, update),
        )?;
        Ok(Arc::new(QuoteCollateralV3 {
            pck_crl_issuer_chain,
            root_ca_crl,
            pck_crl,
            tcb_info_issuer_chain: tcb_info.chain,
            tcb_info: tcb_info.body,
            tcb_info_signature: tcb_info.signature,
            qe_identity_issuer_chain: qe_identity.chain,
            qe_identity: qe_identity.body,
            qe_identity_signature: qe_identity.signature,
            pck_certificate_chain: None,
        }))
    }
}

/// Which of Intel's evaluations is asked for (Intel PCS API, parameter `update`).
#[derive(Clone, Copy)]
enum Update {
    /// The one that counts; what the service gives unasked.
    Standard,
    /// The newest one, from the day of disclosure on.
    Early,
}

impl Update {
    fn parameter(self, separator: char) -> String {
        match self {
            Self::Standard => String::new(),
            Self::Early => format!("{separator}update=early"),
        }
    }
}

/// A signed JSON document: its bytes exactly as signed.
struct Signed {
    body: String,
    signature: Vec<u8>,
    chain: String,
}

impl Signed {
    fn new(body: &RawValue, signature: &str, chain: String) -> Result<Self, String> {
        let signature = hex::decode(signature).map_err(|error| format!("signature: {error}"))?;
        Ok(Self { body: body.get().to_owned(), signature, chain })
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// A PCCS serves CRLs as DER or as hexadecimal text, by version and path.
fn der(body: &[u8]) -> Vec<u8> {
    std::str::from_utf8(body)
        .ok()
        .and_then(|text| hex::decode(text.trim()).ok())
        .unwrap_or_else(|| body.to_vec())
}

fn issuer_chain(answer: &Answer, names: &[&str]) -> Result<String, String> {
    let value = names
        .iter()
        .find_map(|name| answer.headers.get(*name))
        .ok_or_else(|| format!("the answer has no header {}", names.join(" or ")))?;
    percent_decoded(value.as_bytes()).ok_or_else(|| "the issuer chain is not percent-encoded text".to_owned())
}

/// RFC 3986, section 2.1.
fn percent_decoded(text: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let digits = rest.get(..2)?;
            rest = rest.get(2..)?;
            let mut byte = [0];
            hex::decode_to_slice(digits, &mut byte).ok()?;
            decoded.extend(byte);
        } else {
            decoded.push(*first);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_way_to_write_the_url_means_the_same() {
        for url in [
            "http://127.0.0.1:8081",
            "http://127.0.0.1:8081/",
            "http://127.0.0.1:8081/sgx/certification/v4",
            "http://127.0.0.1:8081/sgx/certification/v4/",
            "http://127.0.0.1:8081/tdx/certification/v4/",
            "http://127.0.0.1:8081/sgx/certification/v3",
            "http://127.0.0.1:8081/sgx/certification/v3/",
        ] {
            assert_eq!(PccsSource::new(url).unwrap().base, "http://127.0.0.1:8081", "{url}");
        }
        assert_eq!(PccsSource::new("https://host/cache/").unwrap().base, "https://host/cache");
    }

    #[test]
    fn what_is_no_url_of_a_pccs_is_refused() {
        for url in ["", "ftp://host", "http://", "http://host/?q=1", "http://a b/"] {
            let error = PccsSource::new(url).unwrap_err();
            assert_eq!(error.code(), "collateral-url", "{url}: {error}");
        }
    }

    #[test]
    fn a_url_without_a_scheme_is_named_as_that() {
        for url in ["host", "host:8081", "localhost:8081/sgx/certification/v3/", "[::1]:8081"] {
            let error = PccsSource::new(url).unwrap_err();
            assert_eq!(error.code(), "collateral-url-without-scheme", "{url}: {error}");
            assert!(error.to_string().contains(&format!("write http://{url} or https://{url}")), "{error}");
        }
    }

    #[test]
    fn crls_come_as_der_or_as_hexadecimal() {
        assert_eq!(der(&[0x30, 0x82]), [0x30, 0x82]);
        assert_eq!(der(b"3082\n"), [0x30, 0x82]);
    }

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(percent_decoded(b"-----BEGIN%20X%2b+").as_deref(), Some("-----BEGIN X++"));
        for bad in [&b"%"[..], b"%4", b"%zz", b"%ff"] {
            assert_eq!(percent_decoded(bad), None);
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = percent_decoded(&bytes);
        }
    }
}
