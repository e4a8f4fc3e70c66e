//! The same flag is the same thing in every command.

use std::collections::{BTreeMap, BTreeSet};

/// Flags whose values are of several kinds, and why.
const SEVERAL_KINDS: &[(&str, &str)] = &[
    ("broker", "`measure` takes a broker's program, which is no address"),
    ("directory", "of `init-data new` it is a path in the container"),
    ("genesis", "a data owner may have the digest alone"),
    ("image", "a container's image is a name, a picture is a file"),
    ("input", "`call` gives values with the name; for a picture the name is enough"),
    ("listen", "`up` has its ports in --port"),
    ("model", "`deployment` takes the files of models, each with its name"),
    ("out", "a sealed model is a directory, a bundle is a file"),
    ("owner", "a genesis is made of public keys"),
];

/// Names of counts, and why they are not called `--count`.
const COUNTS: &[(&str, &str)] = &[
    ("cnum", "Occlum's benchmark has it"),
    ("count", "the usual name: how many are shown"),
    ("loop", "Occlum's benchmark has it"),
    ("max-files", "a limit"),
    ("recovery-threshold", "of how many"),
    ("replicas", "of what"),
    ("threshold", "of how many"),
    ("top", "the best ones only"),
    ("warmup", "before others are counted"),
];

type Kinds = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The kinds of value of each flag, with the commands that have them.
fn kinds(command: &clap::Command, path: &str, found: &mut Kinds) {
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let Some(long) = argument.get_long() else { continue };
        let takes_value = argument.get_action().takes_values();
        let kind = argument.get_value_names().filter(|_| takes_value).unwrap_or_default();
        let kind = kind.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        found.entry(long.to_owned()).or_default().entry(kind).or_default().insert(path.to_owned());
    }
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        kinds(sub, &format!("{path} {}", sub.get_name()), found);
    }
}

#[test]
fn a_flag_has_the_same_kind_of_value_everywhere() {
    let mut found = Kinds::new();
    kinds(&crate::command_line(), "adytum", &mut found);
    let mut faults = Vec::new();
    for (flag, kinds) in &found {
        let is_listed = SEVERAL_KINDS.iter().any(|(known, _)| known == flag);
        if (kinds.len() > 1) != is_listed {
            faults.push(format!("--{flag}: {kinds:?}"));
        }
    }
    let is_left_out = cfg!(not(feature = "simulation"));
    assert!(faults.is_empty() || is_left_out, "{}", faults.join("\n"));
}

#[test]
fn counts_have_one_name() {
    let mut found = Kinds::new();
    kinds(&crate::command_line(), "adytum", &mut found);
    for (flag, kinds) in &found {
        let is_count = kinds.contains_key("COUNT");
        assert!(!is_count || COUNTS.iter().any(|(known, _)| known == flag), "--{flag}: call it --count");
        // A number that is no count is a version, a port or a size.
        assert!(!kinds.contains_key("N"), "--{flag}: NUMBER or COUNT");
    }
}
