//! Makes an island of nodes.

use std::{
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
};

use rten::{ModelOptions, ShapeInferenceMode};

use super::{
    Kind, Operand, Translation,
    run::{Island, Sketch},
    write::{Data, Writer, name},
};
use crate::{
    facts::{
        Fact,
        size::{Size, Sizes, product},
    },
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
const PREPACKED: usize = 8 * 1024 * 1024;

/// A node of an island: what it is for rten, and the values that it makes.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) translation: Translation,
    pub(crate) outputs: Vec<Option<ValueId>>,
}

/// What an island is made of.
pub(crate) struct Plot<'a> {
    /// Its nodes in an order in which they can be computed.
    pub(crate) members: &'a [Member],
    /// The values that are used outside it.
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) facts: &'a HashMap<ValueId, Fact>,
    pub(crate) sizes: &'a Sizes,
}

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
    let sketch = sketch(plot, &inputs);
    let nodes = plot.members.len();
    Ok(Built { island: Island { model, inputs: input_nodes, outputs: output_nodes, sketch, nodes }, inputs })
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
            _ => Ok(Data::Tensor(stored.tensor(files)?)),
        },
    }
}

/// What the values of an island take, over its inputs' shapes. It says nothing where a shape is
/// not known.
fn sketch(plot: &Plot<'_>, inputs: &[ValueId]) -> Sketch {
    alive(plot, inputs).unwrap_or_default()
}

fn alive(plot: &Plot<'_>, inputs: &[ValueId]) -> Option<Sketch> {
    // The program's sizes are over the dimensions of the program's inputs. Those of the island's
    // inputs that are plain dimensions become the island's own.
    let mut sizes = Sizes::default();
    let mut known: HashMap<Size, Size> = HashMap::new();
    for (index, input) in inputs.iter().enumerate() {
        let shape = plot.facts.get(input)?.shape.as_ref()?;
        let dimensions: Vec<Option<usize>> =
            shape.iter().map(|size| size.value().and_then(|size| usize::try_from(size).ok())).collect();
        let own = sizes.input(index, &dimensions);
        for (outer, own) in shape.iter().zip(own) {
            known.entry(outer.clone()).or_insert(own);
        }
    }
    let mut last_use: HashMap<ValueId, usize> = HashMap::new();
    for (step, member) in plot.members.iter().enumerate() {
        for operand in member.translation.nodes.iter().flat_map(|node| node.inputs.iter().flatten()) {
            if let Operand::Value(value) = operand {
                last_use.insert(*value, step);
            }
        }
    }
    for output in &plot.outputs {
        last_use.insert(*output, usize::MAX);
    }
    let mut translated = Translator { outer: plot.sizes, inner: &mut sizes, known };
    let mut bytes: HashMap<ValueId, Size> = HashMap::new();
    let mut alive_now = Size::from(0);
    let mut alive = Vec::with_capacity(plot.members.len());
    let mut ends: HashMap<usize, Vec<ValueId>> = HashMap::new();
    for (step, member) in plot.members.iter().enumerate() {
        for output in member.outputs.iter().flatten() {
            let Some(end) = last_use.get(output) else { continue };
            let shape = plot.facts.get(output)?.shape.as_ref()?;
            let elements =
                product(&shape.iter().map(|size| translated.translate(size)).collect::<Option<Vec<_>>>()?)?;
            let size = elements.times(&Size::from(4))?;
            alive_now = alive_now.plus(&size)?;
            bytes.insert(*output, size);
            ends.entry(*end).or_default().push(*output);
        }
        if alive.last() != Some(&alive_now) {
            alive.push(alive_now.clone());
        }
        for ended in ends.remove(&step).unwrap_or_default() {
            if let Some(size) = bytes.get(&ended) {
                alive_now = alive_now.minus(size)?;
            }
        }
    }
    Some(Sketch { sizes, alive })
}

/// Writes sizes over the program's inputs as sizes over the island's.
struct Translator<'a> {
    outer: &'a Sizes,
    inner: &'a mut Sizes,
    known: HashMap<Size, Size>,
}

impl Translator<'_> {
    fn translate(&mut self, size: &Size) -> Option<Size> {
        if size.value().is_some() {
            return Some(size.clone());
        }
        if let Some(known) = self.known.get(size) {
            return Some(known.clone());
        }
        let translated = self.outer.rewrite(size, self.inner, &self.known, 0)?;
        self.known.insert(size.clone(), translated.clone());
        Some(translated)
    }
}
