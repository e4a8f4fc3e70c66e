//! SEV-SNP: a report, the certificate of the key that signed it, and the chain
//! from there to AMD's root (AMD 56860; AMD 57230).
//!
//! Signatures of certificates and CRL that were good once are remembered; the report's
//! own is verified each time.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use x509_parser::{
    certificate::X509Certificate,
    der_parser::{Oid, oid},
    prelude::{CertificateRevocationList, FromDer},
    x509::{AlgorithmIdentifier, X509Name},
};

use super::{
    certificate_table::CertificateTable,
    collateral::{self, SnpCollateral, SnpRequest},
    product::SnpProduct,
    report::{SnpReport, parse_report},
};
use crate::{
    certificate::{
        printable,
        validity::{self, Part},
        x509,
    },
    claims::{Claims, CollateralClaims, Measured, Platform, SnpEndorsement, SnpGuestClaims},
    clock::UnixSeconds,
    error::VerificationError,
    evidence::Evidence,
    measurement::{Endorser, SnpTcb},
    signature,
    trust::{RootCertificate, TrustRoot, TrustedRoots, Vendor},
};

/// RSASSA-PSS (RFC 8017), the one algorithm of AMD's certificates.
const RSASSA_PSS: Oid<'static> = oid!(1.2.840.113549.1.1.10);
/// What AMD writes into the certificates of endorsement keys (AMD 57230, chapter 3).
const BOOTLOADER: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.1);
const TEE: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.2);
const SNP: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.3);
const MICROCODE: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.8);
const FMC: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.9);
const HARDWARE_ID: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.4);
const CLOUD_PROVIDER: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.5);
/// More than any name of a cloud provider.
const MAXIMUM_PROVIDER: usize = 127;

/// A report with the certificate of the key that signed it, both read and neither
/// verified.
pub(crate) struct SnpEvidence<'a> {
    evidence: &'a Evidence,
    report: SnpReport,
    endorsement: &'a [u8],
    product: SnpProduct,
}

impl<'a> SnpEvidence<'a> {
    pub(crate) fn read(evidence: &'a Evidence) -> Result<Self, VerificationError> {
        let report = parse_report(&evidence.bytes)?;
        let malformed = |what| move |reason| VerificationError::Malformed { what, reason };
        let table =
            CertificateTable::parse(&evidence.endorsements).map_err(malformed("certificate table"))?;
        let endorser = report.endorser;
        let Some(endorsement) = table.endorser(endorser) else {
            return Err(VerificationError::Malformed {
                what: "certificate table",
                reason: format!(
                    "it has no certificate of the {endorser} that signed the report; the host gives it to the guest, \
                     or the guest fetches that of a VCEK from AMD (AMD_KDS_URL)"
                ),
            });
        };
        let certificate = x509(endorsement).map_err(malformed("endorsement key certificate"))?;
        let issuer = common_name(certificate.issuer());
        let Some((product, kind)) = issuer.and_then(SnpProduct::of_issuer) else {
            return Err(VerificationError::Unsupported {
                found: format!("an endorsement key issued by {}", printable(certificate.issuer())),
                supported: "those of SEV-Milan, SEV-Genoa and SEV-Turin, and of their VLEK's issuers",
            });
        };
        if kind != endorser {
            return Err(VerificationError::Invalid {
                what: "endorsement key certificate",
                reason: format!("a {endorser} signed the report, and this is the certificate of a {kind}"),
            });
        }
        if report.product.is_some_and(|said| said != product) {
            return Err(VerificationError::Invalid {
                what: "endorsement key certificate",
                reason: format!("it is of a {product} processor, and the report is of another"),
            });
        }
        Ok(Self { evidence, report, endorsement, product })
    }

    /// The collateral that is needed to verify it.
    pub(crate) fn request(&self) -> SnpRequest {
        SnpRequest { product: self.product, endorser: self.report.endorser }
    }

    /// Can a report of this processor chain to a root that is trusted? AMD's roots are
    /// known by their keys. Which processor a simulated root signs for is known only from
    /// its certificate, which comes with collateral.
    pub(crate) fn may_chain_to(&self, trusted: &TrustedRoots) -> Result<(), VerificationError> {
        trusted.any()?;
        let found = self.product.root_key_id();
        let may_be = |root: &TrustRoot| match root.vendor() {
            Vendor::Intel | Vendor::Azure => false,
            Vendor::Amd => root.root_key_id() == found,
            Vendor::Simulation => true,
        };
        if trusted.iter().any(may_be) {
            return Ok(());
        }
        Err(trusted.untrusted(found, format!("AMD's root of {} processors", self.product)))
    }

