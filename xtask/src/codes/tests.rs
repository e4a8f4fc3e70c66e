use std::{collections::BTreeMap, fs};

use super::{
    catalogue::Catalogue,
    scan::{Scanned, scan},
};
use crate::sources::ModuleTree;

/// The catalogue's data of one crate with that source, and what is wrong.
fn catalogue(source: &str) -> (String, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lib.rs");
    fs::write(&file, source).unwrap();
    let crates = [Scanned { package: "one".to_owned(), tree: ModuleTree::read(&file).unwrap() }];
    let (sources, mut problems) = scan(&crates, directory.path());
    let programs = BTreeMap::from([("one".to_owned(), vec!["program".to_owned()])]);
    let (catalogue, found) = Catalogue::new(&sources, &programs);
    problems.extend(found);
    let table = catalogue.table();
    let entries = table.split_once("= &[\n").unwrap().1.trim_end_matches("];\n");
    let data: Vec<&str> = entries.lines().map(str::trim).collect();
    let data = data.join(" ");
    (data, problems.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn assert_problem(source: &str, expected: &str) {
    let (_, problems) = catalogue(source);
    assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?}");
}

#[test]
fn variants_explain_their_codes() {
    let (data, problems) = catalogue(
        r#"
        /// Why not.
        enum E {
            /// The bundle has too many bytes.
            ///
            /// Do: seal less.
            Large { size: u64 },
            Inner(Other),
        }
        impl E {
            fn code(&self) -> &'static str {
                match self { Self::Large { .. } => "too-large", Self::Inner(error) => error.code() }
            }
            fn retry(&self) -> bool { !matches!(self, Self::Large { .. }) }
        }
        /// The other thing is not there.
        ///
        /// Do: wait.
        ///
        /// Retry: later
        struct Other;
        impl Other { fn code(&self) -> &'static str { "other-missing" } }
        "#,
    );
    assert_eq!(problems, Vec::<String>::new());
    let expected = [
        r#"Entry { code: "other-missing", meaning: "The other thing is not there.", next_step: "wait.","#,
        r#"retry: Retry::Later, package: "one", programs: &["program"], },"#,
        r#"Entry { code: "too-large", meaning: "The bundle has too many bytes.", next_step: "seal less.","#,
        r#"retry: Retry::No, package: "one", programs: &["program"], },"#,
    ];
    assert_eq!(data, expected.join(" "));
}

#[test]
fn a_code_needs_a_next_step_a_meaning_and_a_word_on_retry() {
    let source = |text: &str| {
        format!(
            "enum E {{ {text}\nA }} impl E {{ fn code(&self) -> &'static str {{ match self {{ Self::A => \"a-b\" }} }} }}"
        )
    };
    assert_problem(&source("/// It is too large here."), "lib.rs:2: code `a-b` (E::A) has no next step");
    assert_problem(&source("/// Large.\n///\n/// Do: less.\n///\n/// Retry: no"), "is no sentence");
    assert_problem(&source("/// It is too large here.\n///\n/// Do: less."), "Write `Retry: yes`");
    assert_problem(
        &source("/// It is too large here.\n///\n/// Do: less.\n///\n/// Retry: perhaps"),
        "`Retry: perhaps`",
    );
}

#[test]
fn what_is_said_of_retry_is_what_the_code_answers() {
    assert_problem(
        r#"
        enum E {
            /// It is too large here.
            ///
            /// Do: less.
            ///
            /// Retry: later
            A,
        }
        impl E {
            fn code(&self) -> &'static str { match self { Self::A => "a" } }
            fn retry(&self) -> bool { false }
        }
        "#,
        "disagree",
    );
}

/// Two enums that have one code, and what is above the second's variant.
fn two(second: &str) -> String {
    format!(
        r#"
        enum One {{
            /// It is too large here.
            ///
            /// Do: less.
            ///
            /// Retry: no
            A,
        }}
        impl One {{ fn code(&self) -> &'static str {{ match self {{ Self::A => "a" }} }} }}
        enum Two {{
            {second}
            A,
        }}
        impl Two {{ fn code(&self) -> &'static str {{ match self {{ Two::A => "a" }} }} }}
        "#
    )
}

#[test]
fn a_code_has_one_meaning() {
    assert_problem(
        &two("/// It is too small here.\n///\n/// Do: more.\n///\n/// Retry: no"),
        "another meaning or next step in One::A",
    );
    assert_problem(&two("/// The same."), "write `See: One::A` here");
    assert_eq!(catalogue(&two("/// The same.\n///\n/// See: [`One::A`]")).1, Vec::<String>::new());
    assert_eq!(
        catalogue(&two("/// It is too large here.\n///\n/// Do: less.\n///\n/// Retry: no")).1,
        Vec::<String>::new()
    );
}

#[test]
fn variants_of_one_arm_are_explained_by_one() {
    let (data, problems) = catalogue(
        r#"
        /// Retry: no
        enum E {
            /// It is too large here.
            ///
            /// Do: less.
            A,
            /// Nor this.
            B(Inner),
        }
        /// Retry: yes
        enum Inner {
            /// It goes too far in.
            ///
            /// Do: go back.
            C,
        }
        impl E {
            fn code(&self) -> &'static str {
                match self {
                    Self::B(Inner::C) => "too-far",
                    Self::A | Self::B(_) => "a",
                }
            }
        }
        "#,
    );
    assert_eq!(problems, Vec::<String>::new());
    assert!(data.contains("go back.\", retry: Retry::Yes"), "{data}");
    assert!(data.contains("less.\", retry: Retry::No"), "{data}");
}

#[test]
fn a_code_in_place_is_a_constant_or_explained_elsewhere() {
    let explained = r#"
        /// It is too large here.
        ///
        /// Do: less.
        ///
        /// Retry: no
        const LARGE: &str = "large";
        fn f() { warn!(code = LARGE, "text"); }
        "#;
    assert_eq!(catalogue(explained).1, Vec::<String>::new());
    let again = format!("{explained} fn g() {{ Refusal::permanent(\"large\", x) }}");
    assert_eq!(catalogue(&again).1, Vec::<String>::new());
    assert_problem("fn f() { warn!(code = \"large\", x); }", "code `large` is written in place");
    assert_problem(
        "const A: &str = \"large\"; fn f() { warn!(code = A); }",
        "code `large` (A) has no next step",
    );
}

#[test]
fn a_code_is_words_with_dashes() {
    let (_, problems) = catalogue(
        "/// It is too large here.\n///\n/// Do: less.\n///\n/// Retry: no\nconst A: &str = \"tooLarge\";\n\
         fn f() { warn!(code = A); }",
    );
    assert!(problems[0].contains("words in lower case"), "{problems:?}");
}

#[test]
fn a_code_function_that_can_not_be_read_is_an_error() {
    assert_problem(
        "struct S; impl S { fn code(&self) -> &'static str { loop { break \"a\" } } }",
        "the codes of S can't be read here",
    );
}
