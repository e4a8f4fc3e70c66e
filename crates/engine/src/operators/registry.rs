//! Which function builds which operator.

use super::{Built, Definition, Refusal, machine_learning, optional, quantization, sequence, text};

/// Makes an operator of a node.
pub type Builder = fn(&Definition<'_>) -> Result<Built, Refusal>;

/// The operators of each family: domain, name, builder.
const FAMILIES: &[&[(&str, &str, Builder)]] = &[
    machine_learning::LINEAR,
    machine_learning::SCALING,
    machine_learning::LABELS,
    machine_learning::MAPS,
    machine_learning::FEATURES,
    machine_learning::SUPPORT_VECTORS,
    machine_learning::TREES,
    optional::OPERATORS,
    quantization::CONVOLUTIONS,
    quantization::ELEMENTWISE,
    quantization::LINEAR,
    quantization::POOLS,
    quantization::PRODUCTS,
    quantization::RECURRENT,
    sequence::OPERATORS,
    text::OPERATORS,
];

/// The builder of an operator; `None` if we do not have it. The domain of ONNX's own
/// operators is the empty text.
pub fn find(domain: &str, operator: &str) -> Option<Builder> {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    FAMILIES
        .iter()
        .flat_map(|family| family.iter())
        .find(|(known_domain, name, _)| *known_domain == domain && *name == operator)
        .map(|(_, _, builder)| *builder)
}
