//! The report on a thing.

use std::fmt;

use adytum_evidence::{
    claims::Claims,
    clock::UnixSeconds,
    evidence::Evidence,
    policy::{Failure, PolicyRefusal},
    ra_tls::{CertificateForm, KeyDigest, NotCovered, RaTlsCertificate},
    unverified,
};
use anyhow::Context;
use serde::Serialize;
use serde_json::{Map, Value};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{
    claims::{described, warn_of_simulation},
    output,
};

/// The width of the column of names.
const NAMES: usize = 12;

/// How it ends for a thing that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// The evidence is genuine. No policy was given, so no code is accepted.
    Genuine,
    /// The policy accepts it.
    Accepted,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Genuine => "genuine; no policy was given, so no code is accepted (--policy)",
            Self::Accepted => "accepted: genuine, and every rule of the policy holds",
        })
    }
}

/// The report on a thing; for programs as it is.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    what: Option<String>,
    /// The time that it was judged by.
    at: UnixSeconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<TokenReport>,
    /// What evidence says that is not verified.
    #[serde(rename = "unverified", skip_serializing_if = "Map::is_empty")]
    says: Map<String, Value>,
    /// What verified evidence says.
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<Claims>,
    /// The rules of the policy that do not hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<Failure>,
    /// Other facts, by their names.
    #[serde(skip_serializing_if = "Map::is_empty")]
    more: Map<String, Value>,
    /// "genuine", "accepted", "refused" or "not-verified".
    verdict: &'static str,
}

/// What a certificate says of itself, and what its evidence does not cover.
#[derive(Debug, Serialize)]
pub(crate) struct CertificateReport {
    /// How it carries evidence; none of a plain certificate.
    pub(super) form: Option<CertificateForm>,
    subject: String,
    issuer: String,
    from: UnixSeconds,
    until: UnixSeconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_digest: Option<KeyDigest>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    not_covered: &'static [NotCovered],
}

/// What a token says.
#[derive(Debug, Serialize)]
pub(crate) struct TokenReport {
    pub(super) algorithm: String,
    pub(super) key: Option<String>,
    /// Has a pinned key of the expected issuer signed it?
    pub(super) verified: bool,
    pub(super) claims: Map<String, Value>,
}

impl CertificateReport {
    /// Of a certificate in DER or PEM.
    pub(super) fn of(bytes: &[u8]) -> anyhow::Result<Self> {
        let form = RaTlsCertificate::recognise(bytes)?;
        let contents;
        let der = match bytes.starts_with(b"-----BEGIN") {
            true => {
                contents = pem::parse(bytes).context("the certificate")?.into_contents();
                &contents
            }
            false => bytes,
        };
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| input_error!("not a certificate: {error}; give another"))?;
        let seconds = |time: i64| UnixSeconds(u64::try_from(time).unwrap_or(0));
        Ok(Self {
            form,
            subject: printable(&certificate.subject().to_string()),
            issuer: printable(&certificate.issuer().to_string()),
            from: seconds(certificate.validity().not_before.timestamp()),
            until: seconds(certificate.validity().not_after.timestamp()),
            key_digest: None,
            not_covered: &[],
        })
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("certificate", format!("of {}, issued by {}", self.subject, self.issuer)),
            ("valid", format!("from {} to {}", self.from, self.until)),
        ];
        if let Some(digest) = self.key_digest {
            let of = match digest {
                KeyDigest::PublicKeyInfo => "its SubjectPublicKeyInfo",
                KeyDigest::KeyBits => "the bits of its key",
                KeyDigest::PemText => "its key in PEM",
            };
            lines.push(("bound to", format!("the certificate's key, by the digest of {of}")));
        }
        lines.extend(self.not_covered.iter().map(|part| ("NOT COVERED", part.to_string())));
        lines
    }
}

impl TokenReport {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let key = self.key.as_deref().map(printable).unwrap_or_else(|| "without a name".to_owned());
        let mut lines = vec![
            ("signed with", format!("{}, key {key}", self.algorithm)),
            (
                "signature",
                if self.verified {
                    "verified with a pinned key"
                } else {
                    "NOT VERIFIED: anybody can write this"
                }
                .to_owned(),
            ),
        ];
        lines.extend(self.claims.iter().map(|(name, value)| {
            ("says", format!("{} = {}", printable(name), printable(&value.to_string())))
        }));
        lines
    }
}

