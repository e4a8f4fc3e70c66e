//! A text for people names only what exists: commands, flags, files of this
//! repository, fields, environment variables.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::commands::{Programs, Syntax, flag};

/// Everything that a text may name.
pub(super) struct Names<'a> {
    pub(super) root: &'a Path,
    pub(super) programs: &'a Programs,
    /// Words with underscores that the sources use as names: fields, keys,
    /// environment variables.
    pub(super) words: BTreeSet<String>,
    /// The programs that are built with a crate.
    pub(super) of_crate: &'a BTreeMap<String, Vec<String>>,
}

/// The directories whose files a text may name.
const DIRECTORIES: [&str; 8] =
    ["docs/", "deploy/", "examples/", "tests/", "crates/", "xtask/", "benches/", "fuzz/"];

/// Names of other people's software, with whose they are.
const FOREIGN: [(&str, &str); 3] = [
    ("init_ra_conf", "Occlum's section of the configuration of its init"),
    ("resnet_client_grpc", "a client of TensorFlow Serving"),
    ("save_as_external_data", "a parameter of ONNX's Python package"),
];

impl Names<'_> {
    /// The faults of a text that a crate writes.
    pub(super) fn check(&self, text: &str, package: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if text.contains("  ") {
            problems.push("two blanks in a row; write one".to_owned());
        }
        let mut named = Vec::new();
        self.check_commands(text, &mut named, &mut problems);
        self.check_flags(text, package, &named, &mut problems);
        for word in words(text) {
            let is_file = DIRECTORIES.iter().any(|directory| word.starts_with(directory));
            if is_file && !self.root.join(word).exists() {
                problems.push(format!("there is no file {word}"));
            } else if !is_file
                && is_name(word)
                && !self.words.contains(word)
                && !FOREIGN.iter().any(|(name, _)| *name == word)
            {
                problems.push(format!("there is no field, key or variable {word}"));
            }
        }
        problems
    }

    /// `adytum broker confirm`: each word a command of the one before.
    fn check_commands<'a>(&'a self, text: &str, named: &mut Vec<&'a Syntax>, problems: &mut Vec<String>) {
        let words: Vec<&str> = text.split_whitespace().collect();
        for (index, word) in words.iter().enumerate() {
            // `adytum` itself is also the project's name.
            let opening = word.trim_start_matches(['`', '(', '"']);
            let Some(program) = self.programs.programs.get(opening) else { continue };
            let quoted = opening.len() < word.len();
            let mut syntax = program;
            let mut path = opening.to_owned();
            for next in words.iter().skip(index + 1) {
                if syntax.commands.is_empty() {
                    break;
                }
                let name = next.trim_end_matches(['`', ')', '"', ',', ';', ':', '.']);
                let plain = name.starts_with(|letter: char| letter.is_ascii_lowercase())
                    && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
                match syntax.commands.get(name) {
                    Some(found) => {
                        syntax = found;
                        path = format!("{path} {name}");
                        if name.len() < next.len() {
                            break;
                        }
                    }
                    None if plain && (quoted || path.contains(' ')) && !follows(name) => {
                        problems.push(format!("there is no command `{path} {name}`"));
                        break;
                    }
                    None if plain
                        && !quoted
                        && !path.contains(' ')
                        && program.commands.contains_key(name) =>
                    {
                        break;
                    }
                    None => break,
                }
            }
            if path.contains(' ') || program.commands.is_empty() {
                named.push(syntax);
            }
        }
    }

    /// A flag is one of the commands that the text names, else of the crate's programs.
    fn check_flags(&self, text: &str, package: &str, named: &[&Syntax], problems: &mut Vec<String>) {
        let of_crate = self.of_crate.get(package);
        let own = self.programs.flags(of_crate.into_iter().flatten());
        let all = self.programs.flags(self.programs.programs.keys());
        for (index, _) in text.match_indices("--") {
            let before = text.get(..index).and_then(|before| before.chars().next_back());
            if before.is_some_and(|letter| {
                !letter.is_whitespace() && !['`', '(', '"', '\'', '['].contains(&letter)
            }) {
                continue;
            }
            let Some(flag) = text.get(index..).and_then(flag) else { continue };
            let of_named = named.iter().any(|syntax| syntax.flags.contains(flag));
            if of_named || own.contains(flag) {
                continue;
            }
            if all.contains(flag) {
                problems.push(format!(
                    "{flag} is a flag of none of the programs with this crate ({}); name the command that has it",
                    of_crate.map(|names| names.join(", ")).unwrap_or_default()
                ));
            } else {
                problems.push(format!("there is no flag {flag}"));
            }
        }
    }
}

