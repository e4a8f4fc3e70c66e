//! Key sources that are not our broker.

use std::{collections::BTreeMap, sync::Arc};

use adytum_api::names::SecretName;
use adytum_evidence::{attester::Attester, clock::Clock, collateral::CollateralSource, verifier::Verifier};
use adytum_sources::{
    aecs::{AecsClient, AecsName, Server, ServerPolicy},
    azure::{
        AttestationService, AzureError, Identity, KeyName, KeyVaultClient, KeyVaultOptions, TokenAttester,
        azure_roots, roots_from_pem,
    },
    kbs::{KbsClient, KbsError, KbsOptions, ResourcePath, Resources},
};
use async_trait::async_trait;

use super::{AttemptError, KeySource, given::Given};
use crate::{
    answer::{Answer, AnswerError},
    certificate::CertificateKey,
    configuration::{
        MeasuredConfiguration, PinnedAecs, PinnedAecsServer, PinnedAttestationService, PinnedKbs,
        PinnedKeyVault,
    },
    secret::Lease,
};

/// The AECS server is believed whatever it is, because the measured configuration says so.
///
/// Do: give `ua_policy_hex_ta_measurement` in `ra_config`, or `[aecs.policy]`, and remove
/// `allow_unverified_aecs`.
///
/// Retry: no
const AECS_UNVERIFIED: &str = "aecs-unverified";

/// An AECS server.
pub(crate) struct AecsSource {
    client: AecsClient,
    names: BTreeMap<SecretName, AecsName>,
    given: Given,
}

impl AecsSource {
    /// The server at `address`, if it is one that the configuration accepts. `verifier` trusts
    /// the roots that it names.
    pub(crate) fn new(
        pinned: &PinnedAecs,
        configuration: &MeasuredConfiguration,
        address: String,
        verifier: Arc<Verifier>,
        attester: Arc<dyn Attester>,
        collateral: Arc<dyn CollateralSource>,
    ) -> Self {
        let server = match &pinned.server {
            PinnedAecsServer::Verified(report) => Server::Verified {
                verifier,
                policy: Arc::new(ServerPolicy {
                    evidence: report.policy.clone(),
                    user_data: report.user_data.clone(),
                    public_key: report.public_key,
                }),
            },
            PinnedAecsServer::Anyone => {
                tracing::warn!(
                    code = AECS_UNVERIFIED,
                    "allow_unverified_aecs: any server that answers at {address} gives this workload its secrets"
                );
                Server::Anyone
            }
        };
        Self {
            client: AecsClient::new(address, server, attester, collateral),
            names: pinned.names.clone(),
            given: Given::of(configuration),
        }
    }
}

#[async_trait]
impl KeySource for AecsSource {
    async fn secrets(
        &self,
        names: &[&SecretName],
        _certificate: Option<&CertificateKey>,
    ) -> Result<Answer, AttemptError> {
        let values = self.client.secrets(&places(names, &self.names)?).await?;
        Ok(self.given.answer(names, values, None))
    }
}

/// A vault of Azure.
pub(crate) struct VaultSource {
    client: KeyVaultClient,
    names: BTreeMap<SecretName, KeyName>,
    given: Given,
}

impl VaultSource {
    /// The vault that the configuration names, reached at `address` if that is given. Access
    /// tokens are those of the identity that the environment names.
    pub(crate) fn new(
        pinned: &PinnedKeyVault,
        configuration: &MeasuredConfiguration,
        address: Option<String>,
        attester: Arc<dyn Attester>,
        collateral: Option<Arc<dyn CollateralSource>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AttemptError> {
        let roots = match &pinned.roots {
            Some(roots) => roots_from_pem(roots).map_err(|reason| AzureError::Roots { reason })?,
            None => azure_roots(),
        };
        let options = KeyVaultOptions {
            vault: pinned.vault.clone(),
            address,
            attestation: pinned.attestation.clone(),
            wrapping: pinned.wrapping,
            roots,
            identity: Identity::from_environment(|name| std::env::var(name).ok()),
        };
        Ok(Self {
            client: KeyVaultClient::new(options, attester, collateral, clock)?,
            names: pinned.names.clone(),
            given: Given::of(configuration),
        })
    }
}

#[async_trait]
impl KeySource for VaultSource {
    async fn secrets(
        &self,
        names: &[&SecretName],
        _certificate: Option<&CertificateKey>,
    ) -> Result<Answer, AttemptError> {
        let values = self.client.keys(&places(names, &self.names)?).await?;
        Ok(self.given.answer(names, values, None))
    }
}

/// Shows tokens of this service in place of the evidence of `attester`.
pub(crate) fn token_attester(
    pinned: &PinnedAttestationService,
    attester: Arc<dyn Attester>,
    collateral: Option<Arc<dyn CollateralSource>>,
) -> Result<Arc<dyn Attester>, AttemptError> {
    let roots = match &pinned.roots {
        Some(roots) => roots_from_pem(roots).map_err(|reason| AzureError::Roots { reason })?,
        None => azure_roots(),
    };
    let service = AttestationService::new(&pinned.service, Default::default(), &roots)?;
    Ok(Arc::new(TokenAttester::new(service, attester, collateral)))
}

/// A KBS of Confidential Containers.
pub(crate) struct KbsSource {
    client: KbsClient,
    names: BTreeMap<SecretName, ResourcePath>,
    given: Given,
}

impl KbsSource {
    /// The KBS that the configuration names, reached at `address` if that is given.
    pub(crate) fn new(
        pinned: &PinnedKbs,
        configuration: &MeasuredConfiguration,
        address: Option<String>,
        attester: Arc<dyn Attester>,
    ) -> Result<Self, AttemptError> {
        let roots = roots_from_pem(&pinned.roots).map_err(|reason| KbsError::Roots { reason })?;
        let client = KbsClient::new(KbsOptions { url: pinned.url.clone(), address, roots }, attester)?;
        Ok(Self { client, names: pinned.names.clone(), given: Given::of(configuration) })
    }
}

#[async_trait]
impl KeySource for KbsSource {
    async fn secrets(
        &self,
        names: &[&SecretName],
        _certificate: Option<&CertificateKey>,
    ) -> Result<Answer, AttemptError> {
        let Resources { values, lease } = self.client.resources(&places(names, &self.names)?).await?;
        let lease = lease.map(|(duration, grace)| Lease { duration, grace });
        Ok(self.given.answer(names, values, lease))
    }
}

/// Gives nothing to workloads that want nothing.
pub(crate) struct NoSecrets;

#[async_trait]
impl KeySource for NoSecrets {
    async fn secrets(
        &self,
        _names: &[&SecretName],
        _certificate: Option<&CertificateKey>,
    ) -> Result<Answer, AttemptError> {
        Ok(Answer { items: BTreeMap::new(), models: Vec::new(), manifest: None, lease: None })
    }
}

/// What a source calls the secrets.
fn places<'a, T>(
    names: &[&SecretName],
    places: &'a BTreeMap<SecretName, T>,
) -> Result<Vec<&'a T>, AnswerError> {
    let unknown = |name: &SecretName| AnswerError::new(format!("{name} has no place at the source"));
    names.iter().map(|name| places.get(*name).ok_or_else(|| unknown(name))).collect()
}
