//! A token of Azure Attestation (MAA) for this program, over runtime data. (Azure Attestation
//! REST API: attest SGX enclave, TDX VM, SEV-SNP VM.)

use std::{fmt, str::FromStr};

use adytum_evidence::{
    attester::Attester,
    claims::TeeKind,
    collateral::{Collateral, CollateralSource},
    evidence::{Evidence, EvidenceFormat},
    jwt::TokenKeys,
    maa::MaaTrust,
    measurement::{ReportData, Sha256Digest},
    snp::{CertificateTable, parse_report},
    verifier::{collateral_request, parse_dcap},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AzureError,
    service::{Service, get, post_json},
};
use crate::http_exchange::HttpClient;

pub(super) const NAME: &str = "Azure Attestation";

/// A version of the interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiVersion {
    /// The one of Occlum's demo: SGX only, standard base64.
    V2020,
    /// Today's: base64url.
    #[default]
    V2025,
}

impl ApiVersion {
    fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::V2020 => STANDARD.encode(bytes),
            Self::V2025 => URL_SAFE_NO_PAD.encode(bytes),
        }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V2020 => "2020-10-01",
            Self::V2025 => "2025-06-01",
        })
    }
}

impl FromStr for ApiVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::V2020, Self::V2025]
            .into_iter()
            .find(|version| version.to_string() == text)
            .ok_or_else(|| format!("expected 2020-10-01 or 2025-06-01, found {text:?}"))
    }
}

/// What the runtime data are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataType {
    Binary,
    Json,
}

/// An attestation service.
pub struct AttestationService {
    url: String,
    version: ApiVersion,
    http: HttpClient,
}

/// A quote of this program, and the service's answer about it.
pub struct AttestedQuote {
    /// The quote in base64, as it was sent.
    pub quote: String,
    /// The answer as it came: an object with the token.
    pub answer: Value,
}