    /// The claims, if everything holds at this time, under the trusted root that is in
    /// collateral.
    pub(crate) fn verify(
        &self,
        trusted: &TrustedRoots,
        collateral: &SnpCollateral,
        now: UnixSeconds,
    ) -> Result<Claims, VerificationError> {
        let found = RootCertificate::parse(&collateral.root).map_err(|reason| {
            VerificationError::CollateralInvalid { what: "AMD root certificate", reason }
        })?;
        let root = trusted
            .iter()
            .find(|root| root.vendor() != Vendor::Intel && root.root_key_id() == found.key_id)
            .ok_or_else(|| trusted.untrusted(found.key_id, found.subject))?;
        self.claims(root, collateral, now)
    }

    /// The claims, if everything holds: chain, dates, revocation, the report's
    /// signature, and that the key is this chip's and this TCB's.
    fn claims(
        &self,
        root: &TrustRoot,
        collateral: &SnpCollateral,
        now: UnixSeconds,
    ) -> Result<Claims, VerificationError> {
        check_collateral(collateral, now)?;
        let issued = super::collateral::issued(collateral)
            .map_err(|(what, reason)| VerificationError::CollateralInvalid { what, reason })?;
        let endorsement = self.verify_under(&collateral.issuer, now)?;
        if self.report.migration() {
            return Err(VerificationError::Configuration {
                reason:
                    "the guest's policy allows a migration agent (MIGRATE_MA), which could copy its memory \
                         elsewhere"
                        .to_owned(),
            });
        }
        Ok(Claims {
            collateral: Some(CollateralClaims { tcb_evaluation_data_number: None, issued }),
            announced: None,
            vendor: root.vendor(),
            root_key_id: root.root_key_id(),
            debug: self.report.debug(),
            tcb_status: None,
            advisory_ids: BTreeSet::new(),
            platform: Platform { id: hex::encode(self.report.chip_id), fmspc: None, sgx: None },
            report_data: self.report.report_data,
            measured: Measured::Snp {
                measurement: self.report.measurement,
                host_data: self.report.host_data,
                vmpl: self.report.vmpl,
                tcb: self.report.tcb(self.product),
                guest: SnpGuestClaims {
                    endorsement,
                    platform: self.report.platform(),
                    policy: self.report.guest_policy(),
                    guest_svn: self.report.guest_svn,
                    id_key_digest: self.report.id_key_digest,
                    author_key_digest: self.report.author_key_digest,
                },
            },
        })
    }

