//! Convolutions and pools that rten 0.27 reads or computes wrongly.
//!
//! - ONNX lets `kernel_shape` be left out ("inferred from input W") and then
//!   `strides` and `dilations` default to 1 along each axis. rten takes their
//!   number from `kernel_shape`, so a node without it fails. Here the missing
//!   attributes are written out.
//! - Pools without `strides` fail likewise.
//! - `ConvInteger` with padding pads with 0 and not with the zero point: wrong
//!   answers at the border, without an error. Such a model is refused.

use std::collections::BTreeMap;

use super::OnnxError;
use crate::wire::{put_bytes, put_number};

/// The attributes of a node that matter here.
#[derive(Debug, Default)]
pub(super) struct NodeSummary {
    pub(super) name: String,
    pub(super) operator: String,
    pub(super) inputs: Vec<String>,
    /// Attributes that are lists of integers.
    pub(super) integers: BTreeMap<String, Vec<i64>>,
    /// Attributes that are texts.
    pub(super) texts: BTreeMap<String, String>,
}

const ATTRIBUTE: u64 = 5;
const TYPE_INTEGERS: u64 = 7;

/// An `AttributeProto` field of a node: a list of integers.
fn attribute(out: &mut Vec<u8>, name: &str, values: &[i64]) {
    let mut message = Vec::new();
    put_bytes(&mut message, 1, name.as_bytes());
    for value in values {
        put_number(&mut message, 8, value.cast_unsigned());
    }
    put_number(&mut message, 20, TYPE_INTEGERS);
    put_bytes(out, ATTRIBUTE, &message);
}

/// Refuses what can't be computed rightly, and appends to the node (`out`, an
/// encoded `NodeProto`) the attributes that the engine needs spelled out.
pub(super) fn complete(
    node: &NodeSummary,
    shapes: &BTreeMap<String, Vec<i64>>,
    out: &mut Vec<u8>,
) -> Result<(), OnnxError> {
    match node.operator.as_str() {
        "ConvInteger" => {
            refuse_padding(node)?;
            complete_convolution(node, shapes, out);
        }
        "Conv" | "ConvTranspose" => complete_convolution(node, shapes, out),
        "MaxPool" | "AveragePool" => {
            if let (Some(kernel), None) = (node.integers.get("kernel_shape"), node.integers.get("strides")) {
                attribute(out, "strides", &vec![1; kernel.len()]);
            }
        }
        _ => {}
    }
    Ok(())
}

fn refuse_padding(node: &NodeSummary) -> Result<(), OnnxError> {
    let padded = node.integers.get("pads").is_some_and(|pads| pads.iter().any(|pad| *pad != 0))
        || node.texts.get("auto_pad").is_some_and(|mode| mode.starts_with("SAME"));
    if padded {
        return Err(OnnxError::Unsound {
            node: node.name.clone(),
            operator: node.operator.clone(),
            what: "padding",
            remedy: "serve the float model, or quantize it without convolutions",
        });
    }
    Ok(())
}

fn complete_convolution(node: &NodeSummary, shapes: &BTreeMap<String, Vec<i64>>, out: &mut Vec<u8>) {
    let kernel = match node.integers.get("kernel_shape") {
        Some(kernel) => kernel.clone(),
        None => {
            // Weights are [M, C / group, k1, k2, ...].
            let weights = node.inputs.get(1).and_then(|name| shapes.get(name));
            let Some(kernel) = weights.and_then(|shape| shape.get(2..)) else { return };
            attribute(out, "kernel_shape", kernel);
            kernel.to_vec()
        }
    };
    for name in ["strides", "dilations"] {
        if !node.integers.contains_key(name) {
            attribute(out, name, &vec![1; kernel.len()]);
        }
    }
}
