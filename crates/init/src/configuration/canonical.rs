//! The bytes that are measured.
//!
//! JSON without white space; the members of every object sorted by the bytes of
//! their names; strings in UTF-8, escaped only where JSON demands it; integers
//! in decimal. A default and the same value spelled out are one: defaults are
//! filled in before, and rules of a policy that are not there are never written.
//! Sets and maps are sorted, lists keep their order.

use serde::Serialize;
use serde_json::Value;

use super::{FORMAT, MeasuredConfiguration};

#[derive(Serialize)]
struct Measured<'a> {
    format: &'static str,
    #[serde(flatten)]
    configuration: &'a MeasuredConfiguration,
}

#[expect(clippy::expect_used, reason = "the types hold only what JSON has; the tests serialise all of them")]
pub(super) fn encode(configuration: &MeasuredConfiguration) -> Vec<u8> {
    let value = serde_json::to_value(Measured { format: FORMAT, configuration })
        .expect("maps with text keys, lists, texts, integers");
    let mut text = String::new();
    write(&value, &mut text);
    text.into_bytes()
}

/// Sorts by itself: whether `serde_json`'s own map does depends on a feature
/// that any crate of the build may switch on.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(left, _), (right, _)| left.as_bytes().cmp(right.as_bytes()));
            text.push('{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write(member, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}
