//! Bodies of owners' commands, as the broker reads them from a session.

#![no_main]

use adytum_governance::command::OwnerCommand;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| match OwnerCommand::parse(body) {
    Ok(command) => {
        assert!(!command.name().as_str().is_empty());
        // What it prints as, for logs, holds no secret's bytes but their number.
        let _ = format!("{command:?}");
    }
    Err(error) => assert!(!error.code().is_empty()),
});
