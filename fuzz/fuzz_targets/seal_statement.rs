//! Seal statements.

#![no_main]

use adytum_sealed::{rule::ModelRule, statement::Statement};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(statement) = Statement::parse(bytes) else { return };
    assert_eq!(Statement::parse(statement.to_text().as_bytes()).as_ref(), Ok(&statement));
    // A rule that lists nothing accepts nothing.
    let rule = ModelRule {
        name: statement.model.clone(),
        signers: Default::default(),
        minimum_version: 0,
        digests: Default::default(),
    };
    assert!(rule.judge(&statement).is_err());
});
