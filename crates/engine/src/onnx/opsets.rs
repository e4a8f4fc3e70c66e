//! The opsets that a model or a function imports: a version of each domain's operators.

use std::ops::Range;

use super::OnnxError;
use adytum_wire::{Fields, text};

/// Reads an `OperatorSetIdProto`.
pub(super) fn opsets(
    data: &[u8],
    range: Range<usize>,
    into: &mut Vec<(String, i64)>,
) -> Result<(), OnnxError> {
    let (mut domain, mut version) = (String::new(), 0);
    for field in Fields::within(data, range) {
        let field = field?;
        match field.number {
            1 => domain = text(data, &field),
            2 => version = field.varint().unwrap_or_default().cast_signed(),
            _ => {}
        }
    }
    into.push((normal(domain), version));
    Ok(())
}

/// The one name of a domain: that of ONNX's own operators has two.
pub(super) fn normal(domain: String) -> String {
    if domain == "ai.onnx" { String::new() } else { domain }
}

/// The version of a domain's operators.
pub(super) fn opset(opsets: &[(String, i64)], domain: &str) -> Result<i64, OnnxError> {
    opsets
        .iter()
        .find(|(known, _)| known == domain)
        .map(|(_, version)| *version)
        // Old exporters use Microsoft's operators without importing their domain.
        .or_else(|| domain.starts_with("com.microsoft").then_some(1))
        .ok_or_else(|| OnnxError::NoOpset { domain: domain.to_owned() })
}
