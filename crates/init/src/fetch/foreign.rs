//! Key sources that are not our broker: what they give, as an answer of ours.

use std::{collections::BTreeMap, sync::Arc};

use adytum_api::names::SecretName;
use adytum_evidence::{attester::Attester, collateral::CollateralSource, verifier::Verifier};
use adytum_sealed::rule::ModelRule;
use adytum_sources::aecs::{AecsClient, AecsName, Server, ServerPolicy};
use async_trait::async_trait;
use zeroize::Zeroizing;

use super::{AttemptError, KeySource};
use crate::{
    answer::{Answer, AnswerError, Item},
    certificate::CertificateKey,
    configuration::{MeasuredConfiguration, PinnedAecs, PinnedAecsServer},
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
                    "allow_unverified_aecs: whoever answers at {address} gives this workload its secrets"
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
        let unknown = |name: &SecretName| AnswerError::new(format!("{name} has no place at AECS"));
        let places = names
            .iter()
            .map(|name| self.names.get(*name).ok_or_else(|| unknown(name)))
            .collect::<Result<Vec<_>, _>>()?;
        let values = self.client.secrets(&places).await?;
        Ok(answer(names, values, &self.models))
    }
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
