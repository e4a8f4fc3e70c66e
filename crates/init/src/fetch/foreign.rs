//! Key sources that are not our broker: what they give, as an answer of ours.

use std::{collections::BTreeMap, sync::Arc};

use adytum_api::names::SecretName;
use adytum_evidence::{attester::Attester, clock::Clock, collateral::CollateralSource, verifier::Verifier};
use adytum_sealed::rule::ModelRule;
use adytum_sources::{
    aecs::{AecsClient, AecsName, Server, ServerPolicy},
    azure::{AzureError, Identity, KeyName, KeyVaultClient, KeyVaultOptions, azure_roots, roots_from_pem},
    kbs::{KbsClient, KbsError, KbsOptions, ResourcePath},
};
use async_trait::async_trait;
use zeroize::Zeroizing;

use super::{AttemptError, KeySource};
use crate::{
    answer::{Answer, AnswerError, Item},
    certificate::CertificateKey,
    configuration::{MeasuredConfiguration, PinnedAecs, PinnedAecsServer, PinnedKbs, PinnedKeyVault},
    secret::{SecretKind, SecretValue},
};

/// The AECS server is believed whatever it is, because the measured configuration says so.
///
/// Do: give `ua_policy_hex_ta_measurement` in `ra_config`, or `[aecs.policy]`, and remove
/// `allow_unverified_aecs`.
///
/// Retry: no
const AECS_UNVERIFIED: &str = "aecs-unverified";

/// How an age identity begins in text.
const AGE_IDENTITY: &[u8] = b"AGE-SECRET-KEY-1";

/// Secrets have no versions there, and nothing is asked for twice.
const ONLY_VERSION: u64 = 1;

/// An AECS server.
pub(crate) struct AecsSource {
    client: AecsClient,
    names: BTreeMap<SecretName, AecsName>,
    models: Vec<ModelRule>,
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
            models: configuration.models().cloned().collect(),
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
        Ok(answer(names, values, &self.models))
    }
}

/// A vault of Azure.
pub(crate) struct VaultSource {
    client: KeyVaultClient,
    names: BTreeMap<SecretName, KeyName>,
    models: Vec<ModelRule>,
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
            models: configuration.models().cloned().collect(),
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
        Ok(answer(names, values, &self.models))
    }
}

/// A KBS of Confidential Containers.
pub(crate) struct KbsSource {
    client: KbsClient,
    names: BTreeMap<SecretName, ResourcePath>,
    models: Vec<ModelRule>,
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
        Ok(Self { client, names: pinned.names.clone(), models: configuration.models().cloned().collect() })
    }
}

#[async_trait]
impl KeySource for KbsSource {
    async fn secrets(
        &self,
        names: &[&SecretName],
        _certificate: Option<&CertificateKey>,
    ) -> Result<Answer, AttemptError> {
        let values = self.client.resources(&places(names, &self.names)?).await?;
        Ok(answer(names, values, &self.models))
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
        Ok(answer(&[], Vec::new(), &[]))
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

/// An answer without a manifest and without a lease. The rules for models are the
/// configuration's.
fn answer(names: &[&SecretName], values: Vec<Zeroizing<Vec<u8>>>, models: &[ModelRule]) -> Answer {
    let item = |(name, value): (&&SecretName, Zeroizing<Vec<u8>>)| {
        let kind = if value.starts_with(AGE_IDENTITY) { SecretKind::AgeIdentity } else { SecretKind::Opaque };
        let value = SecretValue::from_zeroizing(value, kind, ONLY_VERSION);
        (SecretName::clone(name), Item::Value(value))
    };
    Answer {
        items: names.iter().zip(values).map(item).collect(),
        models: models.to_vec(),
        manifest: None,
        lease: None,
    }
}
