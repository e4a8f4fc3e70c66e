//! Regular expressions in RE2's syntax, which ONNX prescribes.
//!
//! The library's syntax is RE2's with three differences: its classes such as `\w` know
//! all letters where RE2's know ASCII, its bracketed classes have operators (`&&`, `--`,
//! `~~`, nesting) that RE2 reads as letters, and RE2's `\Q...\E` and `\C` are not there.
//! A pattern is rewritten to mean the same; one that can't be is refused.

use std::{ops::Range, sync::Arc};

use regex_automata::{
    Anchored, Input, MatchKind,
    hybrid::dfa::{Cache, DFA},
    meta,
    nfa::thompson,
    util::{pool::Pool, syntax},
};

use crate::operators::{OperatorError, Refusal, operands::broken};

/// The largest size of a compiled pattern, in bytes. Repetitions of repetitions can
/// make a short pattern large.
const LARGEST: usize = 10 << 20;

type Caches =
    Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>>;

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    first: meta::Regex,
    /// Finds where the longest match ends that begins at a position.
    longest: Option<(Arc<DFA>, Caches)>,
}

impl Pattern {
    /// Matches whole texts only.
    pub(super) fn whole(pattern: &str) -> Result<Self, Refusal> {
        let translated = translate(pattern)?;
        // Alone first: a pattern with a parenthesis too many must not close ours.
        compile(&translated, pattern)?;
        Ok(Self { first: compile(&format!(r"\A(?:{translated})\z"), pattern)?, longest: None })
    }

    /// Finds the first match, and of those that begin there the longest.
    pub(super) fn longest(pattern: &str) -> Result<Self, Refusal> {
        let translated = translate(pattern)?;
        let first = compile(&translated, pattern)?;
        let dfa = DFA::builder()
            .configure(DFA::config().match_kind(MatchKind::All))
            .thompson(thompson::Config::new().nfa_size_limit(Some(LARGEST)))
            .syntax(syntax::Config::new().octal(true))
            .build(&translated)
            .map_err(|error| unusable(pattern, &error))?;
        let dfa = Arc::new(dfa);
        let maker = Arc::clone(&dfa);
        let caches: Caches = Pool::new(Box::new(move || maker.create_cache()));
        Ok(Self { first, longest: Some((dfa, caches)) })
    }

    /// Whether the pattern matches somewhere.
    pub(super) fn is_match(&self, text: &[u8]) -> bool {
        self.first.is_match(text)
    }

    /// The first match at or behind `start`.
    pub(super) fn find(&self, text: &str, start: usize) -> Result<Option<Range<usize>>, OperatorError> {
        if start > text.len() {
            return Ok(None);
        }
        let input = Input::new(text).span(start..text.len());
        let Some(found) = self.first.search(&input) else { return Ok(None) };
        let Some((dfa, caches)) = &self.longest else { return Ok(Some(found.range())) };
        let input = Input::new(text).span(found.start()..text.len()).anchored(Anchored::Yes);
        let end = dfa
            .try_search_fwd(&mut caches.get(), &input)
            .map_err(|error| broken(format!("a pattern could not be searched: {error}")))?
            .map_or(found.end(), |end| end.offset());
        Ok(Some(found.start()..end))
    }
}

fn compile(translated: &str, pattern: &str) -> Result<meta::Regex, Refusal> {
    meta::Regex::builder()
        .configure(meta::Regex::config().nfa_size_limit(Some(LARGEST)))
        .syntax(syntax::Config::new().octal(true).utf8(false))
        .build(translated)
        .map_err(|error| unusable(pattern, &error))
}

fn unusable(pattern: &str, error: &dyn std::error::Error) -> Refusal {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(deeper) = source {
        reason = format!("{reason}: {deeper}");
        source = deeper.source();
    }
    Refusal::new(format!("the pattern {pattern:?} can't be used: {reason}"))
}

/// RE2's ASCII classes, in the library's syntax, alone and within brackets.
fn class(letter: char) -> Option<&'static str> {
    match letter {
        'w' => Some("[0-9A-Za-z_]"),
        'W' => Some("[^0-9A-Za-z_]"),
        'd' => Some("[0-9]"),
        'D' => Some("[^0-9]"),
        's' => Some(r"[\t\n\x0C\r ]"),
        'S' => Some(r"[^\t\n\x0C\r ]"),
        _ => None,
    }
}

