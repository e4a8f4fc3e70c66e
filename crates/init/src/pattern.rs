//! Which arguments the measured configuration lets through.
//!
//! A *pattern* is a text that describes one argument. It is the argument itself,
//! but for at most one placeholder:
//!
//! | placeholder | stands for |
//! |---|---|
//! | `{number}` | 1 to 19 decimal digits |
//! | `{name}` | 1 to 128 of `a-z A-Z 0-9 _ - .`, the first a letter or digit |
//! | `{path}` | an absolute path: starts with `/`, no `..` component, no control character |
//! | `{address}` | 1 to 255 of `a-z A-Z 0-9 . - _ : [ ]`: a host, a port, or both |
//! | `*` | anything, nothing included |
//!
//! A literal `{`, `}` or `*` is written twice. Since there is one placeholder at
//! most, a pattern matches an argument in one way or in none.
//!
//! A *rule* is one pattern, or a list of patterns for consecutive arguments (`["--port",
//! "{number}"]`). The order of rules does not bind the order of arguments: arguments are
//! read from the left, and each position takes the first rule not yet used that matches
//! there. Each rule is used once at most; an argument that may come twice is listed
//! twice. Where a program's meaning depends on the order of its arguments, one rule lists
//! them all.

use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

const MAXIMUM_NAME: usize = 128;
const MAXIMUM_ADDRESS: usize = 255;
const MAXIMUM_DIGITS: usize = 19;

/// What a pattern's placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Number,
    Name,
    Path,
    Address,
    Anything,
}

impl Placeholder {
    const BY_NAME: [(&'static str, Self); 4] =
        [("number", Self::Number), ("name", Self::Name), ("path", Self::Path), ("address", Self::Address)];

    fn text(self) -> &'static str {
        match self {
            Self::Number => "{number}",
            Self::Name => "{name}",
            Self::Path => "{path}",
            Self::Address => "{address}",
            Self::Anything => "*",
        }
    }

    fn matches(self, bytes: &[u8]) -> bool {
        match self {
            Self::Number => {
                (1..=MAXIMUM_DIGITS).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_digit)
            }
            Self::Name => {
                (1..=MAXIMUM_NAME).contains(&bytes.len())
                    && bytes[0].is_ascii_alphanumeric()
                    && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(b))
            }
            Self::Path => std::str::from_utf8(bytes).is_ok_and(|path| {
                path.starts_with('/')
                    && !path.chars().any(char::is_control)
                    && path.split('/').all(|component| component != "..")
            }),
            Self::Address => {
                (1..=MAXIMUM_ADDRESS).contains(&bytes.len())
                    && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(b))
            }
            Self::Anything => true,
        }
    }
}

/// Describes one argument; see the [module](self).
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    prefix: String,
    /// The placeholder and the text after it.
    rest: Option<(Placeholder, String)>,
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "argument pattern {pattern:?}: {reason}; a pattern is literal text with at most one of {{number}}, {{name}}, \
     {{path}}, {{address}} and *; literal braces and stars are written twice"
)]
pub struct PatternError {
    pub pattern: String,
    /// The fault of the rule.
    pub reason: String,
}

