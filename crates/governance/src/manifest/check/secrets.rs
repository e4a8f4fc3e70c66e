//! `[leases]` and `[[secret]]`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    ops::RangeInclusive,
};

use adytum_api::names::{SecretName, WorkloadName};

use super::{
    distinct, duplicate,
    places::{Places, Section},
};
use crate::{
    manifest::{
        Contents, DEFAULT_RANDOM_LENGTH, Lease, ManifestError, SecretRule, Workload,
        certificate::{CertificateRule, MAXIMUM_CERTIFICATE_NAMES, MAXIMUM_CUSTOM_CA_LENGTH, SslConfigRule},
        document::{CertificateTable, LeasesTable, SecretTable},
        duration::WrittenDuration,
        error::Place,
        protocols::{OtherNames, OtherProtocols},
    },
    secrets::SecretKind,
};

const fn days(days: u32) -> WrittenDuration {
    WrittenDuration::from_seconds(days * 86_400)
}

const LEASES: RangeInclusive<WrittenDuration> = WrittenDuration::from_seconds(10)..=days(30);
const GRACES: RangeInclusive<WrittenDuration> = WrittenDuration::from_seconds(0)..=days(30);
const LIFETIMES: RangeInclusive<WrittenDuration> = WrittenDuration::from_seconds(600)..=days(90);
const RANDOM_LENGTHS: RangeInclusive<usize> = 16..=4096;

pub(super) fn leases(places: &Places<'_>, table: LeasesTable) -> Result<Lease, ManifestError> {
    let place = |field| places.of_table("leases", field);
    Ok(Lease {
        duration: within(table.duration, &LEASES, || place("duration"))?,
        grace: within(table.grace, &GRACES, || place("grace"))?,
    })
}

pub(super) fn secrets(
    places: &Places<'_>,
    tables: Vec<SecretTable>,
    workloads: &BTreeMap<WorkloadName, Workload>,
    defaults: Lease,
) -> Result<(BTreeMap<SecretName, SecretRule>, OtherNames), ManifestError> {
    let (mut secrets, mut others) = (BTreeMap::new(), OtherNames::default());
    for mut table in tables {
        let name = table.name.clone();
        let place = |field| places.of(Section::Secret, name.as_str(), field);
        let who = distinct(std::mem::take(&mut table.workloads), || place("workloads"))?;
        if who.is_empty() {
            return Err(ManifestError::WithoutEffect {
                place: place("workloads"),
                reason: "nobody may have this secret; name a workload, or remove it".to_owned(),
            });
        }
        if let Some(unknown) = who.iter().find(|workload| !workloads.contains_key(*workload)) {
            return Err(ManifestError::Dangling {
                place: place("workloads"),
                kind: "[[workload]]",
                name: unknown.to_string(),
            });
        }
        if secrets.contains_key(&name) {
            return Err(duplicate(places, Section::Secret, name.as_str()));
        }
        let lease = Lease {
            duration: within(table.lease.unwrap_or(defaults.duration), &LEASES, || place("lease"))?,
            grace: within(table.grace.unwrap_or(defaults.grace), &GRACES, || place("grace"))?,
        };
        let protocols = OtherProtocols { occlum: table.occlum, kbs_resource: table.kbs_resource.take() };
        let contents = contents(table, lease, &place)?;
        if let (Some(field), Some(_)) = (protocols.field(), contents.certificate()) {
            return Err(ManifestError::WithoutEffect {
                place: place(field),
                reason: "a certificate is issued for a key that the replica's request has, and this protocol carries \
                         no such request; remove it"
                    .to_owned(),
            });
        }
        if let Err((field, other)) = others.insert(&name, &protocols) {
            return Err(ManifestError::Duplicate { place: place(field), name: other });
        }
        secrets.insert(name, SecretRule { contents, workloads: who, lease, protocols });
    }
    Ok((secrets, others))
}

