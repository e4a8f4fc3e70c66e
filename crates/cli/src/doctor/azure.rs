//! `adytum doctor --maa`: an attestation service of Azure, as far as it can be seen from outside.

use std::time::Duration;

use adytum_sources::azure::{ApiVersion, AttestationService, AzureError, azure_roots};
use tokio::time::timeout;

use super::Finding;

const PART: &str = "MAA";
/// How long the service may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The service at this URL: whether it answers, its name and its keys, and what it does not do.
pub(super) async fn findings(url: &str) -> Vec<Finding> {
    let mut findings = vec![published(url).await];
    findings.push(Finding::warning(
        PART,
        "it accepts SGX evidence only with Azure's own collateral (THIM), so not that of machines elsewhere",
        "on another cloud let the broker verify quotes itself: leave azure out of [trust], and give it a PCCS",
    ));
    findings
}

async fn published(url: &str) -> Finding {
    let service = match AttestationService::new(url, ApiVersion::default(), &azure_roots()) {
        Ok(service) => service,
        Err(error) => return Finding::wrong(PART, format!("{url}: {error}"), "correct the URL"),
    };
    let reach = "check the URL (https://NAME.REGION.attest.azure.net), and that this machine may reach it";
    match timeout(PATIENCE, service.published()).await {
        Err(_) => Finding::wrong(PART, format!("{url}: no answer within {} s", PATIENCE.as_secs()), reach),
        Ok(Err(error @ AzureError::Unreachable { .. })) => Finding::wrong(PART, error.to_string(), reach),
        Ok(Err(error)) => Finding::wrong(
            PART,
            format!("{url}: {error}"),
            "check that it is an attestation service of Azure, and no gateway that answers in its place",
        ),
        Ok(Ok(service)) if !service.keys.verify_anything() => Finding::wrong(
            PART,
            format!("{}: none of its keys can verify a token", service.issuer),
            "check that it is an attestation service of Azure",
        ),
        Ok(Ok(service)) if service.issuer != url.trim_end_matches('/') => Finding::warning(
            PART,
            format!("its tokens name the issuer {}, and it was reached as {url}", service.issuer),
            "write the issuer as its tokens have it in [[trust.azure]] and in --issuer",
        ),
        Ok(Ok(service)) => {
            let names = service.keys.names().collect::<Vec<_>>().join(", ");
            Finding::good(PART, format!("{} answers; its keys are {names}", service.issuer))
        }
    }
}