impl AttestationService {
    /// The service at this URL. `roots` are those that its TLS certificate chains to; nothing
    /// rests on that.
    pub fn new(
        url: &str,
        version: ApiVersion,
        roots: &[rustls_pki_types::CertificateDer<'static>],
    ) -> Result<Self, AzureError> {
        let http = HttpClient::new(roots).map_err(|reason| AzureError::Roots { reason })?;
        Ok(Self::with(url, version, http))
    }

    pub(super) fn with(url: &str, version: ApiVersion, http: HttpClient) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), version, http }
    }

    /// A token over data that are not JSON.
    pub async fn attest(&self, attester: &dyn Attester, data: &[u8]) -> Result<AttestedQuote, AzureError> {
        let evidence = attester.evidence(report_data(data)).await?;
        let request = self.request(&evidence, data, DataType::Binary, None).await?;
        let quote = self.version.encode(&evidence.bytes);
        Ok(AttestedQuote { quote, answer: self.send(request).await? })
    }

    /// A token over runtime data. If they are JSON, the service has them among its claims.
    pub(super) async fn token(
        &self,
        attester: &dyn Attester,
        collateral: Option<&dyn CollateralSource>,
        data: &[u8],
        kind: DataType,
    ) -> Result<String, AzureError> {
        let evidence = attester.evidence(report_data(data)).await?;
        let request = self.request(&evidence, data, kind, collateral).await?;
        let answer = self.send(request).await?;
        let token = answer["token"].as_str().filter(|token| token.matches('.').count() == 2);
        token.map(str::to_owned).ok_or(AzureError::Answer { service: NAME })
    }

    /// The service's name and keys, as it publishes them now. Nothing confirms them but its TLS
    /// certificate, so they are for an owner to compare and to pin.
    pub async fn published(&self) -> Result<MaaTrust, AzureError> {
        #[derive(Deserialize)]
        struct OpenId {
            issuer: String,
        }
        let service = Service { name: NAME, http: &self.http, address: None };
        let OpenId { issuer } =
            service.ask(get(format!("{}/.well-known/openid-configuration", self.url))?).await?;
        let keys: Value = service.ask(get(format!("{}/certs", self.url))?).await?;
        let keys = TokenKeys::parse(keys.to_string().as_bytes())
            .map_err(|_| AzureError::Answer { service: NAME })?;
        Ok(MaaTrust {
            issuer: issuer.chars().filter(|letter| !letter.is_control()).take(200).collect(),
            keys,
        })
    }

    async fn send(&self, (kind, body): (&str, Value)) -> Result<Value, AzureError> {
        let url = format!("{}/attest/{kind}?api-version={}", self.url, self.version);
        let service = Service { name: NAME, http: &self.http, address: None };
        service.ask(post_json(url, body.to_string(), None)?).await
    }

    async fn request(
        &self,
        evidence: &Evidence,
        data: &[u8],
        kind: DataType,
        collateral: Option<&dyn CollateralSource>,
    ) -> Result<(&'static str, Value), AzureError> {
        let encode = |bytes: &[u8]| self.version.encode(bytes);
        let kind = match kind {
            DataType::Binary => "Binary",
            DataType::Json => "JSON",
        };
        let runtime = json!({"data": encode(data), "dataType": kind});
        let unfit = |found: String| AzureError::Platform { found };
        let is_old = self.version == ApiVersion::V2020;
        match evidence.format {
            EvidenceFormat::DcapQuote => {
                let quote = parse_dcap(&evidence.bytes).map_err(|error| unfit(error.to_string()))?;
                let path = match quote.tee {
                    TeeKind::Sgx => "SgxEnclave",
                    TeeKind::Tdx if !is_old => "TdxVm",
                    other => return Err(unfit(format!("{other} with the version {}", self.version))),
                };
                Ok((path, json!({"quote": encode(&evidence.bytes), "runtimeData": runtime})))
            }
            EvidenceFormat::SnpReport if !is_old => {
                let chain = snp_chain(evidence, collateral).await?;
                let report = json!({
                    "SnpReport": encode(&evidence.bytes),
                    "VcekCertChain": encode(chain.as_bytes()),
                });
                let report = encode(report.to_string().as_bytes());
                Ok(("SevSnpVm", json!({"report": report, "runtimeData": runtime})))
            }
            _ => Err(unfit(format!("{} with the version {}", evidence.format, self.version))),
        }
    }
}

/// The report data over runtime data: their SHA-256, and zeros.
fn report_data(runtime: &[u8]) -> ReportData {
    let mut data = [0; 64];
    let (digest, _) = data.split_at_mut(32);
    digest.copy_from_slice(&Sha256Digest::of_bytes(runtime).0);
    ReportData(data)
}

/// The certificates of the key that signed a report: its own, and those above, in PEM.
async fn snp_chain(
    evidence: &Evidence,
    collateral: Option<&dyn CollateralSource>,
) -> Result<String, AzureError> {
    let unfit = |found: String| AzureError::Platform { found };
    let source =
        collateral.ok_or_else(|| unfit("a report whose certificates have no source here".to_owned()))?;
    let report = parse_report(&evidence.bytes).map_err(|error| unfit(error.to_string()))?;
    let table = CertificateTable::parse(&evidence.endorsements).map_err(unfit)?;
    let leaf = table
        .endorser(report.endorser)
        .ok_or_else(|| unfit("a report without its key's certificate".to_owned()))?;
    let request = collateral_request(evidence).map_err(|error| unfit(error.to_string()))?;
    let Collateral::Snp(above) = source.collateral(&request).await? else {
        return Err(unfit("collateral of another vendor".to_owned()));
    };
    let block = |der: &[u8]| {
        let configuration = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(&pem::Pem::new("CERTIFICATE", der), configuration)
    };
    Ok([leaf, &above.issuer, &above.root].map(block).concat())
}
