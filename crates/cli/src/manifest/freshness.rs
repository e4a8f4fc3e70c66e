//! How old the collateral may be, and for how long what is out of date: what another
//! manifest makes weaker of it, and what stronger.

use std::collections::BTreeSet;

use adytum_governance::manifest::{TcbGrace, Workload};

/// The differences, one sentence each.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    pub(super) weaker: Vec<String>,
    pub(super) stronger: Vec<String>,
}

/// From the workload before, if there was one, to the one after.
pub(super) fn freshness(before: Option<&Workload>, after: &Workload) -> Freshness {
    let mut found = Freshness::default();
    if let Some(before) = before {
        let (was, is) = (&before.policy, &after.policy);
        found.minimum(
            "minimum_tcb_evaluation_data_number",
            was.minimum_tcb_evaluation_data_number,
            is.minimum_tcb_evaluation_data_number,
        );
        found.minimum("collateral_not_before", was.collateral_not_before, is.collateral_not_before);
    }
    found.grace(before.and_then(|before| before.tcb_grace.as_ref()), after.tcb_grace.as_ref());
    found
}

impl Freshness {
    /// Nothing is less than any minimum.
    fn minimum<T: Ord + ToString>(&mut self, rule: &str, was: Option<T>, is: Option<T>) {
        let text = |value: &Option<T>| value.as_ref().map_or("anything".to_owned(), ToString::to_string);
        let (from, to) = (text(&was), text(&is));
        if is < was {
            self.weaker.push(format!("{rule} falls from {from} to {to}: a host can serve older collateral"));
        } else if is > was {
            self.stronger.push(format!("{rule} rises from {from} to {to}"));
        }
    }

    fn grace(&mut self, was: Option<&TcbGrace>, is: Option<&TcbGrace>) {
        let Some(is) = is else {
            if let Some(was) = was {
                self.stronger.push(format!("tcb_grace, which ended on {}, is gone", was.until));
            }
            return;
        };
        let Some(was) = was else {
            self.weaker.push(format!(
                "platforms with the TCB status {} are accepted from {} to {} (tcb_grace), with the advisories {}",
                listed(&is.tcb_status),
                is.from,
                is.until,
                listed(&is.advisories)
            ));
            return;
        };
        if is.until > was.until {
            self.weaker.push(format!("tcb_grace ends on {}, it ended on {}", is.until, was.until));
        } else if is.until < was.until {
            self.stronger.push(format!("tcb_grace ends on {}, it ended on {}", is.until, was.until));
        }
        if is.from < was.from {
            self.weaker.push(format!("tcb_grace begins on {}, it began on {}", is.from, was.from));
        }
        self.values("advisory", &was.advisories, &is.advisories);
        self.values("TCB status", &was.tcb_status, &is.tcb_status);
    }

    fn values<T: Ord + ToString>(&mut self, what: &str, was: &BTreeSet<T>, is: &BTreeSet<T>) {
        for more in is.difference(was) {
            self.weaker.push(format!("tcb_grace accepts the {what} {} too", more.to_string()));
        }
        for less in was.difference(is) {
            self.stronger.push(format!("tcb_grace does not accept the {what} {} any more", less.to_string()));
        }
    }
}

fn listed<T: ToString>(values: &BTreeSet<T>) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use adytum_governance::manifest::Manifest;

    use super::*;

    fn workload(rules: &str, grace: &str) -> Workload {
        let text = format!(
            "format = \"adytum manifest v1\"\ngenesis = \"{}\"\nversion = 1\n[trust]\nvendors = [\"intel\"]\n\
             [[workload]]\nname = \"serving\"\n[workload.policy]\nvendors = [\"intel\"]\ntee = [\"sgx\"]\n\
             mr_enclave = [\"{}\"]\n{rules}\n{grace}",
            "1".repeat(64),
            "5a".repeat(32)
        );
        Manifest::parse(&text).unwrap().workloads.into_values().next().unwrap()
    }

    fn grace(until: &str, advisories: &str) -> String {
        format!(
            "[workload.tcb_grace]\nfrom = \"2026-11-01\"\nuntil = \"{until}\"\nadvisories = [{advisories}]\n"
        )
    }

    #[test]
    fn what_is_weaker_one_way_is_stronger_the_other_way() {
        let short = grace("2026-12-01", "\"A\"");
        let long = grace("2027-01-01", "\"A\"");
        let more = grace("2026-12-01", "\"A\", \"B\"");
        for (strict, loose, expected) in [
            (("minimum_tcb_evaluation_data_number = 20", ""), ("", ""), "falls from 20 to anything"),
            (
                ("minimum_tcb_evaluation_data_number = 20", ""),
                ("minimum_tcb_evaluation_data_number = 17", ""),
                "falls from 20 to 17",
            ),
            (
                ("collateral_not_before = \"2026-10-08\"", ""),
                ("collateral_not_before = \"2025-10-08\"", ""),
                "collateral_not_before falls from 2026-10-08 to 2025-10-08",
            ),
            (("", ""), ("", short.as_str()), "OutOfDate are accepted from 2026-11-01 to 2026-12-01"),
            (("", short.as_str()), ("", long.as_str()), "ends on 2027-01-01, it ended on 2026-12-01"),
            (("", short.as_str()), ("", more.as_str()), "accepts the advisory B too"),
        ] {
            let (strict, loose) = (workload(strict.0, strict.1), workload(loose.0, loose.1));
            let found = freshness(Some(&strict), &loose);
            assert!(found.weaker.len() == 1 && found.weaker[0].contains(expected), "{found:?}");
            assert!(found.stronger.is_empty(), "{found:?}");
            let found = freshness(Some(&loose), &strict);
            assert!(found.stronger.len() == 1 && found.weaker.is_empty(), "{expected}: {found:?}");
            let found = freshness(Some(&loose), &loose);
            assert!(found.stronger.is_empty() && found.weaker.is_empty(), "{found:?}");
        }
        assert_eq!(freshness(None, &workload("", &short)).weaker.len(), 1, "a new workload");
        assert_eq!(freshness(None, &workload("", "")).weaker.len(), 0);
    }
}
