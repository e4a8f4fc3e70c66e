//! Makes an island of nodes.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use rten::{ModelOptions, ShapeInferenceMode};

use super::{
    Kind, Operand,
    parts::Parts,
    plot::Plot,
    run::Island,
    sketch::Sketch,
    write::{Data, Writer, name},
};
use crate::{
    facts::Fact,
    onnx::{
        OnnxError,
        files::DataFiles,
        model::{Constant, ValueId},
    },
    tensor::ElementType,
};

/// Up to this size, in bytes, weights are kept a second time, in the order in which the
/// processor takes them. Of larger ones a run takes so long that packing them each time is
/// little, and the copy would be much.
const PREPACKED: usize = 16 * 1024 * 1024;

/// Why an island could not be made.
#[derive(Debug)]
pub(crate) enum BuildError {
    /// The file.
    Onnx(OnnxError),
    /// rten refuses it.
    Engine(String),
}

/// An island, and the values that it takes.
pub(crate) struct Built {
    pub(crate) island: Island,
    pub(crate) inputs: Vec<ValueId>,
}

/// Gives a constant away, or a copy of it if others need it.
pub(crate) trait Constants {
    /// The constant, if the value is one.
    fn take(&mut self, value: ValueId) -> Option<Constant>;
}

/// Makes an island.
pub(crate) fn build(
    plot: &Plot<'_>,
    constants: &mut dyn Constants,
    files: &dyn DataFiles,
) -> Result<Built, BuildError> {
    let mut writer = Writer::default();
    let made: HashSet<ValueId> =
        plot.members.iter().flat_map(|member| member.outputs.iter().flatten().copied()).collect();
    let mut seen = HashSet::new();
    let mut inputs = Vec::new();
    let mut weights = 0_usize;
    let broken = |what: &str| BuildError::Engine(what.to_owned());
    for member in plot.members {
        for node in &member.translation.nodes {
            for operand in node.inputs.iter().flatten() {
                let Operand::Value(value) = operand else { continue };
                if made.contains(value) || !seen.insert(*value) {
                    continue;
                }
                let fact = plot.facts.get(value).ok_or_else(|| broken("a value is not known"))?;
                let element_type = fact.element_type().ok_or_else(|| broken("a value is not a tensor"))?;
                if let Some(constant) = constants.take(*value) {
                    let shape = constant.shape().to_vec();
                    let data = data(constant, files).map_err(BuildError::Onnx)?;
                    weights = weights.saturating_add(match &data {
                        Data::Bytes(_, bytes) => bytes.len(),
                        Data::Tensor(tensor) => tensor.bytes(),
                    });
                    writer
                        .constant(&name(*value), &shape, data)
                        .ok_or_else(|| broken("a constant has a type that rten does not have"))?;
                } else {
                    let kind = Kind::of(element_type)
                        .ok_or_else(|| broken("a value has a type that rten does not have"))?;
                    writer.input(*value, kind, fact);
                    inputs.push(*value);
                }
            }
        }
        writer
            .nodes(&member.translation.nodes, &member.outputs)
            .ok_or_else(|| broken("a node can't be written"))?;
    }
    for output in &plot.outputs {
        writer.output(*output);
    }
    let (model, separate) = writer.finish();
    let mut options = ModelOptions::with_all_ops();
    options.prepack_weights(weights <= PREPACKED).shape_inference(ShapeInferenceMode::On);
    for (location, bytes) in separate {
        options.external_data(&location, bytes);
    }
    // The loader of rten has states that it takes for impossible.
    let load = |options: &ModelOptions| {
        catch_unwind(AssertUnwindSafe(|| options.load(model.clone())))
            .map_err(|_| broken("rten panicked while it loaded a part of the model"))?
            .map_err(|error| BuildError::Engine(error.to_string()))
    };
    // With what rten infers of shapes two outputs may become one constant, which it refuses.
    let loaded = load(&options).or_else(|_| load(options.shape_inference(ShapeInferenceMode::Off)));
    let model = loaded?;
    drop(options);

    let node =
        |value: &ValueId| model.node_id(&name(*value)).map_err(|error| BuildError::Engine(error.to_string()));
    let input_nodes = inputs.iter().map(node).collect::<Result<Vec<_>, _>>()?;
    let output_nodes = plot
        .outputs
        .iter()
        .map(|value| {
            let element_type = plot.facts.get(value).and_then(Fact::element_type);
            Ok((node(value)?, element_type.ok_or_else(|| broken("an output is not a tensor"))?))
        })
        .collect::<Result<Vec<_>, BuildError>>()?;
    let island = Island {
        model,
        inputs: input_nodes,
        outputs: output_nodes,
        sketch: Sketch::new(plot, &inputs),
        parts: Parts::new(plot, &inputs),
        nodes: plot.members.len(),
    };
    Ok(Built { island, inputs })
}

/// The data of a constant as rten reads it; weights are not copied.
fn data(constant: Constant, files: &dyn DataFiles) -> Result<Data, OnnxError> {
    match constant {
        Constant::Tensor(tensor) => Ok(Data::Tensor(tensor)),
        Constant::Stored(stored) => match stored.element_type {
            ElementType::Float
            | ElementType::Int32
            | ElementType::Int8
            | ElementType::Uint8
            | ElementType::Half => {
                let element_type = stored.element_type;
                Ok(Data::Bytes(element_type, stored.into_bytes(files)?))
            }
            _ => Ok(Data::Tensor(stored.tensor(&[], files)?)),
        },
    }
}
