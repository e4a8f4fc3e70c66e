//! `adytum verify`: any evidence, certificate, token or server, and what it proves.

mod endpoint;
mod error;
mod handshake;
mod report;
mod thing;
mod tokens;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use adytum_evidence::{
    claims::Claims,
    clock::{Clock, Day, FixedClock, SystemClock, UnixSeconds, floor::FloorClock},
    evidence::Evidence,
    jwt::Token,
    policy::Policy,
    ra_tls::{AcceptedForms, CertificateForm, RaTlsCertificate},
    verifier::Verifier,
};
use anyhow::Context;

pub(crate) use self::error::VerifyError;
use self::{
    endpoint::Endpoint,
    report::{CertificateReport, Report, Verdict},
    thing::Thing,
    tokens::TokenTrust,
};
use crate::{attested::read_policy, key_file, trusted::TrustedRoots};

/// The longest file that is read, in bytes.
const MAXIMUM_LENGTH: u64 = 1024 * 1024;

/// Verify evidence, a certificate, a token or a server, and say what it proves.
///
/// It may be a quote of SGX or TDX, a report of SEV-SNP, a certificate with evidence
/// (RA-TLS), evidence of the KBS protocol, or a token of an attestation service: as a file in
/// whatever encoding, or from standard input. Of a server it is the attested session, or
/// the certificate.
///
/// Without --policy it says what is genuine, and accepts no code. It ends with 77 if
/// something is refused, with 78 if it can't be read, with 69 if a server is not reachable.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file, `-` for standard input, or a server as HOST:PORT or https://HOST.
    #[arg(value_name = "FILE|HOST:PORT")]
    thing: String,
    /// Which code it may be: a policy in TOML.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Accept certificates of this older form too: occlum, gramine, rats-tls, intel-sdk or
    /// open-enclave; may be given several times.
    #[arg(long = "certificate-form", value_name = "FORM")]
    forms: Vec<CertificateForm>,
    #[command(flatten)]
    tokens: TokenTrust,
    /// Judge it as of this time, for what was recorded: a day, or 2026-10-08T11:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<UnixSeconds>,
    #[command(flatten)]
    trusted: TrustedRoots,
}

/// The beginning of a day, or a time.
fn parse_time(text: &str) -> Result<UnixSeconds, String> {
    UnixSeconds::parse_rfc3339(text)
        .or_else(|| text.parse().ok().map(Day::start))
        .ok_or_else(|| "expected a day or a time in UTC, as in 2026-10-08 or 2026-10-08T11:00:00Z".to_owned())
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let judge = Judge {
        policy: args.policy.as_deref().map(read_policy).transpose()?,
        forms: AcceptedForms::interoperable_and(args.forms),
        tokens: args.tokens,
        at: args.at,
        trusted: &args.trusted,
    };
    judge.say(&args.thing).await
}

/// Verifies the evidence in a file, and says what it proves.
pub(crate) async fn show(file: &Path, trusted: &TrustedRoots) -> anyhow::Result<()> {
    let judge = Judge {
        policy: None,
        forms: AcceptedForms::default(),
        tokens: TokenTrust::default(),
        at: None,
        trusted,
    };
    judge.say_of_file(file).await
}

/// What things are judged by.
struct Judge<'a> {
    policy: Option<Policy>,
    forms: AcceptedForms,
    tokens: TokenTrust,
    /// In place of now.
    at: Option<UnixSeconds>,
    trusted: &'a TrustedRoots,
}

