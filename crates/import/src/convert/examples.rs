//! `ParseExample`: its dense features become inputs of the graph.

use super::{
    Converter,
    call::{Refusal, unsupported},
    datum::Datum,
};
use crate::{
    graph::ValueId,
    signature::{Feature, FeatureList, FeatureValues},
    tensor::{ElementType, Elements, Tensor},
    tensorflow::{attributes::NodeView, messages::Shape},
};

/// An input of serialised examples, with the features that are read from it.
#[derive(Debug, Clone)]
pub(crate) struct ParsedExamples {
    pub(crate) serialized: ValueId,
    pub(crate) features: Vec<Feature>,
}

/// Where the parts of a node's inputs and outputs are.
struct Parts {
    dense_keys: Vec<String>,
    first_default: usize,
    /// Outputs before the first dense value.
    before: usize,
}

/// `ParseExampleV2` and `ParseExample`.
pub(crate) fn convert<'m>(
    converter: &mut Converter<'m>,
    node: NodeView<'m>,
    inputs: &[Datum<'m>],
) -> Result<Vec<Datum<'m>>, Refusal> {
    let Some(Datum::Tensor(serialized)) = inputs.first().cloned() else {
        return unsupported("its examples are not a tensor");
    };
    if !converter.inputs.contains(serialized) {
        return unsupported("its examples are computed, not an input of the signature");
    }
    let parts = match node.operator() {
        "ParseExampleV2" => version_2(converter, node, inputs)?,
        _ => version_1(converter, node, inputs)?,
    };
    let shapes = node.list("dense_shapes").map(|list| list.shapes.as_slice()).unwrap_or_default();
    let kinds = node.list("Tdense").map(|list| list.types.as_slice()).unwrap_or_default();
    let mut results = vec![Datum::Failed; parts.before];
    for (index, key) in parts.dense_keys.into_iter().enumerate() {
        let kind = kinds.get(index).and_then(|kind| crate::tensorflow::tensors::element_type(*kind));
        let list = match kind {
            Some(ElementType::Int64) => FeatureList::Int64,
            Some(ElementType::Float32) => FeatureList::Float,
            Some(ElementType::String) => FeatureList::Bytes,
            _ => return unsupported(format!("the type of the feature {key}")),
        };
        let Some(shape) = shapes.get(index).and_then(sizes) else {
            return unsupported(format!("the shape of the feature {key}"));
        };
        let default = match inputs.get(parts.first_default + index) {
            Some(Datum::Tensor(id)) => converter.builder.constant_of(*id).cloned(),
            _ => None,
        };
        let Some(default) = default else { return unsupported(format!("the default of the feature {key}")) };
        let kind = kind.unwrap_or(ElementType::Float32);
        if default.kind() != kind {
            return unsupported(format!("the type of the default of the feature {key}"));
        }
        let default = if default.len() == 0 { None } else { Some(values(&default)?) };
        let whole: Vec<Option<u64>> = std::iter::once(None).chain(shape.iter().copied()).collect();
        let (tensor, id) = converter.graph_input(&key, kind, Some(whole));
        converter.add_feature(serialized, Feature { name: key, tensor, list, shape, default });
        results.push(Datum::Tensor(id));
    }
    Ok(results)
}

fn version_2(converter: &Converter<'_>, node: NodeView<'_>, inputs: &[Datum<'_>]) -> Result<Parts, Refusal> {
    if node.integer("num_sparse").unwrap_or(0) != 0 {
        return unsupported("it gives sparse features; read them as dense ones");
    }
    let ragged = node.list("ragged_value_types").is_some_and(|list| !list.types.is_empty());
    if ragged {
        return unsupported("it gives ragged features; read them as dense ones");
    }
    let dense_keys = keys(converter, inputs.get(3))?;
    Ok(Parts { dense_keys, first_default: 5, before: 0 })
}

/// The older operator has one input a key.
fn version_1(converter: &Converter<'_>, node: NodeView<'_>, inputs: &[Datum<'_>]) -> Result<Parts, Refusal> {
    if node.integer("Nsparse").unwrap_or(0) != 0 {
        return unsupported("it gives sparse features; read them as dense ones");
    }
    let count = usize::try_from(node.integer("Ndense").unwrap_or(0)).unwrap_or(0);
    if inputs.len() != 2 + 2 * count {
        return unsupported("the number of its inputs");
    }
    let mut dense_keys = Vec::new();
    for input in inputs.iter().skip(2).take(count) {
        dense_keys.extend(keys(converter, Some(input))?);
    }
    Ok(Parts { dense_keys, first_default: 2 + count, before: 0 })
}

fn keys(converter: &Converter<'_>, input: Option<&Datum<'_>>) -> Result<Vec<String>, Refusal> {
    let constant = match input {
        Some(Datum::Tensor(id)) => converter.builder.constant_of(*id),
        _ => None,
    };
    match constant.map(Tensor::elements) {
        Some(Elements::Strings(strings)) => {
            Ok(strings.iter().map(|string| String::from_utf8_lossy(string).into_owned()).collect())
        }
        _ => unsupported("the names of its features are not constants"),
    }
}

/// A size of -1 may only be the first.
fn sizes(shape: &Shape) -> Option<Vec<Option<u64>>> {
    if shape.unknown_rank {
        return None;
    }
    let sizes: Vec<Option<u64>> = shape.dimensions.iter().map(|d| u64::try_from(d.size).ok()).collect();
    sizes.iter().skip(1).all(Option::is_some).then_some(sizes)
}

fn values(tensor: &Tensor) -> Result<FeatureValues, Refusal> {
    if let Elements::Strings(strings) = tensor.elements() {
        return Ok(FeatureValues::Bytes(strings.iter().map(|string| string.to_vec()).collect()));
    }
    if let Some(values) = tensor.integers() {
        return Ok(FeatureValues::Int64(values));
    }
    match tensor.doubles() {
        Some(values) => {
            Ok(FeatureValues::Float(values.into_iter().map(|value| (value as f32).to_bits()).collect()))
        }
        None => unsupported("the type of a default"),
    }
}
