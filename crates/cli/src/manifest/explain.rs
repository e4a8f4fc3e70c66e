//! `adytum manifest explain`: what a manifest gives to evidence, and why not more,
//! by the broker's own decision and without a broker.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use adytum_api::names::SecretName;
use adytum_evidence::{
    claims::Claims,
    clock::{Clock as _, SystemClock},
    policy::Failure,
    verifier::{VerificationError, Verifier},
};
use adytum_governance::{
    decide::{Listing, Mismatch, Rules, Verdict, decide},
    manifest::{Manifest, SignedManifest, protocols::OtherProtocols},
    rules::AdmittedManifest,
};
use adytum_ratls::error::SessionError;
use anyhow::Context;
use serde::Serialize;

use super::read;
use crate::{claims::described, collateral::Places, evidence, output, replica::Replica};

/// No secret is granted, since the manifest's roots do not accept the evidence.
///
/// Do: read the code and the reason of the evidence in the report, and `adytum explain CODE`.
///
/// Retry: no
const EVIDENCE_REFUSED: &str = "evidence-refused";

/// Say, secret by secret, whether a manifest grants it to this evidence, and why
/// not.
///
/// Ends with 0 if every secret that was asked for is granted; without --secret, if
/// the evidence is that of a workload. Nothing is sent anywhere; whether owners
/// signed the manifest makes no difference here.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    file: PathBuf,
    /// Evidence of a replica, as `--write-evidence` and `adytum evidence collect`
    /// write it.
    #[arg(long, value_name = "FILE", required_unless_present = "address", conflicts_with = "address")]
    evidence: Option<PathBuf>,
    #[command(flatten)]
    replica: Replica,
    /// A secret that is asked for; may be given several times. All of the
    /// manifest's by default.
    #[arg(long = "secret", value_name = "NAME")]
    secrets: Vec<SecretName>,
    #[command(flatten)]
    places: Places,
    /// A simulated platform's root certificate: its collateral is read from the directory
    /// next to it; may be given several times. The manifest's `simulation_roots` decide
    /// whether the platform is trusted.
    #[cfg(feature = "simulation")]
    #[arg(long, value_name = "ROOT.pem")]
    trust_simulation: Vec<PathBuf>,
}

impl Args {
    /// The root certificates of simulated platforms whose collateral is to be used.
    #[cfg(feature = "simulation")]
    fn simulation_paths(&self) -> &[PathBuf] {
        &self.trust_simulation
    }

    #[cfg(not(feature = "simulation"))]
    fn simulation_paths(&self) -> &[PathBuf] {
        &[]
    }
}

#[derive(Debug, Serialize)]
struct Report {
    granted: bool,
    evidence: EvidenceReport,
    workloads: Vec<String>,
    /// Why it is not each of the others.
    mismatches: Vec<MismatchReport>,
    secrets: Vec<SecretReport>,
    models: Vec<String>,
}

#[derive(Debug, Serialize)]
struct EvidenceReport {
    accepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<Claims>,
}

#[derive(Debug, Serialize)]
struct SecretReport {
    name: SecretName,
    granted: bool,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// The protocols of others over which it goes out, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    protocols: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mismatches: Vec<MismatchReport>,
}

#[derive(Clone, Debug, Serialize)]
struct MismatchReport {
    workload: String,
    failures: Vec<Failure>,
}