/// A pattern of RE2 in the library's syntax.
fn translate(pattern: &str) -> Result<String, Refusal> {
    let refuse =
        |part: &str| Err(Refusal::new(format!("the pattern {pattern:?} has {part}, which is not supported")));
    let mut translated = String::with_capacity(pattern.len() * 2);
    let mut rest = pattern.chars().peekable();
    // Within brackets: how many letters of the class came before.
    let mut bracket: Option<usize> = None;
    while let Some(letter) = rest.next() {
        if letter == '\\' {
            let Some(escaped) = rest.next() else { return refuse(r"a \ at its end") };
            match escaped {
                'C' => return refuse(r"\C"),
                'Q' if bracket.is_some() => return refuse(r"\Q in brackets"),
                'Q' => loop {
                    match rest.next() {
                        None => break,
                        Some('\\') if rest.peek() == Some(&'E') => {
                            rest.next();
                            break;
                        }
                        Some(literal) => push_literal(&mut translated, literal),
                    }
                },
                'b' | 'B' if bracket.is_none() => translated.extend([r"(?-u:\", &escaped.to_string(), ")"]),
                _ => match class(escaped) {
                    Some(class) => translated.push_str(class),
                    None => translated.extend(['\\', escaped]),
                },
            }
            bracket = bracket.map(|count| count + 1);
            continue;
        }
        match bracket {
            None => {
                translated.push(letter);
                if letter == '[' {
                    bracket = Some(0);
                    if rest.next_if_eq(&'^').is_some() {
                        translated.push('^');
                    }
                    // A bracket that comes first is a letter.
                    if rest.next_if_eq(&']').is_some() {
                        translated.push_str(r"\]");
                        bracket = Some(1);
                    }
                }
            }
            Some(count) => {
                bracket = Some(count + 1);
                match letter {
                    ']' => {
                        translated.push(']');
                        bracket = None;
                    }
                    '[' if rest.peek() == Some(&':') => {
                        // A POSIX class, up to its closing bracket.
                        translated.push('[');
                        for part in rest.by_ref() {
                            translated.push(part);
                            if part == ']' {
                                break;
                            }
                        }
                    }
                    '[' | '&' | '~' => translated.extend(['\\', letter]),
                    '-' if rest.peek() == Some(&'-') => return refuse("-- in brackets"),
                    _ => translated.push(letter),
                }
            }
        }
    }
    Ok(translated)
}

/// A letter that stands for itself.
fn push_literal(translated: &mut String, letter: char) {
    if letter.is_ascii_punctuation() {
        translated.push('\\');
    }
    translated.push(letter);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(pattern: &str, text: &str) -> bool {
        Pattern::whole(pattern).unwrap().is_match(text.as_bytes())
    }

    /// Each agrees with RE2, by way of ONNX Runtime.
    #[test]
    fn classes_are_ascii_and_dots_are_letters() {
        assert!(whole(r"www\.[\w.-]+\.\bcom\b", "www.google.com"));
        assert!(!whole(r"\w+", "é"));
        assert!(whole(r"\W", "é"));
        assert!(whole(r"[\W]", "é"));
        assert!(whole("...", "aéb"));
        assert!(whole(r"[[:alpha:]&&]+", "a&b"));
        assert!(whole(r"\Qa.b\E+", "a.bb"));
        assert!(whole("(?i)STRASSE", "strasse"));
        assert!(!whole("a|b", "ab"));
        assert!(whole(r"\101", "A"));
        assert!(whole(r"[]a]+", "]a"));
    }

    #[test]
    fn unusable_patterns_are_refused() {
        assert!(Pattern::whole("a)|(b").is_err());
        assert!(Pattern::whole("(").is_err());
        assert!(Pattern::whole(r"\C").is_err());
        assert!(Pattern::whole("((((a{100}){100}){100}){100}){100}").is_err());
    }

    #[test]
    fn the_longest_match_wins() {
        let pattern = Pattern::longest("a|ab|b").unwrap();
        assert_eq!(pattern.find("xab", 0), Ok(Some(1..3)));
        assert_eq!(pattern.find("xab", 2), Ok(Some(2..3)));
        assert_eq!(pattern.find("xab", 3), Ok(None));
    }
}