    /// Has a key that this issuer has certified, for this chip and this TCB, signed the
    /// report? Says which key.
    fn verify_under(&self, issuer: &[u8], now: UnixSeconds) -> Result<SnpEndorsement, VerificationError> {
        let what = "endorsement key certificate";
        let bad = |reason| VerificationError::Invalid { what, reason };
        let issuer = x509(issuer).map_err(bad)?;
        let endorsement = x509(self.endorsement).map_err(bad)?;
        issued_by(self.endorsement, &issuer).map_err(bad)?;
        let Part { from, until, .. } =
            validity::certificate(what, self.endorsement).map_err(|(_, reason)| bad(reason))?;
        if !(from..=until).contains(&now) {
            return Err(VerificationError::EvidenceValidity { what, from, until, now });
        }
        let key = &endorsement.public_key().subject_public_key.data;
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key)
            .verify(SnpReport::signed(&self.evidence.bytes), &self.report.signature)
            .map_err(|_| VerificationError::Invalid {
                what: "SEV-SNP report",
                reason: format!("it is not signed by the {} of its certificate", self.report.endorser),
            })?;
        self.check_endorsement(&endorsement).map_err(bad)
    }

    /// A key is derived from its chip and its TCB, which are in its certificate: the
    /// report must be of the same.
    fn check_endorsement(&self, certificate: &X509Certificate<'_>) -> Result<SnpEndorsement, String> {
        let level = |oid: &Oid<'static>| {
            let value =
                extension(certificate, oid)?.ok_or_else(|| format!("it lacks the extension {oid}"))?;
            level(value).ok_or_else(|| format!("its extension {oid} is no level"))
        };
        let fmc = match self.product {
            SnpProduct::Turin => Some(level(&FMC)?),
            SnpProduct::Milan | SnpProduct::Genoa => None,
        };
        let certified = SnpTcb {
            fmc,
            bootloader: level(&BOOTLOADER)?,
            tee: level(&TEE)?,
            snp: level(&SNP)?,
            microcode: level(&MICROCODE)?,
        };
        let reported = SnpTcb::read(self.product, self.report.reported_tcb);
        if certified != reported {
            return Err(format!("it is for the TCB {certified}, and the report is of {reported}"));
        }
        match self.report.endorser {
            Endorser::Vcek => {
                let value = extension(certificate, &HARDWARE_ID)?.ok_or("it names no chip")?;
                let chip = &self.report.chip_id;
                if hardware_id(self.product, value).as_ref() != Some(chip) {
                    return Err(format!(
                        "it is of the chip {}, and the report is of {}",
                        hex::encode(value),
                        hex::encode(chip)
                    ));
                }
                Ok(SnpEndorsement::Vcek)
            }
            // It is in many chips of one cloud provider.
            Endorser::Vlek => {
                let value = extension(certificate, &CLOUD_PROVIDER)?.ok_or("it names no cloud provider")?;
                let csp_id = text(value).ok_or("the name of its cloud provider is no text")?;
                Ok(SnpEndorsement::Vlek { csp_id: csp_id.to_owned() })
            }
        }
    }
}

/// The chip in a certificate, as a report writes it: 64 bytes, of which Turin uses
/// eight. Newer certificates put an OCTET STRING around it.
fn hardware_id(product: SnpProduct, value: &[u8]) -> Option<[u8; 64]> {
    let length = if product == SnpProduct::Turin { 8 } else { 64 };
    let value = match value {
        [4, inner, id @ ..] if usize::from(*inner) == id.len() && id.len() == length => id,
        id if id.len() == length => id,
        _ => return None,
    };
    let mut id = [0; 64];
    id[..length].copy_from_slice(value);
    Some(id)
}

/// A DER UTF8String, PrintableString or IA5String of printable ASCII.
fn text(value: &[u8]) -> Option<&str> {
    let [0x0c | 0x13 | 0x16, length, text @ ..] = value else { return None };
    let sound = !text.is_empty()
        && text.len() <= MAXIMUM_PROVIDER
        && usize::from(*length) == text.len()
        && text.iter().all(|byte| matches!(byte, b' '..=b'~'));
    str::from_utf8(text).ok().filter(|_| sound)
}

/// A DER INTEGER from 0 to 255.
fn level(value: &[u8]) -> Option<u8> {
    match *value {
        [2, 1, level] if level < 128 => Some(level),
        [2, 2, 0, level] if level >= 128 => Some(level),
        _ => None,
    }
}

fn extension<'c>(
    certificate: &'c X509Certificate<'_>,
    oid: &Oid<'static>,
) -> Result<Option<&'c [u8]>, String> {
    match certificate.get_extension_unique(oid) {
        Ok(extension) => Ok(extension.map(|extension| extension.value)),
        Err(_) => Err(format!("it has the extension {oid} twice")),
    }
}

fn common_name<'n>(name: &'n X509Name<'_>) -> Option<&'n str> {
    let mut names = name.iter_common_name();
    let only = names.next()?.as_str().ok()?;
    names.next().is_none().then_some(only)
}

/// Does what AMD publishes hang together, from the root on, and count now?
fn check_collateral(collateral: &SnpCollateral, now: UnixSeconds) -> Result<(), VerificationError> {
    let invalid = |what| move |reason| VerificationError::CollateralInvalid { what, reason };
    let root = x509(&collateral.root).map_err(invalid("AMD root certificate"))?;
    let issuer = x509(&collateral.issuer).map_err(invalid("AMD issuer certificate"))?;
    issued_by(&collateral.root, &root).map_err(invalid("AMD root certificate"))?;
    issued_by(&collateral.issuer, &root).map_err(invalid("AMD issuer certificate"))?;
    for part in collateral::parts(collateral).map_err(|(what, reason)| invalid(what)(reason))? {
        check_date(&part, now)?;
    }
    check_revocation(&issuer, &root, &collateral.crl)
}

