//! Scales and offsets of channels after a convolution become part of its weights
//! and of its bias.

use std::collections::HashMap;

use super::dead;
use crate::{
    graph::{Graph, Node, Operator, ValueId},
    tensor::{ElementType, Numbers, Tensor, count},
};

/// What a node does to each channel.
struct Affine {
    scale: Option<Vec<f32>>,
    offset: Option<Vec<f32>>,
}

/// Merges products and sums with constants, and normalisations, into the
/// convolution before them.
pub(crate) fn merge(graph: &mut Graph) {
    let uses = dead::uses(graph);
    let mut nodes = std::mem::take(&mut graph.nodes);
    // The convolution that computes a value, by the value.
    let mut convolutions: HashMap<ValueId, usize> = HashMap::new();
    let mut gone = vec![false; nodes.len()];
    for index in 0..nodes.len() {
        let Some(node) = nodes.get(index) else { break };
        if node.operator == Operator::Conv {
            convolutions.extend(node.outputs.first().map(|output| (*output, index)));
            continue;
        }
        let found = convolution_before(node, &convolutions).and_then(|(value, at)| {
            let alone = uses.get(value.index()) == Some(&1);
            let convolution = nodes.get(at).filter(|_| alone)?;
            let affine = affine(graph, node, value, channels(graph, convolution)?)?;
            let inputs = merged(graph, convolution, &affine)?;
            // The weights before are freed at once: all of them together are the model's size.
            let before = convolution.input(1).filter(|id| uses.get(id.index()) == Some(&1));
            if let Some(before) = before.filter(|_| affine.scale.is_some())
                && let Some(value) = graph.values.get_mut(before.index())
            {
                value.constant = None;
            }
            Some((value, at, inputs))
        });
        let Some((value, at, inputs)) = found else { continue };
        let Some(output) = node.outputs.first().copied() else { continue };
        if let Some(convolution) = nodes.get_mut(at) {
            // The convolution now computes what the node did.
            convolution.inputs = inputs;
            convolution.outputs = vec![output];
        }
        convolutions.remove(&value);
        convolutions.insert(output, at);
        if let Some(gone) = gone.get_mut(index) {
            *gone = true;
        }
    }
    let mut keep = gone.into_iter().map(|gone| !gone);
    nodes.retain(|_| keep.next().unwrap_or(true));
    graph.nodes = nodes;
}

fn convolution_before(node: &Node, convolutions: &HashMap<ValueId, usize>) -> Option<(ValueId, usize)> {
    let candidates = match node.operator {
        Operator::Mul | Operator::Add => node.inputs.as_slice(),
        Operator::BatchNormalization | Operator::Sub => node.inputs.get(..1)?,
        _ => return None,
    };
    candidates.iter().flatten().find_map(|input| Some((*input, *convolutions.get(input)?)))
}

/// The number of output channels, and the rank.
fn channels(graph: &Graph, convolution: &Node) -> Option<(usize, usize)> {
    let weights = graph.constant(convolution.input(1)?)?;
    (weights.kind() == ElementType::Float32).then_some(())?;
    Some((*weights.dimensions().first()?, weights.dimensions().len()))
}

/// The values of a constant, one a channel.
fn by_channel(graph: &Graph, id: ValueId, (channels, rank): (usize, usize)) -> Option<Vec<f32>> {
    let tensor = graph.constant(id)?;
    let Numbers::Singles(values) = tensor.numbers()? else { return None };
    if tensor.dimensions().len() > rank {
        return None;
    }
    if let [value] = values.as_slice() {
        return Some(vec![*value; channels]);
    }
    // [C, 1...]: the channels' axis is the first but for the batch.
    let mut sizes = vec![1; rank - tensor.dimensions().len()];
    sizes.extend_from_slice(tensor.dimensions());
    let right =
        sizes.iter().enumerate().all(|(axis, size)| if axis == 1 { *size == channels } else { *size == 1 });
    right.then_some(values)
}

fn affine(graph: &Graph, node: &Node, value: ValueId, shape: (usize, usize)) -> Option<Affine> {
    let other = || {
        let other = node.inputs.iter().flatten().find(|input| **input != value)?;
        by_channel(graph, *other, shape)
    };
    match node.operator {
        Operator::Mul => Some(Affine { scale: Some(other()?), offset: None }),
        Operator::Add => Some(Affine { scale: None, offset: Some(other()?) }),
        Operator::Sub => {
            Some(Affine { scale: None, offset: Some(other()?.into_iter().map(|v| -v).collect()) })
        }
        Operator::BatchNormalization => {
            let vector = |index: usize| {
                let Numbers::Singles(values) = graph.constant(node.input(index)?)?.numbers()? else {
                    return None;
                };
                (values.len() == shape.0).then_some(values)
            };
            let (gamma, beta, mean, variance) = (vector(1)?, vector(2)?, vector(3)?, vector(4)?);
            let epsilon = match node.attributes.get("epsilon") {
                Some(crate::graph::Attribute::Float(epsilon)) => *epsilon,
                _ => return None,
            };
            // Rounded once, at the end.
            let scale: Vec<f64> = gamma
                .iter()
                .zip(&variance)
                .map(|(g, v)| f64::from(*g) / (f64::from(*v) + f64::from(epsilon)).sqrt())
                .collect();
            let offset = beta
                .iter()
                .zip(mean.iter().zip(&scale))
                .map(|(b, (m, s))| (f64::from(*b) - f64::from(*m) * s) as f32)
                .collect();
            Some(Affine { scale: Some(scale.into_iter().map(|s| s as f32).collect()), offset: Some(offset) })
        }
        _ => None,
    }
}

/// The convolution's inputs with the node merged into them.
fn merged(graph: &mut Graph, convolution: &Node, affine: &Affine) -> Option<Vec<Option<ValueId>>> {
    let (input, weights) = (convolution.input(0)?, convolution.input(1)?);
    let (channels, _) = channels(graph, convolution)?;
    let bias = match convolution.input(2) {
        Some(bias) => match graph.constant(bias)?.numbers()? {
            Numbers::Singles(values) => Some(values),
            _ => return None,
        },
        None => None,
    };
    let weights = match &affine.scale {
        None => weights,
        Some(scale) => {
            let tensor = graph.constant(weights)?;
            let Numbers::Singles(mut values) = tensor.numbers()? else { return None };
            let dimensions = tensor.dimensions().to_vec();
            let per_channel = count(dimensions.get(1..)?)?.max(1);
            for (channel, factor) in values.chunks_mut(per_channel).zip(scale) {
                channel.iter_mut().for_each(|weight| *weight *= factor);
            }
            let scaled = Tensor::from_numbers(ElementType::Float32, dimensions, Numbers::Singles(values))?;
            graph.add_constant(scaled)
        }
    };
    let mut bias = bias.unwrap_or_else(|| vec![0.0; channels]);
    if let Some(scale) = &affine.scale {
        bias.iter_mut().zip(scale).for_each(|(bias, factor)| *bias *= factor);
    }
    if let Some(offset) = &affine.offset {
        bias.iter_mut().zip(offset).for_each(|(bias, offset)| *bias += offset);
    }
    let length = vec![bias.len()];
    let bias =
        graph.add_constant(Tensor::from_numbers(ElementType::Float32, length, Numbers::Singles(bias))?);
    Some(vec![Some(input), Some(weights), Some(bias)])
}
