//! What a workload gets, as an answer; certificates are issued for it.

use std::collections::BTreeMap;

use adytum_api::{broker, names::SecretName};
use adytum_evidence::clock::UnixSeconds;
use adytum_governance::{
    decide::{Grant, GrantedSecret},
    manifest::{
        Contents, ManifestInForce,
        certificate::{CertificateRule, SslConfigRule},
    },
};
use adytum_sealed::rule::ModelRule;

use super::ReleaseError;
use crate::certificate_authority::{CertificateAuthority, IssuedCertificate, RequestedKey};

/// The certificates among what was granted.
pub(super) struct Certificates<'a> {
    authority: Option<&'a CertificateAuthority>,
    now: UnixSeconds,
    /// Empty when the peer did not ask for any.
    issued: BTreeMap<SecretName, IssuedCertificate>,
}

impl<'a> Certificates<'a> {
    /// Issues those that were granted for the key of this request (DER). An empty
    /// request asks for none.
    pub(super) fn issue(
        authority: Option<&'a CertificateAuthority>,
        grant: &Grant<'_>,
        request: &[u8],
        now: UnixSeconds,
    ) -> Result<Self, ReleaseError> {
        let mut issued = BTreeMap::new();
        let mut granted = grant.secrets.iter().filter_map(|one| Some((one, rule(one)?))).peekable();
        if let Some(authority) = authority
            && !request.is_empty()
            && granted.peek().is_some()
        {
            let key = RequestedKey::parse(request)?;
            for (secret, rule) in granted {
                issued.insert(secret.name.clone(), authority.issue(rule, &key, now)?);
            }
        }
        Ok(Self { authority, now, issued })
    }

    /// For the record of a grant: which certificate it was.
    pub(super) fn described(&self, secret: &GrantedSecret<'_>) -> String {
        match (rule(secret), self.issued.get(&secret.name)) {
            (None, _) => String::new(),
            (Some(_), None) => "; no certificate asked for".to_owned(),
            (Some(_), Some(issued)) => format!("; certificate {} until {}", issued.serial, issued.not_after),
        }
    }

    /// The whole answer but the head.
    pub(super) fn answer(
        mut self,
        grant: &Grant<'_>,
        manifest: Option<ManifestInForce>,
    ) -> broker::GetSecretsResponse {
        let (manifest_version, manifest_digest) = ManifestInForce::to_wire(manifest);
        broker::GetSecretsResponse {
            secrets: grant.secrets.iter().map(|secret| self.secret(secret)).collect(),
            models: grant.models.iter().map(|rule| model(rule)).collect(),
            manifest_version,
            manifest_digest,
            lease_seconds: grant.lease.duration.seconds(),
            grace_seconds: grant.lease.grace.seconds(),
            head: None,
        }
    }

    fn secret(&mut self, secret: &GrantedSecret<'_>) -> broker::Secret {
        let mut wire = broker::Secret {
            name: secret.name.to_string(),
            kind: secret.kind.to_wire().into(),
            version: secret.version,
            ..broker::Secret::default()
        };
        if rule(secret).is_none() {
            wire.value = secret.value.expose().to_vec();
        } else if let Some(IssuedCertificate { chain, not_after, .. }) = self.issued.remove(&secret.name) {
            wire.value = chain.into_bytes();
            wire.not_after = not_after.0;
        }
        if let Some(Contents::SslConfig(_, ssl)) = secret.rule.map(|rule| &rule.contents) {
            wire.ssl_config = Some(self.ssl_config(ssl));
        }
        wire
    }

    fn ssl_config(&self, rule: &SslConfigRule) -> broker::SslConfigRule {
        let own = || self.authority.map(|authority| authority.bundle(self.now)).unwrap_or_default();
        let custom_ca = match (rule.client_verify, &rule.custom_ca) {
            (false, _) => String::new(),
            (true, Some(custom)) => custom.clone(),
            (true, None) => own(),
        };
        broker::SslConfigRule { client_verify: rule.client_verify, custom_ca: custom_ca.into_bytes() }
    }
}

fn rule<'a>(secret: &GrantedSecret<'a>) -> Option<&'a CertificateRule> {
    secret.rule.and_then(|rule| rule.contents.certificate())
}

fn model(rule: &ModelRule) -> broker::ModelRule {
    broker::ModelRule {
        name: rule.name.to_string(),
        signers: rule.signers.iter().map(|signer| signer.0.to_vec()).collect(),
        minimum_version: rule.minimum_version,
        digests: rule.digests.iter().map(|digest| digest.0.to_vec()).collect(),
    }
}
