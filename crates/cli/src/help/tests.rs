//! Tests of the help pages.

mod flags;

use super::*;

#[test]
fn every_command_is_in_a_group() {
    let command = crate::command_line();
    let groups = groups(&command);
    assert!(groups.iter().all(|(group, _)| *group != REST), "{groups:?}");
    let shown: usize = groups.iter().map(|(_, names)| names.len()).sum();
    assert_eq!(shown, command.get_subcommands().filter(|command| !command.is_hide_set()).count());
}

#[test]
fn groups_fit_a_narrow_terminal() {
    for width in [40, 59, 60, 100] {
        let text = template(&crate::command_line(), width);
        let plain = anstream::adapter::strip_str(&text).to_string();
        let long = plain.lines().find(|line| line.chars().count() > width);
        assert!(long.is_none(), "{width}: {long:?}");
    }
}
