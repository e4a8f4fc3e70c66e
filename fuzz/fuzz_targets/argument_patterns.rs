//! Argument patterns, and arguments held against them. The input: patterns, one
//! a line; an empty line; arguments, one a line.

#![no_main]

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use adytum_init::pattern::{ArgumentRule, ArgumentRules, Pattern};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut patterns = Vec::new();
    let mut required = Vec::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let Ok(text) = std::str::from_utf8(line) else { return };
        let Ok(pattern) = text.parse::<Pattern>() else { return };
        assert_eq!(pattern.to_string().parse::<Pattern>().as_ref(), Ok(&pattern));
        let rule: ArgumentRule = serde_json::from_value(text.into()).expect("a pattern is a rule");
        patterns.push(pattern);
        required.push(rule);
    }
    let arguments: Vec<&OsStr> = lines.map(OsStr::from_bytes).collect();
    let none = ArgumentRules::default();
    assert_eq!(none.check(arguments.iter().copied()).is_ok(), arguments.is_empty());

    let rules = ArgumentRules { required: required.clone(), optional: Vec::new() };
    if rules.check(arguments.iter().copied()).is_ok() {
        // Each rule was used, and once.
        assert_eq!(arguments.len(), patterns.len());
    }
    let rules = ArgumentRules { required: Vec::new(), optional: required };
    if rules.check(arguments.iter().copied()).is_ok() {
        assert!(arguments.len() <= patterns.len());
        for argument in &arguments {
            assert!(patterns.iter().any(|pattern| pattern.matches(argument)));
        }
    }
});
