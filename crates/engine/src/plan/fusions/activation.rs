//! Functions of one node, behind a product. Those of several nodes are one node already ([`super::functions`]).

use adytum_kernels::activation::Activation;

use super::{super::placement::Placed, links::Links};
use crate::onnx::model::{Node, ValueId};

/// The function that is applied to a value, and to nothing else of it: what it is, its result, and its node.
pub(super) fn activation(
    placed: &[Option<Placed>],
    links: &Links,
    value: ValueId,
) -> Option<(Activation, ValueId, usize)> {
    let user = links.only_user(value)?;
    let node = &placed.get(user)?.as_ref()?.node;
    let [Some(output)] = node.outputs.as_slice() else { return None };
    Some((single(node)?, *output, user))
}

/// The function of a node of one input.
pub(super) fn single(node: &Node) -> Option<Activation> {
    if node.inputs.len() != 1 {
        return None;
    }
    match (node.domain.as_str(), node.operator.as_str()) {
        ("", "Relu") => Some(Activation::RELU),
        ("", "Tanh") => Some(Activation::Tanh),
        ("", "Sigmoid") => Some(Activation::Sigmoid),
        ("", "Gelu") => match node.attributes.text("approximate") {
            Ok(None | Some("none")) => Some(Activation::Gelu),
            Ok(Some("tanh")) => Some(Activation::GeluTanh),
            _ => None,
        },
        ("", "HardSwish") => Some(Activation::HardSwish(1.0 / 6.0, 0.5)),
        ("", "Swish") => Some(Activation::Swish(node.attributes.float("alpha").ok()?.unwrap_or(1.0))),
        ("com.microsoft", "Gelu") => Some(Activation::Gelu),
        ("com.microsoft", "QuickGelu") => match node.attributes.float("alpha") {
            Ok(alpha) => Some(Activation::Swish(alpha.unwrap_or(1.702))),
            Err(_) => None,
        },
        ("com.microsoft", "FastGelu") => Some(Activation::GeluTanh),
        _ => None,
    }
}
