//! Which function builds which operator.

use super::{
    algebra, attention, cast, constant, definition::Builder, elementwise, identity, machine_learning,
    movement, normalization, optional, quantization, random, recurrent, reduction, scatter, selection,
    sequence, signal, softmax, text, vision, windows,
};

/// The operators of each family: domain, name, builder.
const FAMILIES: &[&[(&str, &str, Builder)]] = &[
    algebra::blocks::OPERATORS,
    algebra::determinant::OPERATORS,
    algebra::einsum::OPERATORS,
    algebra::gemm::OPERATORS,
    algebra::matmul::OPERATORS,
    attention::grouped::OPERATORS,
    attention::linear::OPERATORS,
    attention::multi_head::OPERATORS,
    attention::rotary::OPERATORS,
    attention::scaled::OPERATORS,
    cast::OPERATORS,
    constant::OPERATORS,
    elementwise::activation::OPERATORS,
    elementwise::arithmetic::OPERATORS,
    elementwise::bits::OPERATORS,
    elementwise::clip::OPERATORS,
    elementwise::comparison::OPERATORS,
    elementwise::power::OPERATORS,
    elementwise::unary::OPERATORS,
    elementwise::variadic::OPERATORS,
    identity::OPERATORS,
    movement::gather::OPERATORS,
    movement::join::OPERATORS,
    movement::pad::OPERATORS,
    movement::reshape::OPERATORS,
    movement::slice::OPERATORS,
    movement::transpose::OPERATORS,
    normalization::batch::OPERATORS,
    normalization::channels::OPERATORS,
    normalization::embedding::OPERATORS,
    normalization::layer::OPERATORS,
    normalization::norm::OPERATORS,
    random::OPERATORS,
    recurrent::layer::OPERATORS,
    reduction::arg::OPERATORS,
    reduction::cumulative::OPERATORS,
    reduction::reduce::OPERATORS,
    scatter::OPERATORS,
    selection::choose::OPERATORS,
    selection::order::OPERATORS,
    signal::spectrum::OPERATORS,
    signal::window::OPERATORS,
    softmax::OPERATORS,
    vision::boxes::OPERATORS,
    vision::deformable::OPERATORS,
    vision::grid::OPERATORS,
    vision::regions::OPERATORS,
    vision::resize::OPERATORS,
    windows::convolution::OPERATORS,
    windows::fold::OPERATORS,
    windows::pool::OPERATORS,
    windows::transposed::OPERATORS,
    windows::unpool::OPERATORS,
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

/// All operators that we have, by domain and name.
pub fn known() -> impl Iterator<Item = (&'static str, &'static str)> {
    FAMILIES.iter().flat_map(|family| family.iter()).map(|(domain, name, _)| (*domain, *name))
}