impl From<&Mismatch> for MismatchReport {
    fn from(mismatch: &Mismatch) -> Self {
        Self { workload: mismatch.workload.to_string(), failures: mismatch.failures.clone() }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let text = read(&args.file)?;
    let manifest = Manifest::parse(&text).with_context(|| args.file.display().to_string())?;
    let signed = SignedManifest::unsigned(text);
    let admitted = AdmittedManifest::assumed(manifest, signed, [].into());
    let admitted = admitted.with_context(|| args.file.display().to_string())?;
    let evidence = args.evidence.as_deref().map(evidence::read).transpose()?;
    let source = args.places.source(args.simulation_paths())?;
    let verifier = Verifier::new(admitted.roots.clone(), source, Arc::new(SystemClock));
    let names = match args.secrets.as_slice() {
        [] => admitted.manifest.secrets.keys().cloned().collect(),
        names => names.to_vec(),
    };
    let claims = match evidence {
        Some(evidence) => match verifier.verify(&evidence).await {
            Ok(claims) => Ok(claims),
            // Missing collateral is no evidence against the peer, so no answer about it.
            Err(error @ VerificationError::Collateral(_)) => return Err(error.into()),
            Err(error) => Err((error.code().to_owned(), error.to_string())),
        },
        None => match args
            .replica
            .claims(verifier)
            .await
            .ok_or_else(|| input_error!("give --evidence or --replica"))?
        {
            Ok(claims) => Ok(claims),
            Err(SessionError::Refused { refusal, .. }) if !refusal.retry => {
                Err((refusal.code, refusal.message))
            }
            Err(error) => return Err(error.into()),
        },
    };
    let report = match claims {
        Ok(claims) => judged(&admitted, claims, &names, !args.secrets.is_empty()),
        Err((code, reason)) => refused(code, reason, names),
    };
    if output::is_json() {
        output::line(serde_json::to_string(&report)?)?;
    } else {
        print(&report)?;
    }
    if !report.granted {
        bail_refused!("refused: see the reasons above");
    }
    Ok(())
}

/// The broker's decision, for each name by itself.
fn judged(admitted: &AdmittedManifest, claims: Claims, names: &[SecretName], asked: bool) -> Report {
    let rules = Rules { admitted: Some(admitted), occlum: None, time: SystemClock.now() };
    // A broker that holds no value yet says of each secret whether it might go to
    // this peer.
    let nothing = BTreeMap::new();
    let (workloads, mismatches, models): (Vec<String>, _, _) =
        match decide(rules, &nothing, &claims, &[], Listing::WHOLE) {
            Ok(grant) => (
                grant.matched.iter().map(ToString::to_string).collect(),
                Vec::new(),
                grant.models.iter().map(|rule| rule.name.to_string()).collect(),
            ),
            Err(refusal) => {
                (Vec::new(), refusal.mismatches.nearest.iter().map(Into::into).collect(), Vec::new())
            }
        };
    let secrets: Vec<SecretReport> = names
        .iter()
        .map(|name| {
            let rule = admitted.manifest.secrets.get(name);
            let kind = rule.map(|rule| rule.kind().to_string());
            let protocols = rule.map(|rule| protocols(&rule.protocols)).unwrap_or_default();
            let verdict = decide(rules, &nothing, &claims, std::slice::from_ref(name), Listing::WHOLE)
                .err()
                .and_then(|refusal| refusal.verdicts.into_iter().next())
                .map(|(_, verdict)| verdict);
            let report = |granted, code, by, mismatches| SecretReport {
                name: name.clone(),
                granted,
                code,
                kind: kind.clone(),
                by,
                protocols: protocols.clone(),
                mismatches,
            };
            match verdict {
                Some(Verdict::NoValue { by } | Verdict::Withheld { by } | Verdict::Removed { by }) => {
                    report(true, "granted", Some(by.to_string()), Vec::new())
                }
                Some(Verdict::Refused { mismatches }) => {
                    report(false, "secret-refused", None, mismatches.nearest.iter().map(Into::into).collect())
                }
                Some(Verdict::Unknown) | None => report(false, "secret-unknown", None, Vec::new()),
            }
        })
        .collect();
    let all = secrets.iter().all(|secret| secret.granted);
    let granted = if asked { all } else { !workloads.is_empty() };
    let evidence = EvidenceReport { accepted: true, code: None, reason: None, claims: Some(claims) };
    Report { granted, evidence, workloads, mismatches, secrets, models }
}

/// By name, as the audit log has them.
fn protocols(rule: &OtherProtocols) -> Vec<String> {
    let occlum = rule.occlum.then(|| "occlum-ratls".to_owned());
    let kbs = rule.kbs_resource.as_ref().map(|path| format!("kbs {path}"));
    occlum.into_iter().chain(kbs).collect()
}

fn refused(code: String, reason: String, names: Vec<SecretName>) -> Report {
    let secret = |name| SecretReport {
        name,
        granted: false,
        code: EVIDENCE_REFUSED,
        kind: None,
        by: None,
        protocols: Vec::new(),
        mismatches: Vec::new(),
    };
    Report {
        granted: false,
        evidence: EvidenceReport { accepted: false, code: Some(code), reason: Some(reason), claims: None },
        workloads: Vec::new(),
        mismatches: Vec::new(),
        secrets: names.into_iter().map(secret).collect(),
        models: Vec::new(),
    }
}

fn print(report: &Report) -> anyhow::Result<()> {
    match (&report.evidence.claims, &report.evidence.reason) {
        (Some(claims), _) => {
            for (name, value) in described(claims) {
                output::line(format_args!("evidence  {name}: {value}"))?;
            }
        }
        (None, reason) => {
            let code = report.evidence.code.as_deref().unwrap_or_default();
            output::line(format_args!(
                "evidence  refused ({code}): {}",
                reason.as_deref().unwrap_or_default()
            ))?;
        }
    }
    for workload in &report.workloads {
        output::line(format_args!("is        {workload}"))?;
    }
    for mismatch in &report.mismatches {
        output::line(format_args!("is not    {}", failures(mismatch)))?;
    }
    for secret in &report.secrets {
        let name = &secret.name;
        match (&secret.by, secret.code) {
            (Some(by), _) => {
                let kind = secret.kind.as_deref().unwrap_or_default();
                let over = match secret.protocols.as_slice() {
                    [] => String::new(),
                    protocols => format!("; also over {}", protocols.join(", ")),
                };
                output::line(format_args!("granted   {name} ({kind}): as {by}{over}"))?;
            }
            (None, "secret-unknown") => {
                output::line(format_args!("refused   {name}: the manifest has no secret of this name"))?;
            }
            (None, EVIDENCE_REFUSED) => output::line(format_args!("refused   {name}: there is no evidence"))?,
            (None, _) => {
                let why: Vec<String> = secret.mismatches.iter().map(failures).collect();
                output::line(format_args!("refused   {name}: is not {}", why.join("; is not ")))?;
            }
        }
    }
    for model in &report.models {
        output::line(format_args!("may load  {model}"))?;
    }
    Ok(())
}

fn failures(mismatch: &MismatchReport) -> String {
    let failures: Vec<String> = mismatch
        .failures
        .iter()
        .map(|failure| format!("{} (wanted {}, got {})", failure.rule, failure.wanted, failure.got))
        .collect();
    format!("{}: {}", mismatch.workload, failures.join(", "))
}