impl Judge<'_> {
    async fn say(&self, thing: &str) -> anyhow::Result<()> {
        if thing == "-" {
            let bytes = key_file::read_limited(std::io::stdin().lock(), MAXIMUM_LENGTH);
            return self.say_of_bytes(&bytes.context("standard input")?).await.context("standard input");
        }
        let path = Path::new(thing);
        match Endpoint::named(thing) {
            Some(endpoint) if !path.exists() => {
                let mut report = Report::new(self.now());
                let judged = self.judge_server(&endpoint?, &mut report).await;
                report.end(judged)
            }
            _ => self.say_of_file(path).await,
        }
    }

    async fn say_of_file(&self, path: &Path) -> anyhow::Result<()> {
        let bytes = key_file::read_bytes(path, MAXIMUM_LENGTH)?;
        self.say_of_bytes(&bytes).await.with_context(|| path.display().to_string())
    }

    async fn say_of_bytes(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut report = Report::new(self.now());
        let judged = match thing::recognise(bytes)? {
            Thing::Evidence { form, evidence } => {
                report.is(form);
                self.judge_evidence(&evidence, &mut report).await
            }
            Thing::Certificate(bytes) => {
                report.is("an X.509 certificate".to_owned());
                self.judge_certificate(&bytes, &mut report).await
            }
            Thing::Token(token) => {
                report.is("a token of an attestation service".to_owned());
                self.judge_token(*token, &mut report)
            }
        };
        report.end(judged)
    }

    fn now(&self) -> UnixSeconds {
        self.clock().now()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        match self.at {
            Some(at) => Arc::new(FixedClock::new(at)),
            // No tool runs before its sources were written.
            None => Arc::new(FloorClock::new(Arc::new(SystemClock))),
        }
    }

    fn verifier(&self) -> anyhow::Result<Verifier> {
        self.trusted.verifier_at(self.clock())
    }

    async fn judge_evidence(&self, evidence: &Evidence, report: &mut Report) -> anyhow::Result<Verdict> {
        report.says(evidence);
        let claims = self.verifier()?.verify(evidence).await?;
        report.add("bound to", "nothing that was checked here: its maker chose the report data");
        self.judge_claims(claims, report)
    }

    async fn judge_certificate(&self, bytes: &[u8], report: &mut Report) -> anyhow::Result<Verdict> {
        let facts = CertificateReport::of(bytes)?;
        report.is(facts.form.map_or_else(
            || "an X.509 certificate".to_owned(),
            |form| format!("a certificate that carries evidence, of the form {form}"),
        ));
        report.certificate(facts);
        let read = RaTlsCertificate::parse(bytes, &self.forms)?;
        report.says(read.evidence());
        let bound = read.bound()?;
        let verified = bound.verify(&self.verifier()?, self.now()).await?;
        report.covers(verified.key_digest(), verified.not_covered());
        self.judge_claims(verified.claims().clone(), report)
    }

    async fn judge_server(&self, endpoint: &Endpoint, report: &mut Report) -> anyhow::Result<Verdict> {
        let server = endpoint.ask().await?;
        report.is(server.to_string());
        if server.is_attested() {
            let session = endpoint.session(self.verifier()?).await?;
            report.add("bound to", "this session, its keys and nonces, the role, and the announcement");
            session.announced().into_iter().for_each(|(name, value)| report.add(name, value));
            return self.judge_claims(session.claims, report);
        }
        report.add("server", "its handshake is signed with the key of this certificate");
        let judged = self.judge_certificate(&server.certificate, report).await;
        report.is_shown_by(&server);
        judged
    }

    fn judge_token(&self, token: Token, report: &mut Report) -> anyhow::Result<Verdict> {
        match self.tokens.verify(token, self.now(), report)? {
            Some(claims) => {
                report
                    .is("a token of Azure Attestation, which verified the evidence in our place".to_owned());
                report.add(
                    "bound to",
                    "nothing that was checked here: the client of the service chose the runtime data",
                );
                self.judge_claims(claims, report)
            }
            None if self.policy.is_some() => Err(VerifyError::NoClaims.into()),
            None => Ok(Verdict::Genuine),
        }
    }

    fn judge_claims(&self, claims: Claims, report: &mut Report) -> anyhow::Result<Verdict> {
        let judged = self.policy.as_ref().map(|policy| policy.judge(&claims));
        report.claims(claims);
        match judged {
            None => Ok(Verdict::Genuine),
            Some(Ok(())) => Ok(Verdict::Accepted),
            Some(Err(refusal)) => {
                report.failures(&refusal);
                Err(refusal.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_day_or_a_moment() {
        assert_eq!(parse_time("1970-01-02"), Ok(UnixSeconds(86_400)));
        assert_eq!(parse_time("1970-01-02T00:00:01Z"), Ok(UnixSeconds(86_401)));
        assert!(parse_time("yesterday").unwrap_err().contains("2026-10-08T11:00:00Z"));
    }
}