impl Pattern {
    /// Does this argument have this form?
    pub fn matches(&self, argument: &OsStr) -> bool {
        let bytes = argument.as_bytes();
        match &self.rest {
            None => bytes == self.prefix.as_bytes(),
            Some((placeholder, suffix)) => bytes
                .strip_prefix(self.prefix.as_bytes())
                .and_then(|bytes| bytes.strip_suffix(suffix.as_bytes()))
                .is_some_and(|bytes| placeholder.matches(bytes)),
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let error = |reason: String| PatternError { pattern: text.to_owned(), reason };
        let mut prefix = String::new();
        let mut rest: Option<(Placeholder, String)> = None;
        let mut remaining = text;
        while let Some(character) = remaining.chars().next() {
            remaining = &remaining[character.len_utf8()..];
            let placeholder = match character {
                '\0' => return Err(error("an argument has no NUL byte".to_owned())),
                '{' | '}' | '*' if remaining.starts_with(character) => {
                    remaining = &remaining[1..];
                    None
                }
                '*' => Some(Placeholder::Anything),
                '}' => return Err(error("a single }".to_owned())),
                '{' => {
                    let (name, after) =
                        remaining.split_once('}').ok_or_else(|| error("a { without }".to_owned()))?;
                    remaining = after;
                    let known = Placeholder::BY_NAME.iter().find(|(known, _)| *known == name);
                    Some(known.ok_or_else(|| error(format!("unknown placeholder {{{name}}}")))?.1)
                }
                _ => None,
            };
            match (placeholder, &mut rest) {
                (Some(placeholder), None) => rest = Some((placeholder, String::new())),
                (Some(_), Some(_)) => return Err(error("more than one placeholder".to_owned())),
                (None, None) => prefix.push(character),
                (None, Some((_, suffix))) => suffix.push(character),
            }
        }
        Ok(Self { prefix, rest })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |text: &str| text.replace('{', "{{").replace('}', "}}").replace('*', "**");
        f.write_str(&escape(&self.prefix))?;
        if let Some((placeholder, suffix)) = &self.rest {
            f.write_str(placeholder.text())?;
            f.write_str(&escape(suffix))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}

/// One rule: patterns of consecutive arguments; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentRule(Vec<Pattern>);

impl ArgumentRule {
    fn matches(&self, arguments: &[&OsStr]) -> bool {
        arguments.len() >= self.0.len()
            && self.0.iter().zip(arguments).all(|(pattern, argument)| pattern.matches(argument))
    }
}

impl fmt::Display for ArgumentRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns: Vec<String> = self.0.iter().map(Pattern::to_string).collect();
        f.write_str(&patterns.join(" "))
    }
}

impl Serialize for ArgumentRule {
    /// Always as a list, so that `"x"` and `["x"]`, which mean the same, are
    /// measured alike.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Pattern::to_string))
    }
}

impl<'de> Deserialize<'de> for ArgumentRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "an argument pattern or a list of them")]
        enum OneOrMore {
            One(String),
            More(Vec<String>),
        }
        let texts = match OneOrMore::deserialize(deserializer)? {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        };
        if texts.is_empty() {
            return Err(D::Error::custom("an argument rule without patterns"));
        }
        let patterns: Result<_, _> = texts.iter().map(|text| text.parse()).collect();
        patterns.map(Self).map_err(D::Error::custom)
    }
}

/// All rules about a program's arguments (without `argv[0]`). Deny by default:
/// without rules, no argument passes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ArgumentRules {
    pub required: Vec<ArgumentRule>,
    pub optional: Vec<ArgumentRule>,
}

/// Why a list of arguments does not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgumentRefusal {
    /// No unused rule matches this one.
    #[error("argument {position} {argument:?} is not among those pinned; allowed here are: {allowed}")]
    NotAllowed {
        position: usize,
        /// The argument, invalid UTF-8 replaced.
        argument: String,
        /// The rules not yet used.
        allowed: String,
    },
    /// A required rule was not used.
    #[error("the pinned argument {rule} is missing")]
    Missing { rule: String },
}