impl Report {
    pub(super) fn new(at: UnixSeconds) -> Self {
        Self {
            what: None,
            at,
            certificate: None,
            token: None,
            says: Map::new(),
            claims: None,
            failures: Vec::new(),
            more: Map::new(),
            verdict: "not-verified",
        }
    }

    /// Says what the thing is.
    pub(super) fn is(&mut self, what: String) {
        self.what = Some(what);
    }

    /// Says which server has shown it.
    pub(super) fn is_shown_by(&mut self, server: impl fmt::Display) {
        let what = self.what.take().unwrap_or_default();
        self.what = Some(format!("{server}, which shows {what}"));
    }

    /// Adds a fact.
    pub(super) fn add(&mut self, name: &str, value: impl Into<String>) {
        self.more.insert(name.to_owned(), Value::String(value.into()));
    }

    pub(super) fn certificate(&mut self, certificate: CertificateReport) {
        self.certificate = Some(certificate);
    }

    /// Says what the evidence of the certificate covers.
    pub(super) fn covers(&mut self, key_digest: KeyDigest, not_covered: &'static [NotCovered]) {
        if let Some(certificate) = &mut self.certificate {
            (certificate.key_digest, certificate.not_covered) = (Some(key_digest), not_covered);
        }
    }

    pub(super) fn token(&mut self, token: TokenReport) -> &mut TokenReport {
        self.token.insert(token)
    }

    /// Adds what evidence says of itself, until it is verified.
    pub(super) fn says(&mut self, evidence: &Evidence) {
        let said = unverified::says(evidence).unwrap_or_default();
        self.says = said.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
    }

    pub(super) fn claims(&mut self, claims: Claims) {
        self.says.clear();
        self.claims = Some(claims);
    }

    pub(super) fn failures(&mut self, refusal: &PolicyRefusal) {
        self.failures.clone_from(&refusal.failures);
    }

    /// Prints what is known, also of a thing that is refused, and then the verdict.
    pub(super) fn end(mut self, judged: anyhow::Result<Verdict>) -> anyhow::Result<()> {
        let verdict = match &judged {
            Ok(verdict) => {
                self.verdict = match verdict {
                    Verdict::Genuine => "genuine",
                    Verdict::Accepted => "accepted",
                };
                verdict.to_string()
            }
            // The error follows on standard error.
            Err(error) if error.is::<PolicyRefusal>() => {
                self.verdict = "refused";
                "REFUSED: genuine, and the policy does not accept it".to_owned()
            }
            Err(_) => "NOT VERIFIED".to_owned(),
        };
        match &self.what {
            None => {}
            Some(_) if output::is_json() => output::line(serde_json::to_value(&self)?)?,
            Some(what) => self.print(what, &verdict)?,
        }
        judged.map(drop)
    }

    fn print(&self, what: &str, verdict: &str) -> anyhow::Result<()> {
        let line = |name: &str, value: &str| output::line(format_args!("{name:<NAMES$} {value}"));
        line("what", what)?;
        let certificate = self.certificate.iter().flat_map(CertificateReport::lines);
        for (name, value) in certificate.chain(self.token.iter().flat_map(TokenReport::lines)) {
            line(name, &value)?;
        }
        if !self.says.is_empty() {
            line("evidence", "NOT VERIFIED: anybody can write this")?;
        }
        for (name, value) in &self.says {
            line("says", &format!("{name} = {}", value.as_str().unwrap_or_default()))?;
        }
        if let Some(claims) = &self.claims {
            line("root", &format!("{}, key {}", claims.vendor, claims.root_key_id))?;
            for (name, value) in described(claims) {
                line(name, &value)?;
            }
            line("report data", &claims.report_data.to_string())?;
        }
        for (name, value) in &self.more {
            line(name, value.as_str().unwrap_or_default())?;
        }
        line("judged at", &self.at.to_string())?;
        for failure in &self.failures {
            line("REFUSED", &failure.to_string())?;
        }
        if let Some(claims) = &self.claims {
            warn_of_simulation(claims)?;
        }
        line("verdict", verdict)
    }
}

/// A stranger's text as one line, without what would move a cursor.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).take(300).collect()
}
