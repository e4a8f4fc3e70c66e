//! `[workload.tcb_grace]`: platforms that are out of date for a while, since a TCB recovery
//! gives no time to update every machine on one day.

use std::{collections::BTreeSet, time::Duration};

use adytum_evidence::{
    claims::{Claims, TcbStatus},
    clock::{Day, UnixSeconds},
    policy::Policy,
};

use super::document::TcbGraceTable;

/// The longest time: a year and a day.
const MAXIMUM: Duration = Duration::from_secs(366 * 86_400);

/// Accepts for a stated time what a policy refuses only because the platform's firmware is
/// out of date.
#[derive(Clone, Debug)]
pub struct TcbGrace {
    /// The first day on which it lasts.
    pub from: Day,
    /// The last day on which it lasts.
    pub until: Day,
    /// The advisories that are accepted besides those of the policy.
    pub advisories: BTreeSet<String>,
    /// The TCB statuses that are accepted besides those of the policy.
    pub tcb_status: BTreeSet<TcbStatus>,
    /// The policy, and these advisories and statuses besides.
    relaxed: Policy,
}

impl TcbGrace {
    /// The grace of a workload with this policy. The error says what is wrong with the
    /// table, and with which field.
    pub(super) fn new(table: &TcbGraceTable, policy: &Policy) -> Result<Self, (&'static str, String)> {
        let TcbGraceTable { from, until, advisories, tcb_status } = table;
        let length = Duration::from_secs(until.end().0.saturating_sub(from.start().0));
        if until < from {
            return Err(("tcb_grace.until", format!("it ends on {until}, before it begins on {from}")));
        }
        if length > MAXIMUM {
            let reason = format!("it lasts from {from} to {until}; at most a year is allowed");
            return Err(("tcb_grace.until", reason));
        }
        if advisories.is_empty() {
            let reason =
                "no advisory is listed, so it would accept nothing: list those that the vendor names"
                    .to_owned();
            return Err(("tcb_grace.advisories", reason));
        }
        if tcb_status.is_subset(&policy.tcb_status) {
            let reason = "the policy accepts each of its statuses anyway; remove the table".to_owned();
            return Err(("tcb_grace.tcb_status", reason));
        }
        let mut relaxed = policy.clone();
        relaxed.tcb_status.extend(tcb_status);
        let listed = relaxed.advisories.unwrap_or_default();
        relaxed.advisories = Some(listed.union(advisories).cloned().collect());
        let (advisories, tcb_status) = (advisories.clone(), tcb_status.clone());
        Ok(Self { from: *from, until: *until, advisories, tcb_status, relaxed })
    }

    /// Are these claims acceptable while it lasts?
    pub fn covers(&self, claims: &Claims) -> bool {
        self.relaxed.count_failures(claims) == 0
    }

    /// Does it last at this time?
    pub fn lasts_at(&self, time: UnixSeconds) -> bool {
        (self.from.start()..self.until.end()).contains(&time)
    }

    /// Its time in words.
    pub(crate) fn time(&self) -> String {
        format!("from {} to {}", self.from, self.until)
    }
}