impl ArgumentRules {
    /// Checks arguments from the left; see the [module](self).
    pub fn check<'a>(&self, arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<(), ArgumentRefusal> {
        let arguments: Vec<&OsStr> = arguments.into_iter().collect();
        let mut unused: Vec<(&ArgumentRule, bool)> = self
            .required
            .iter()
            .map(|rule| (rule, true))
            .chain(self.optional.iter().map(|rule| (rule, false)))
            .collect();
        let mut position = 0;
        while position < arguments.len() {
            let here = &arguments[position..];
            let Some(index) = unused.iter().position(|(rule, _)| rule.matches(here)) else {
                let allowed: Vec<String> = unused.iter().map(|(rule, _)| rule.to_string()).collect();
                return Err(ArgumentRefusal::NotAllowed {
                    position: position + 1,
                    argument: here[0].to_string_lossy().into_owned(),
                    allowed: if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") },
                });
            };
            position += unused.remove(index).0.0.len();
        }
        match unused.iter().find(|(_, required)| *required) {
            Some((rule, _)) => Err(ArgumentRefusal::Missing { rule: rule.to_string() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, argument: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(OsStr::new(argument))
    }

    #[test]
    fn placeholders_match_their_class_and_nothing_more() {
        for (pattern, good, bad) in [
            (
                "--port={number}",
                &["--port=9001"][..],
                &["--port=", "--port=90a", "--port=-1", "port=1", "--port=1 "][..],
            ),
            (
                "--model_name={name}",
                &["--model_name=resnet-50.v1"],
                &["--model_name=", "--model_name=a b", "--model_name=../x"],
            ),
            ("{path}", &["/models/resnet", "/"], &["models", "/a/../etc", "/..", "/a\n", ""]),
            ("--host={address}", &["--host=[::1]:80", "--host=a.b:5000"], &["--host=a/b", "--host="]),
            ("--x=*", &["--x=", "--x=anything at all"], &["--y=", "--x"]),
            ("{{*}}**", &["{}*", "{abc}*"], &["{}", "{}**"]),
            ("aba*aba", &["abaaba", "abaxaba"], &["aba", "ababa"]),
        ] {
            for argument in good {
                assert!(matches(pattern, argument), "{pattern} {argument}");
            }
            for argument in bad {
                assert!(!matches(pattern, argument), "{pattern} {argument}");
            }
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for text in ["{", "}", "{port}", "{number", "**{number}*", "{name}{number}", "a\0"] {
            assert!(text.parse::<Pattern>().is_err(), "{text:?}");
        }
    }

    fn rules(required: &[&[&str]], optional: &[&[&str]]) -> ArgumentRules {
        let rules = |list: &[&[&str]]| {
            list.iter().map(|rule| ArgumentRule(rule.iter().map(|p| p.parse().unwrap()).collect())).collect()
        };
        ArgumentRules { required: rules(required), optional: rules(optional) }
    }

    fn check(rules: &ArgumentRules, arguments: &[&str]) -> Result<(), ArgumentRefusal> {
        rules.check(arguments.iter().map(OsStr::new))
    }

    #[test]
    fn each_rule_is_used_once_in_any_order() {
        let rules = rules(&[&["--model={name}"]], &[&["--port", "{number}"], &["-v"]]);
        assert_eq!(check(&rules, &["--model=a"]), Ok(()));
        assert_eq!(check(&rules, &["-v", "--port", "1", "--model=a"]), Ok(()));
        assert_eq!(
            check(&rules, &["-v"]),
            Err(ArgumentRefusal::Missing { rule: "--model={name}".to_owned() })
        );
        for refused in [
            &["--model=a", "--model=b"][..],
            &["--model=a", "-v", "-v"],
            &["--model=a", "1", "--port"],
            &["--model=a", "--port"],
            &["--model=a", ""],
        ] {
            assert!(matches!(check(&rules, refused), Err(ArgumentRefusal::NotAllowed { .. })), "{refused:?}");
        }
        let error = check(&rules, &["--model=a", "--debug"]).unwrap_err().to_string();
        assert!(error.contains("argument 2 \"--debug\"") && error.contains("--port {number}, -v"), "{error}");
    }

    #[test]
    fn without_rules_no_argument_passes() {
        assert_eq!(check(&ArgumentRules::default(), &[]), Ok(()));
        assert!(check(&ArgumentRules::default(), &["x"]).is_err());
    }

    #[test]
    fn bytes_that_are_no_text_pass_only_where_anything_does() {
        let argument = OsStr::from_bytes(b"/\xff");
        assert!(!"{path}".parse::<Pattern>().unwrap().matches(argument));
        assert!("*".parse::<Pattern>().unwrap().matches(argument));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused_and_what_parses_prints_back(text in "[a{}*numberpth=-]{0,24}") {
            if let Ok(pattern) = text.parse::<Pattern>() {
                prop_assert_eq!(pattern.to_string().parse::<Pattern>().unwrap(), pattern);
            }
        }

        #[test]
        fn an_escaped_literal_matches_itself_only(text in "[^\0]{0,24}", other in "[^\0]{0,24}") {
            let escaped = text.replace('{', "{{").replace('}', "}}").replace('*', "**");
            prop_assert!(matches(&escaped, &text));
            prop_assert_eq!(matches(&escaped, &other), text == other);
        }
    }
}