fn check_date(part: &Part, now: UnixSeconds) -> Result<(), VerificationError> {
    let Part { what, from, until, .. } = *part;
    if now < from {
        return Err(VerificationError::CollateralNotYetValid { what, from, now });
    }
    if now > until {
        return Err(VerificationError::CollateralExpired { what, until, now });
    }
    Ok(())
}

fn check_revocation(
    issuer: &X509Certificate<'_>,
    root: &X509Certificate<'_>,
    crl: &[u8],
) -> Result<(), VerificationError> {
    let invalid = |reason| VerificationError::CollateralInvalid { what: "AMD CRL", reason };
    // That nothing follows it was seen when its dates were read.
    let (_, list) = CertificateRevocationList::from_der(crl).map_err(|error| invalid(error.to_string()))?;
    if list.issuer().as_raw() != root.subject().as_raw() {
        return Err(invalid(format!("it is issued by {}", printable(list.issuer()))));
    }
    let (signed, algorithm) = (list.tbs_cert_list.as_ref(), &list.tbs_cert_list.signature);
    verify(root, crl, signed, algorithm, &list.signature_value.data)
        .map_err(|reason| invalid(format!("it is {reason}")))?;
    for (what, certificate) in [("AMD's issuer of endorsement keys", issuer), ("AMD's root", root)] {
        if list.iter_revoked_certificates().any(|revoked| revoked.raw_serial() == certificate.raw_serial()) {
            return Err(VerificationError::Revoked { what, serial: hex::encode(certificate.raw_serial()) });
        }
    }
    Ok(())
}

/// Has `issuer`, a CA, signed `certificate`?
fn issued_by(certificate: &[u8], issuer: &X509Certificate<'_>) -> Result<(), String> {
    let (der, certificate) = (certificate, x509(certificate)?);
    if certificate.issuer().as_raw() != issuer.subject().as_raw() {
        return Err(format!("it is issued by {}", printable(certificate.issuer())));
    }
    if !issuer.is_ca() {
        return Err(format!("{} is no CA", printable(issuer.subject())));
    }
    let signed = certificate.tbs_certificate.as_ref();
    let algorithm = &certificate.tbs_certificate.signature;
    verify(issuer, der, signed, algorithm, &certificate.signature_value.data)
        .map_err(|reason| format!("it is {reason}"))
}

/// Has `signer` signed this part of a certificate or list, and is the rest of it what
/// must be around that?
fn verify(
    signer: &X509Certificate<'_>,
    der: &[u8],
    signed: &[u8],
    algorithm: &AlgorithmIdentifier<'_>,
    signature: &[u8],
) -> Result<(), String> {
    if algorithm.algorithm != RSASSA_PSS {
        return Err(format!("signed with {}, and AMD signs with RSASSA-PSS", algorithm.algorithm));
    }
    if !is_whole(der, signed, signature) {
        return Err("not well-formed around what is signed".to_owned());
    }
    let key = &signer.public_key().subject_public_key.data;
    signature::verify(&RSA_PSS_2048_8192_SHA384, key, signed, signature)
        .map_err(|_| format!("not signed by {}", printable(signer.subject())))
}

/// Is `der` a SEQUENCE of what is signed, of the algorithm's name as it also lies in
/// there (RFC 5280, section 4.1.1.2), and of the signature, and nothing else? All that
/// is not signed is decided by what is, so no byte of it is without meaning.
fn is_whole(der: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    // All of AMD's have two bytes of length.
    let header = |tag: u8, length: usize| match u16::try_from(length).map(u16::to_be_bytes) {
        Ok([high, low]) => vec![tag, 0x82, high, low],
        Err(_) => Vec::new(),
    };
    let before = [header(0x30, der.len().saturating_sub(4)).as_slice(), signed].concat();
    let after = [header(3, signature.len() + 1).as_slice(), &[0], signature].concat();
    let algorithm = der.strip_prefix(&before[..]).and_then(|rest| rest.strip_suffix(&after[..]));
    algorithm.is_some_and(|algorithm| {
        !algorithm.is_empty() && signed.windows(algorithm.len()).any(|window| window == algorithm)
    })
}

#[cfg(test)]
mod tests;
