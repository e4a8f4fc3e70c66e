//! A refusal in words, of bounded length: it travels in a gRPC header.

use std::fmt::Write;

use super::{Mismatches, Reason, Refusal, Verdict, Workload};

/// The longest explanation, in bytes. With percent-encoding it stays under the
/// 16 KiB of headers that HTTP/2 clients accept.
pub(super) const MAXIMUM_LENGTH: usize = 4096;

impl Refusal {
    /// The expected and the found values and the next step, in at most
    /// [`MAXIMUM_LENGTH`] bytes. A peer that is no workload learns nothing about
    /// which names exist: its answer does not depend on them.
    pub fn explanation(&self) -> String {
        let mut text = Bounded::default();
        match self.reason() {
            Reason::EvidenceNotTrusted => {
                text.push(
                    "the root that this evidence chains to is no longer trusted by the manifest; \
                     the owners decide in [trust] which roots count",
                );
            }
            Reason::NoWorkload => {
                text.push("this program is none of the workloads that may have secrets. ");
                mismatches(&mut text, &self.mismatches);
                text.push(
                    ". If this program should have them, the owners add its values to a workload's policy",
                );
            }
            Reason::CollateralTooOld => {
                text.push(
                    "this program was verified with collateral that is older than its policy accepts. ",
                );
                mismatches(&mut text, &self.mismatches);
                text.push(
                    ". The broker's source of collateral is behind: refresh the PCCS or the directory, and send the \
                     broker SIGHUP",
                );
            }
            Reason::TcbNotAccepted => {
                text.push("the policy does not accept the TCB of this program's platform. ");
                mismatches(&mut text, &self.mismatches);
                text.push(
                    ". Update the platform's firmware; if that takes time, the owners can accept the advisories for a \
                     while with tcb_grace in the manifest",
                );
            }
            Reason::SecretRefused => {
                matched(&mut text, &self.matched);
                for (name, verdict) in &self.verdicts {
                    if let Verdict::Refused { mismatches: who } = verdict {
                        text.push(&format!(". The secret {name} is for others: "));
                        mismatches(&mut text, who);
                    }
                }
                text.push(". The owners decide in `workloads` of a [[secret]] who may have it");
            }
            Reason::SecretUnknown => {
                matched(&mut text, &self.matched);
                names(&mut text, ", and there is no secret named ", &self.verdicts, &Verdict::Unknown);
                text.push("; check the name, or have the owners add it to the manifest");
            }
            Reason::SecretRemoved => {
                matched(&mut text, &self.matched);
                text.push(", and an owner took the values of these secrets away: ");
                let removed =
                    self.verdicts.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Removed { .. }));
                text.push(&removed.map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", "));
            }
            Reason::SecretHasNoValue => {
                matched(&mut text, &self.matched);
                text.push(", and these secrets have no value yet: ");
                let without = self
                    .verdicts
                    .iter()
                    .filter(|(_, verdict)| matches!(verdict, Verdict::NoValue { .. }))
                    .map(|(name, _)| name.to_string());
                text.push(&without.collect::<Vec<_>>().join(", "));
                text.push("; try again once an owner has put one");
            }
        }
        text.finish()
    }
}

fn names(
    text: &mut Bounded,
    before: &str,
    verdicts: &[(adytum_api::names::SecretName, Verdict)],
    wanted: &Verdict,
) {
    let names = verdicts.iter().filter(|(_, verdict)| verdict == wanted).map(|(name, _)| name.to_string());
    text.push(before);
    text.push(&names.collect::<Vec<_>>().join(", "));
}

fn matched(text: &mut Bounded, workloads: &[Workload]) {
    text.push("this program is ");
    text.push(&workloads.iter().map(Workload::to_string).collect::<Vec<_>>().join(" and "));
}

fn mismatches(text: &mut Bounded, Mismatches { nearest, more }: &Mismatches) {
    if nearest.is_empty() && *more == 0 {
        text.push("there are none");
    }
    for (index, mismatch) in nearest.iter().enumerate() {
        if text.full() {
            text.push_end(&format!(" ... and {} more workloads", nearest.len() - index + more));
            return;
        }
        if index > 0 {
            text.push("; ");
        }
        let mut one = format!("not {}: ", mismatch.workload);
        for (index, failure) in mismatch.failures.iter().enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            let _ =
                write!(one, "{separator}{} (wanted {}, got {})", failure.rule, failure.wanted, failure.got);
        }
        text.push(&one);
    }
    if *more > 0 {
        text.push(&format!(" ... and {more} more workloads"));
    }
}

/// A text that stops growing near [`MAXIMUM_LENGTH`] and says so.
#[derive(Default)]
struct Bounded {
    text: String,
    cut: bool,
}

/// Room kept for the words that say how much is missing.
const RESERVE: usize = 128;

impl Bounded {
    fn full(&self) -> bool {
        self.cut || self.text.len() >= MAXIMUM_LENGTH - RESERVE
    }

    fn push(&mut self, more: &str) {
        if self.cut {
            return;
        }
        let room = MAXIMUM_LENGTH - RESERVE - self.text.len().min(MAXIMUM_LENGTH - RESERVE);
        if more.len() <= room {
            self.text.push_str(more);
        } else {
            self.text.push_str(&more[..more.floor_char_boundary(room)]);
            self.cut = true;
        }
    }

    /// Into the reserve; the rest is left out.
    fn push_end(&mut self, more: &str) {
        self.cut = true;
        if self.text.len() + more.len() <= MAXIMUM_LENGTH {
            self.text.push_str(more);
        }
    }

    fn finish(self) -> String {
        // One line, and nothing that a terminal would act on.
        self.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}
