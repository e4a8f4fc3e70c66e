//! One certificate: the requested key, and what the manifest says.

use std::time::Duration;

use adytum_evidence::{clock::UnixSeconds, identity::LengthPrefixed, measurement::Sha256Digest};
use adytum_governance::manifest::{
    Contents,
    certificate::{CertificateRule, CertificateUsage},
};
use aws_lc_rs::rand;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
};
use sha2::Sha256;
use time::OffsetDateTime;

use super::{AuthorityError, CertificateAuthority, RequestedKey, certify};

/// So much before its issue a certificate begins to be valid.
const BACK: Duration = Duration::from_secs(300);
/// The longest common name that X.520 allows.
const MAXIMUM_COMMON_NAME: usize = 64;

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// In PEM, leaf first; without the authority's own certificate, which clients
    /// have.
    pub chain: String,
    pub serial: String,
    pub not_after: UnixSeconds,
}

impl CertificateAuthority {
    /// Certifies this key by this rule. The certificate ends with the authority's at
    /// the latest.
    pub fn issue(
        &self,
        rule: &CertificateRule,
        key: &RequestedKey,
        now: UnixSeconds,
    ) -> Result<IssuedCertificate, AuthorityError> {
        let end = self.certificate.not_after;
        if end <= now {
            return Err(AuthorityError::Expired { not_after: end });
        }
        let not_after = now.plus(rule.lifetime.duration()).min(end);
        let not_before = UnixSeconds(now.0.saturating_sub(BACK.as_secs())).max(self.certificate.not_before);
        let mut parameters = parameters(rule)?;
        let serial = serial_number()?;
        let sign = |parameters: &CertificateParams| parameters.signed_by(key, &self.issuer);
        let leaf = certify(&mut parameters, serial, (not_before, not_after), sign)?;
        let cross = self.cross.as_ref().filter(|cross| cross.not_after > now);
        let chain = std::iter::once(&leaf).chain(cross).map(super::Dated::pem).collect();
        Ok(IssuedCertificate { chain, serial: hex::encode(serial), not_after })
    }

    /// What this authority would put into certificates of these contents, as a digest:
    /// another one means that those issued before are out of date. `rule` is that of
    /// the contents.
    pub(crate) fn terms(&self, contents: &Contents, rule: &CertificateRule) -> Sha256Digest {
        let mut hasher = LengthPrefixed::<Sha256>::new();
        hasher.field(b"adytum certificate terms v1");
        hasher.field(contents.kind().to_string().as_bytes());
        hasher.field(&self.id().0);
        hasher.field(&rule.lifetime.seconds().to_be_bytes());
        for (what, items) in [
            ("dns", rule.dns_names.iter().map(ToString::to_string).collect::<Vec<_>>()),
            ("ip", rule.ip_addresses.iter().map(ToString::to_string).collect()),
            ("usage", rule.usages.iter().map(ToString::to_string).collect()),
        ] {
            hasher.field(what.as_bytes());
            items.iter().for_each(|item| hasher.field(item.as_bytes()));
        }
        if let Contents::SslConfig(_, ssl) = contents {
            hasher.field(if ssl.client_verify { b"verify" } else { b"open" });
            hasher.field(ssl.custom_ca.as_deref().unwrap_or_default().as_bytes());
        }
        Sha256Digest(hasher.finish().into())
    }
}

fn parameters(rule: &CertificateRule) -> Result<CertificateParams, AuthorityError> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    let first = rule.dns_names.first().map(ToString::to_string);
    let first = first.or_else(|| rule.ip_addresses.first().map(ToString::to_string));
    // For people; clients look at the alternative names.
    if let Some(name) = first.filter(|name| name.len() <= MAXIMUM_COMMON_NAME) {
        parameters.distinguished_name.push(DnType::CommonName, name);
    }
    for name in &rule.dns_names {
        let name = name.as_str().try_into().map_err(AuthorityError::cryptography("write a host name"))?;
        parameters.subject_alt_names.push(SanType::DnsName(name));
    }
    parameters.subject_alt_names.extend(rule.ip_addresses.iter().copied().map(SanType::IpAddress));
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = rule
        .usages
        .iter()
        .map(|usage| match usage {
            CertificateUsage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            CertificateUsage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        })
        .collect();
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}

/// Random, positive and of full length (RFC 5280, section 4.1.2.2).
pub(super) fn serial_number() -> Result<[u8; 16], AuthorityError> {
    let mut serial = [0; 16];
    rand::fill(&mut serial).map_err(|_| AuthorityError::Cryptography {
        what: "draw a serial number",
        reason: "the system's random generator failed".to_owned(),
    })?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

/// The last moment that X.509 can write: 9999-12-31T23:59:59Z.
const LAST: u64 = 253_402_300_799;

pub(super) fn date(at: UnixSeconds) -> OffsetDateTime {
    i64::try_from(at.0.min(LAST))
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