/// Words that may follow a command in a sentence.
fn follows(word: &str) -> bool {
    [
        "with", "and", "or", "to", "on", "in", "as", "is", "of", "for", "from", "there", "that", "by",
        "first", "again",
    ]
    .contains(&word)
}

/// The words of a text, without punctuation around them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let inside = |letter: char| letter.is_alphanumeric() || ['_', '/', '.', '-'].contains(&letter);
    text.split(move |letter: char| !inside(letter))
        .map(|word| word.trim_end_matches(['.', '-', '/']))
        .filter(|word| !word.is_empty())
        .flat_map(|word| {
            // `a.b_c` is a path of fields.
            let whole = DIRECTORIES.iter().any(|directory| word.starts_with(directory));
            if whole { vec![word] } else { word.split(['.', '/']).collect() }
        })
}

/// Is that a field's, a key's or a variable's name: words joined by underscores?
fn is_name(word: &str) -> bool {
    let parts: Vec<&str> = word.split('_').collect();
    let starts = word.starts_with(|letter: char| letter.is_ascii_alphabetic());
    let lower =
        word.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    let variable = word.starts_with("ADYTUM_");
    starts && parts.len() > 1 && parts.iter().all(|part| !part.is_empty()) && (lower || variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("docs")).unwrap();
        std::fs::write(directory.path().join("docs/operate.md"), "").unwrap();
        let flags = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect::<BTreeSet<_>>();
        let confirm = Syntax { flags: flags(&["--broker"]), commands: BTreeMap::new() };
        let broker =
            Syntax { flags: flags(&["--help"]), commands: BTreeMap::from([("confirm".to_owned(), confirm)]) };
        let adytum = Syntax { flags: flags(&[]), commands: BTreeMap::from([("broker".to_owned(), broker)]) };
        let init = Syntax { flags: flags(&["--configuration"]), commands: BTreeMap::new() };
        let programs = Programs {
            programs: BTreeMap::from([("adytum".to_owned(), adytum), ("adytum-init".to_owned(), init)]),
        };
        let of_crate = BTreeMap::from([("init".to_owned(), vec!["adytum-init".to_owned()])]);
        let words = ["maximum_size", "ADYTUM_LOG"].map(str::to_owned).into();
        let names = Names { root: directory.path(), programs: &programs, words, of_crate: &of_crate };
        names.check(text, "init")
    }

    #[test]
    fn what_exists_may_be_named() {
        for text in [
            "run `adytum broker confirm --broker ADDRESS` first",
            "run adytum broker confirm, then try again",
            "Adytum is not adytum the place",
            "give --configuration FILE; see docs/operate.md.",
            "raise bundle.maximum_size or set ADYTUM_LOG",
            "between 3 -- 5, a--b",
        ] {
            assert_eq!(problems(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn what_does_not_exist_is_found() {
        for (text, expected) in [
            ("run `adytum broker confirms`", "there is no command `adytum broker confirms`"),
            ("run `adytum brokers`", "there is no command `adytum brokers`"),
            ("run adytum broker check", "there is no command `adytum broker check`"),
            ("give --config", "there is no flag --config"),
            ("give `--broker`", "--broker is a flag of none"),
            ("see docs/absent.md", "there is no file docs/absent.md"),
            ("raise maximum_sizes", "there is no field, key or variable maximum_sizes"),
            ("set ADYTUM_LOGS", "there is no field, key or variable ADYTUM_LOGS"),
            ("`adytum broker          confirm`", "two blanks"),
        ] {
            let found = problems(text);
            assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
        }
    }
}
