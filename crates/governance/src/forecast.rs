//! The forecast: which peers that are accepted today will be refused, from when on and why.
//! Nothing here waits or looks anything up; a broker gives what it has seen.
//!
//! Intel publishes an evaluation of platforms on the day on which a fault is disclosed, and
//! applies it some weeks later (a TCB recovery). In between, what will be is known, and
//! machines can be updated.

use std::{fmt, time::Duration};

use adytum_api::names::WorkloadName;
use adytum_evidence::{
    claims::Claims,
    clock::{Day, UnixSeconds},
    collateral::NewerEvaluation,
    policy::Failure,
};

use crate::manifest::{Admission, Workload};

/// How long after the disclosure Intel applies an evaluation, as a rule: "commonly
/// approximately 6 weeks" (Intel PCS API, parameter `update`). It has often taken longer.
pub const APPLIED_AFTER: Duration = Duration::from_secs(42 * 86_400);

/// A peer under the evaluation to come.
#[derive(Clone, Debug)]
pub struct Outlook<'a> {
    pub evaluation: NewerEvaluation,
    /// What its evidence says under that evaluation, or why it does not verify then.
    pub claims: Result<&'a Claims, String>,
}

/// A peer that shows a workload now, and will not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeseenRefusal {
    pub workload: WorkloadName,
    /// Which machine: [`adytum_evidence::claims::Platform::id`].
    pub platform: String,
    /// The first second of it.
    pub from: UnixSeconds,
    pub cause: Cause,
    /// Every rule that will fail.
    pub reason: String,
}

/// Why peers will be refused.
///
/// Retry: no
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The vendor has published an evaluation that does not count yet, and by which the TCB of these
    /// platforms is not accepted. The date is an estimate: the vendor applies it some weeks after the
    /// disclosure.
    ///
    /// Do: update the firmware of the platforms before that date. If that takes longer, accept the
    /// advisories for a while with `[workload.tcb_grace]` in the manifest (docs/tcb-recovery.md).
    TcbRecovery {
        /// The number of the evaluation.
        number: u32,
    },
    /// The platforms are out of date, and `tcb_grace` of the manifest ends on a day that owners wrote.
    ///
    /// Do: update the firmware of the platforms before that day, or give the grace a later end in a new
    /// manifest.
    GraceEnds,
}

impl Cause {
    /// Stable code for logs, metrics and answers.
    pub fn code(self) -> &'static str {
        match self {
            Self::TcbRecovery { .. } => "forecast-tcb-recovery",
            Self::GraceEnds => "forecast-grace-ends",
        }
    }

    /// Is the date an estimate?
    pub fn is_expected(self) -> bool {
        matches!(self, Self::TcbRecovery { .. })
    }

    /// What to do about it.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::TcbRecovery { .. } => {
                "update the firmware of these platforms before that date; if that takes longer, accept the advisories \
                 for a while with [workload.tcb_grace] in the manifest"
            }
            Self::GraceEnds => {
                "update the firmware of these platforms before that day, or give tcb_grace a later end in a new manifest"
            }
        }
    }
}

impl fmt::Display for ForeseenRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = if self.cause.is_expected() { "about " } else { "" };
        write!(
            f,
            "workload {} on platform {} will be refused from {about}{} on: {}; {}",
            self.workload,
            self.platform,
            Day::of(self.from),
            self.reason,
            self.cause.next_step()
        )
    }
}

/// When a peer with these claims, which shows this workload now, will not show it any more:
/// by the end of a grace, or by the evaluation to come.
pub fn foresee(
    name: &WorkloadName,
    workload: &Workload,
    claims: &Claims,
    outlook: Option<&Outlook<'_>>,
    now: UnixSeconds,
) -> Option<ForeseenRefusal> {
    let ends = match workload.admits(claims, now)? {
        Admission::ByPolicy => None,
        Admission::InGrace { until } => {
            Some((until.end(), Cause::GraceEnds, said(claims, workload, until.end())))
        }
    };
    let recovery = outlook.and_then(|outlook| recovery(workload, outlook, now));
    let (from, cause, reason) = ends.into_iter().chain(recovery).min_by_key(|(from, ..)| *from)?;
    Some(ForeseenRefusal {
        workload: name.clone(),
        platform: claims.platform.id.clone(),
        from,
        cause,
        reason,
    })
}

fn recovery(
    workload: &Workload,
    outlook: &Outlook<'_>,
    now: UnixSeconds,
) -> Option<(UnixSeconds, Cause, String)> {
    let NewerEvaluation { number, disclosed } = outlook.evaluation;
    let applied = disclosed.plus(APPLIED_AFTER).max(now);
    let cause = Cause::TcbRecovery { number };
    let claims = match &outlook.claims {
        Ok(claims) => *claims,
        Err(reason) => return Some((applied, cause, reason.clone())),
    };
    match workload.admits(claims, applied) {
        Some(Admission::ByPolicy) => None,
        Some(Admission::InGrace { until }) => {
            Some((until.end(), Cause::GraceEnds, said(claims, workload, until.end())))
        }
        None => Some((applied, cause, said(claims, workload, applied))),
    }
}

/// The rules that fail at this time.
fn said(claims: &Claims, workload: &Workload, time: UnixSeconds) -> String {
    let failures: Vec<String> = workload.failures(claims, time).iter().map(Failure::to_string).collect();
    let advisories: Vec<&str> = claims.advisory_ids.iter().map(String::as_str).collect();
    match advisories.is_empty() {
        true => failures.join(", "),
        false => format!("{} ({})", failures.join(", "), advisories.join(", ")),
    }
}

#[cfg(test)]
mod tests;
