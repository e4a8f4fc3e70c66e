//! The forms in which certificates carry evidence: by which extension, and what the
//! evidence is bound to.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use x509_parser::der_parser::{Oid, oid};

use super::key::KeyDigest;

/// TCG DICE tagged evidence.
const TAGGED_EVIDENCE: Oid<'static> = oid!(2.23.133.5.4.9);
const OCCLUM: Oid<'static> = oid!(1.2.840.113741.1);
/// Gramine wrote its arcs as they are here: it begins with two arcs too many.
const GRAMINE: Oid<'static> = oid!(0.6.9.42.840.113741.1337.6);
const RATS_TLS: Oid<'static> = oid!(1.2.840.113741.1337.6);
/// Intel's own PCK certificates have an extension of the same name, with other contents.
const INTEL_SDK: Oid<'static> = oid!(1.2.840.113741.1.13.1);
const OPEN_ENCLAVE: Oid<'static> = oid!(1.3.6.1.4.1.311.105.1);

/// Before Open Enclave's quotes: version (1), kind (2, remote), and the quote's length, as
/// numbers of 4, 4 and 8 bytes, the least significant first.
const REPORT_HEADER: usize = 16;

/// How a certificate carries evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CertificateForm {
    /// Interoperable RA-TLS of the Confidential Computing Consortium: Gramine since 1.8,
    /// rats-tls, Intel's SDK. The evidence is of claims, among them the key's digest.
    Interoperable,
    /// Occlum's gRPC-RATLS: X.509 version 1 with an extension, signed with SHA-1.
    Occlum,
    /// Gramine before 1.8.
    Gramine,
    /// rats-tls before it had the interoperable form.
    RatsTls,
    /// Intel's SGX SDK before it had the interoperable form.
    IntelSdk,
    /// Open Enclave and EGo.
    OpenEnclave,
}

/// A text that names no form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown form of certificates {0:?}; known are {known}", known = AcceptedForms::all())]
pub struct UnknownForm(pub String);

impl CertificateForm {
    /// All forms.
    pub const ALL: [Self; 6] =
        [Self::Interoperable, Self::Occlum, Self::Gramine, Self::RatsTls, Self::IntelSdk, Self::OpenEnclave];

    /// The extension that carries the evidence.
    pub(super) fn extension(self) -> Oid<'static> {
        match self {
            Self::Interoperable => TAGGED_EVIDENCE,
            Self::Occlum => OCCLUM,
            Self::Gramine => GRAMINE,
            Self::RatsTls => RATS_TLS,
            Self::IntelSdk => INTEL_SDK,
            Self::OpenEnclave => OPEN_ENCLAVE,
        }
    }

    /// The digests of the key that may be in the report data; none where claims have it.
    pub(super) fn key_digests(self) -> Option<&'static [KeyDigest]> {
        match self {
            Self::Interoperable => None,
            Self::Occlum | Self::Gramine => Some(&[KeyDigest::PublicKeyInfo]),
            Self::RatsTls => Some(&[KeyDigest::KeyBits]),
            Self::IntelSdk => Some(&[KeyDigest::PemText]),
            // EGo's, and Open Enclave's own.
            Self::OpenEnclave => Some(&[KeyDigest::PublicKeyInfo, KeyDigest::PemText]),
        }
    }

    /// The quote in an extension of this form.
    pub(super) fn quote(self, value: &[u8]) -> Result<&[u8], String> {
        if self != Self::OpenEnclave {
            return Ok(value);
        }
        let Some((header, quote)) = value.split_at_checked(REPORT_HEADER) else {
            return Err(format!("expected a header of {REPORT_HEADER} bytes, found {}", value.len()));
        };
        let number = |at: usize, length: usize| {
            let bytes = header.get(at..at + length).unwrap_or_default();
            bytes.iter().rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte))
        };
        let (version, kind, length) = (number(0, 4), number(4, 4), number(8, 8));
        if (version, kind) != (1, 2) {
            return Err(format!("expected a header of version 1 and kind 2, found {version} and {kind}"));
        }
        if u64::try_from(quote.len()) != Ok(length) {
            return Err(format!("its header says {length} bytes, found {}", quote.len()));
        }
        Ok(quote)
    }
}

impl fmt::Display for CertificateForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Interoperable => "interoperable",
            Self::Occlum => "occlum",
            Self::Gramine => "gramine",
            Self::RatsTls => "rats-tls",
            Self::IntelSdk => "intel-sdk",
            Self::OpenEnclave => "open-enclave",
        })
    }
}

impl FromStr for CertificateForm {
    type Err = UnknownForm;

    fn from_str(text: &str) -> Result<Self, UnknownForm> {
        Self::ALL
            .into_iter()
            .find(|form| form.to_string() == text)
            .ok_or_else(|| UnknownForm(text.to_owned()))
    }
}

/// The forms that are accepted; by default the interoperable one alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedForms(BTreeSet<CertificateForm>);

impl AcceptedForms {
    /// This form and no other.
    pub fn only(form: CertificateForm) -> Self {
        Self(BTreeSet::from([form]))
    }

    /// The interoperable form and these.
    pub fn interoperable_and(named: impl IntoIterator<Item = CertificateForm>) -> Self {
        Self(named.into_iter().chain([CertificateForm::Interoperable]).collect())
    }

    /// All forms.
    pub fn all() -> Self {
        Self::interoperable_and(CertificateForm::ALL)
    }

    /// Is this one accepted?
    pub fn contains(&self, form: CertificateForm) -> bool {
        self.0.contains(&form)
    }
}

impl Default for AcceptedForms {
    fn default() -> Self {
        Self::interoperable_and([])
    }
}

impl fmt::Display for AcceptedForms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, form) in self.0.iter().enumerate() {
            write!(f, "{}{form}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_they_are_printed() {
        for form in CertificateForm::ALL {
            assert_eq!(form.to_string().parse(), Ok(form));
            assert_eq!(serde_json::to_string(&form).unwrap(), format!("\"{form}\""));
        }
        let error = "occlum2".parse::<CertificateForm>().unwrap_err().to_string();
        assert!(error.contains("occlum2") && error.contains("interoperable, occlum, gramine"), "{error}");
    }

    #[test]
    fn only_the_interoperable_form_is_accepted_unasked() {
        let default = AcceptedForms::default();
        for form in CertificateForm::ALL {
            assert_eq!(default.contains(form), form == CertificateForm::Interoperable);
            assert!(AcceptedForms::interoperable_and([form]).contains(CertificateForm::Interoperable));
            for other in CertificateForm::ALL {
                assert_eq!(AcceptedForms::only(form).contains(other), other == form);
            }
        }
    }

    #[test]
    fn open_enclaves_header_must_fit() {
        let form = CertificateForm::OpenEnclave;
        let header = |version: u32, kind: u32, length: u64| {
            [&version.to_le_bytes()[..], &kind.to_le_bytes(), &length.to_le_bytes(), b"quote"].concat()
        };
        assert_eq!(form.quote(&header(1, 2, 5)), Ok(&b"quote"[..]));
        for wrong in [header(2, 2, 5), header(1, 1, 5), header(1, 2, 4), header(1, 2, 6), vec![1; 15]] {
            assert!(form.quote(&wrong).is_err(), "{wrong:?}");
        }
    }
}
