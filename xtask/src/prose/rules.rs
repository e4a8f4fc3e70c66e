//! The words and turns that our texts do without, with what to write instead.

use anyhow::{Context, Result};
use regex::Regex;

/// A turn that a sentence must not have.
struct Turn {
    /// What it looks like. A letter's case matters only where it is written in a set.
    pattern: &'static str,
    /// A right use that starts with the same words.
    except: Option<&'static str>,
    /// What to write instead.
    instead: &'static str,
}

const fn turn(pattern: &'static str, instead: &'static str) -> Turn {
    Turn { pattern, except: None, instead }
}

/// Verbs that make "what" or "who" before them the subject.
const VERBS: &str = "is|was|are|were|isn't|has|have|had|can|can't|could|may|might|must|will|would|should|does|did|\
                     doesn't|differs|went|goes|comes|came|makes|made|gives|gave|lies|stands|follows|happens|happened|\
                     belongs|decides|counts|says|said|holds|uses|needs|takes|took|keeps|runs|ran|reads|becomes|became|\
                     ends|begins|matters|remains|stays|applies|exists|appears|fails|failed|changes|changed|causes|\
                     caused|needs|wants|calls|asks|tells|sends|sees|shows|signs|starts|stops|connects|waits|serves|\
                     dies|knows|owns|lets|writes|leads|limits|speaks";

const TURNS: &[Turn] = &[
    turn(r"\b[Tt]old\b", "name the verb: identified, distinguished, informed, given"),
    turn(r"\b[Ss]o many\b", "\"at most N\" or the number"),
    Turn {
        pattern: r"\b(is|are|was|were) meant\b",
        except: Some(r"^(is|are|was|were) meant (to|for|as)\b"),
        instead: "name the thing itself (\"if 5 GB are intended\", \"the pinned broker\")",
    },
    turn(r"\b[Bb]eside\b", "\"next to\", \"with\", \"in the same directory as\" or \"apart from\""),
    turn(r"\b[Aa]new\b", "\"again\" or \"new\""),
    turn(r"\b[Tt]he former\b", "\"the previous\", or the name"),
    turn(r"\bof then\b", "\"of that time\""),
    Turn {
        pattern: r"\b([Ss]tands|[Ss]tood)\b",
        except: Some(r"^([Ss]tands|[Ss]tood) (for|out)\b"),
        instead: "\"is\", \"is in\", \"is written in\"",
    },
    turn(r"\b([Ff]ounds|[Ff]ounded|[Ff]ounding)\b", "\"creates\""),
    turn(r"\b[Ff]ound (a|the|your|another) broker\b", "\"create a broker\""),
    turn(r"\b[Nn]obody's\b", "name what there is none of (\"no evidence\")"),
    turn(r"\b[Ww]hose ([a-z]+ )?counts?\b", "\"trusted\": \"the roots that the manifest trusts\""),
    turn(r"\b[Ww]hoever\b", "name who it is: \"a client that ..\", \"the owner who ..\""),
    turn(r"\b(speaks|speak|spoke) of\b", "\"names\" or \"describes\""),
    turn(r"\b(is|are) said to\b", "name who says it: \"the header states\""),
    turn(
        r"\bfor (the|an?) [a-z]+( or [a-z]+)? to say\b|\b(is|are)( not)? [a-z]+('s| [a-z]+'s) to say\b",
        "say who decides, or where it is written",
    ),
    turn(r"\bhow [a-z]+( [a-z]+)? (stands?|stood)\b|\bdoes it stand\b", "\"the state of ..\""),
    turn(r"\bDESIGN(\.md)?\b", "ARCHITECTURE.md, or no place: DESIGN is not in the repository"),
    turn(r"\b(is|are|was|were) to be had\b", "\"is available\", \"can be fetched\""),
];

/// A turn that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) words: String,
    /// What to write instead.
    pub(super) instead: &'static str,
}