fn contents(
    table: SecretTable,
    lease: Lease,
    place: &impl Fn(&'static str) -> Place,
) -> Result<Contents, ManifestError> {
    let SecretTable { kind, length, certificate, .. } = table;
    let without_effect = |field, reason: &str| {
        Err(ManifestError::WithoutEffect { place: place(field), reason: reason.to_owned() })
    };
    if length.is_some() && kind != SecretKind::Random {
        return without_effect("length", "only secrets of the kind \"random\" have one; remove it");
    }
    match (kind, certificate) {
        (SecretKind::TlsCertificate | SecretKind::SslConfig, None) => Err(ManifestError::Value {
            place: place("certificate"),
            reason: "what shall stand in the certificate? Give [secret.certificate]".to_owned(),
        }),
        (SecretKind::Opaque | SecretKind::AgeIdentity | SecretKind::Random, Some(_)) => without_effect(
            "certificate",
            "only the kinds \"tls-certificate\" and \"ssl-config\" have one; remove it",
        ),
        (SecretKind::Opaque, None) => Ok(Contents::Opaque),
        (SecretKind::AgeIdentity, None) => Ok(Contents::AgeIdentity),
        (SecretKind::Random, None) => {
            let length =
                within(length.unwrap_or(DEFAULT_RANDOM_LENGTH), &RANDOM_LENGTHS, || place("length"))?;
            Ok(Contents::Random { length })
        }
        (SecretKind::TlsCertificate, Some(table)) => {
            if table.client_verify || table.custom_ca.is_some() {
                return without_effect(
                    "certificate",
                    "`client_verify` and `custom_ca` are of the kind \"ssl-config\"; remove them",
                );
            }
            Ok(Contents::TlsCertificate(certificate_rule(table, lease, place)?))
        }
        (SecretKind::SslConfig, Some(mut table)) => {
            let custom_ca = table.custom_ca.take().map(|pem| custom_ca(pem, place)).transpose()?;
            if custom_ca.is_some() && !table.client_verify {
                return without_effect("certificate", "`custom_ca` counts only with `client_verify = true`");
            }
            let ssl = SslConfigRule { client_verify: table.client_verify, custom_ca };
            Ok(Contents::SslConfig(certificate_rule(table, lease, place)?, ssl))
        }
    }
}

fn certificate_rule(
    table: CertificateTable,
    lease: Lease,
    place: &impl Fn(&'static str) -> Place,
) -> Result<CertificateRule, ManifestError> {
    let value = |field, reason: String| Err(ManifestError::Value { place: place(field), reason });
    let CertificateTable { dns_names, ip_addresses, usages, lifetime, .. } = table;
    let names = dns_names.len() + ip_addresses.len();
    if !(1..=MAXIMUM_CERTIFICATE_NAMES).contains(&names) {
        let reason = format!(
            "expected 1 to {MAXIMUM_CERTIFICATE_NAMES} names in `dns_names` and `ip_addresses` together, found {names}"
        );
        return value("certificate.dns_names", reason);
    }
    if usages.is_empty() {
        return value("certificate.usages", "expected \"server\", \"client\" or both, found none".to_owned());
    }
    if let Some(address) = ip_addresses.iter().find(|ip| ip.is_unspecified() || ip.is_multicast()) {
        return value("certificate.ip_addresses", format!("{address} is no address of one host"));
    }
    all_distinct(&dns_names, || place("certificate.dns_names"))?;
    all_distinct(&ip_addresses, || place("certificate.ip_addresses"))?;
    all_distinct(&usages, || place("certificate.usages"))?;
    let lifetime = within(lifetime, &LIFETIMES, || place("certificate.lifetime"))?;
    // A replica comes back after a third of the lease, and renews a certificate that
    // has less than a third of its lifetime left: it must come back in time.
    if lease.duration.seconds() > lifetime.seconds() / 2 {
        let reason = format!(
            "the lease is {}, and a replica would come back too late to renew a certificate with a lifetime of \
             {lifetime}; give the secret a `lease` of at most half of it, or a longer lifetime",
            lease.duration
        );
        return value("certificate.lifetime", reason);
    }
    Ok(CertificateRule { dns_names, ip_addresses, usages, lifetime })
}

fn custom_ca(pem: String, place: &impl Fn(&'static str) -> Place) -> Result<String, ManifestError> {
    let value = |reason: String| Err(ManifestError::Value { place: place("certificate.custom_ca"), reason });
    if pem.len() > MAXIMUM_CUSTOM_CA_LENGTH {
        return value(format!("it has {} bytes; at most {MAXIMUM_CUSTOM_CA_LENGTH} are allowed", pem.len()));
    }
    let blocks = match pem::parse_many(&pem) {
        Ok(blocks) if !blocks.is_empty() => blocks,
        Ok(_) => return value("expected certificates in PEM, found none".to_owned()),
        Err(error) => return value(format!("expected certificates in PEM: {error}")),
    };
    for block in &blocks {
        let whole = |rest: &[u8]| rest.is_empty();
        let certificate = x509_parser::parse_x509_certificate(block.contents());
        if block.tag() != "CERTIFICATE" || !certificate.is_ok_and(|(rest, _)| whole(rest)) {
            return value(format!("expected certificates in PEM, found a {} that is none", block.tag()));
        }
    }
    Ok(pem)
}

fn within<T: PartialOrd + Display>(
    found: T,
    bounds: &RangeInclusive<T>,
    place: impl Fn() -> Place,
) -> Result<T, ManifestError> {
    if bounds.contains(&found) {
        return Ok(found);
    }
    let reason = format!("expected {} to {}, found {found}", bounds.start(), bounds.end());
    Err(ManifestError::Value { place: place(), reason })
}

fn all_distinct<T: Ord + ToString>(items: &[T], place: impl Fn() -> Place) -> Result<(), ManifestError> {
    let mut seen = BTreeSet::new();
    match items.iter().find(|item| !seen.insert(*item)) {
        Some(twice) => Err(ManifestError::Duplicate { place: place(), name: twice.to_string() }),
        None => Ok(()),
    }
}