/// Looks for all turns.
pub(super) struct Rules {
    turns: Vec<(Regex, Option<Regex>, &'static str)>,
    subject: Regex,
}

impl Rules {
    /// Compiles the patterns.
    pub(super) fn new() -> Result<Self> {
        let compile = |pattern: &str| Regex::new(pattern).with_context(|| format!("the pattern {pattern}"));
        let turns = TURNS
            .iter()
            .map(|turn| Ok((compile(turn.pattern)?, turn.except.map(compile).transpose()?, turn.instead)));
        Ok(Self {
            turns: turns.collect::<Result<_>>()?,
            subject: compile(&format!(
                r"(?:^|[;:] |— |\. )((?:[Ww]ho|[Ww]hat|[Ww]hatever) (?:else )?(?:[a-z]+ly )?(?:{VERBS})\b)"
            ))?,
        })
    }

    /// The turns that a sentence has. One that may ask may start with "what".
    pub(super) fn check(&self, sentence: &str, may_ask: bool) -> Vec<Found> {
        let mut found = Vec::new();
        for (pattern, except, instead) in &self.turns {
            for hit in pattern.find_iter(sentence) {
                let rest = sentence.get(hit.start()..).unwrap_or_default();
                if !except.as_ref().is_some_and(|except| except.is_match(rest)) {
                    found.push(Found { words: hit.as_str().to_owned(), instead });
                }
            }
        }
        if !may_ask && !sentence.trim_end_matches(['"', ')', '*']).ends_with('?') {
            found.extend(self.subject.captures_iter(sentence).filter_map(|hit| {
                let words = hit.get(1)?.as_str().to_owned();
                Some(Found { words, instead: "start with a noun: \"The cause\", \"A program that ..\"" })
            }));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_found(sentence: &str, words: &str) {
        let found = Rules::new().unwrap().check(sentence, false);
        assert!(found.iter().any(|found| found.words == words), "{sentence}: {found:?}");
    }

    #[test]
    fn each_turn_is_found() {
        for (sentence, words) in [
            ("How the broker and the workload are told is for the owner to say.", "told"),
            ("How the broker and the workload are told is for the owner to say.", "for the owner to say"),
            ("a bundle has at most so many", "so many"),
            ("raise maximum_size if that is meant", "is meant"),
            ("Is it the broker that is meant, and how does it stand?", "is meant"),
            ("Is it the broker that is meant, and how does it stand?", "how does it stand"),
            ("the statement beside the ciphertext", "beside"),
            ("it is written anew", "anew"),
            ("the former log filter stays", "the former"),
            ("the owners of then", "of then"),
            ("It stands in MRENCLAVE.", "stands"),
            ("`x` founds a broker", "founds"),
            ("Confidential inference: found a broker", "found a broker"),
            ("nobody's evidence is trusted here yet: whose counts, a manifest says", "nobody's"),
            ("nobody's evidence is trusted here yet: whose counts, a manifest says", "whose counts"),
            ("(DESIGN, invariant 1)", "DESIGN"),
            ("Whoever dies at any step: at most one of both releases", "Whoever"),
            ("no statement speaks of this file", "speaks of"),
            ("{path:?} is said to have 4 bytes", "is said to"),
            ("What is wrong with it.", "What is"),
            ("Who signs is an owner.", "Who signs"),
            ("The manifest is the rule: what really differs is refused.", "what really differs"),
        ] {
            assert_found(sentence, words);
        }
    }

    #[test]
    fn plain_sentences_pass() {
        let rules = Rules::new().unwrap();
        for sentence in [
            "This flag is meant for tests.",
            "The name stands for the digest.",
            "The broker was found by its name, besides.",
            "What is a broker?",
            "An owner, who may sign alone, decides.",
            "The error says what was expected, what was found, what to do.",
            "The host may say what it likes.",
        ] {
            assert_eq!(rules.check(sentence, false), [], "{sentence}");
        }
        assert_eq!(rules.check("what happens", true), []);
    }
}
