//! Functions of one byte: `DequantizeLinear`, functions of a real number and of constants, `QuantizeLinear`.
//! There are 256 bytes, so a table has all answers: those of our own operators. Where a constant has a number
//! for each channel, as those of a batch normalization, each channel has a table.

use std::collections::HashMap;

use super::{
    Facts, PlanError, Planner,
    fold::{LARGEST_OUTPUT, fold},
    placement::Placed,
};
use crate::{
    onnx::model::{Node, Port, ValueId},
    region::quantised::recognize::{Form, Image, Piece},
    tensor::{ElementType, Tensor, Value},
};

/// Tables are for at most this number of channels: those of more take more memory than nodes that are folded
/// may give.
const MOST_CHANNELS: usize = 4096;

/// Nodes that one table stands for at most.
const LONGEST: usize = 32;

/// Operators whose answers depend on one number of one input, and on constants.
fn is_function(node: &Node) -> bool {
    node.domain.is_empty()
        && match node.operator.as_str() {
            "Abs" | "Add" | "Celu" | "Clip" | "Div" | "Elu" | "Erf" | "Exp" | "Gelu" | "HardSigmoid"
            | "HardSwish" | "LeakyRelu" | "Max" | "Min" | "Mish" | "Mul" | "Neg" | "Pow" | "PRelu"
            | "Relu" | "Selu" | "Sigmoid" | "Softplus" | "Softsign" | "Sub" | "Swish" | "Tanh" => true,
            "BatchNormalization" => {
                node.attributes.integer("training_mode").is_ok_and(|found| found.unwrap_or(0) == 0)
            }
            _ => false,
        }
}

/// The same of bytes.
fn is_function_of_bytes(node: &Node) -> bool {
    node.domain == "com.microsoft"
        && matches!(
            node.operator.as_str(),
            "QLinearAdd" | "QLinearLeakyRelu" | "QLinearMul" | "QLinearSigmoid"
        )
}

/// Whether all numbers of a constant that meets images, or a matrix, are for a channel each, or for all.
fn is_by_channel(node: &Node, constant: &Tensor, rank: usize) -> bool {
    if node.operator == "BatchNormalization" {
        return constant.rank() == 1;
    }
    // Shapes are counted from their last dimension; the channels of an image are the last but two.
    let channel = rank - 2;
    let shape = constant.shape();
    constant.rank() <= rank
        && shape.iter().rev().enumerate().all(|(place, size)| *size == 1 || place == channel)
}

/// The bytes that tables are made of: of images, or of a matrix, that have all bytes in each channel.
fn all_bytes(input: Image) -> Option<Tensor> {
    let channels = input.channels;
    let numbers = (0..256 * channels).map(|place| {
        let byte = if input.is_matrix { place / channels } else { place % 256 };
        u8::try_from(byte).unwrap_or(0)
    });
    let shape = if input.is_matrix { vec![256, channels] } else { vec![1, channels, 256, 1] };
    match input.element_type {
        ElementType::Uint8 => Tensor::from_vec(shape, numbers.collect::<Vec<u8>>()),
        ElementType::Int8 => {
            Tensor::from_vec(shape, numbers.map(|byte| (byte ^ 0x80).cast_signed()).collect::<Vec<i8>>())
        }
        _ => None,
    }
}

/// Tables of the bytes that came of all bytes.
fn tables(input: Image, made: &Tensor) -> Option<Vec<[u8; 256]>> {
    let bytes: Vec<u8> = match (made.values::<u8>(), made.values::<i8>()) {
        (Some(values), _) => values.to_vec(),
        (_, Some(values)) => values.iter().map(|value| value.cast_unsigned() ^ 0x80).collect(),
        _ => return None,
    };
    let channels = input.channels;
    let at = |channel: usize, byte: usize| {
        bytes.get(if input.is_matrix { byte * channels + channel } else { channel * 256 + byte }).copied()
    };
    let mut tables = vec![[0; 256]; channels];
    for (channel, table) in tables.iter_mut().enumerate() {
        for (byte, place) in table.iter_mut().enumerate() {
            *place = at(channel, byte)?;
        }
    }
    Some(tables)
}

impl Planner<'_> {
    /// Puts a table in the place of each such function, or of several, one after the other.
    pub(super) fn recognize_tables(
        &mut self,
        placed: &[Placed],
        facts: &Facts,
        outputs: &[Port],
        pieces: &mut [Option<Piece>],
    ) -> Result<(), PlanError> {
        let mut makers: HashMap<ValueId, usize> = HashMap::new();
        let mut uses: HashMap<ValueId, usize> = HashMap::new();
        for (index, entry) in placed.iter().enumerate() {
            makers.extend(entry.node.outputs.iter().flatten().map(|output| (*output, index)));
            entry.inputs().flatten().for_each(|input| *uses.entry(input).or_default() += 1);
        }
        outputs.iter().for_each(|port| *uses.entry(port.value).or_default() += 1);
        for last in 0..placed.len() {
            let (Some(Piece { form: Form::Quantise(_), inputs, output }), Some(end)) =
                (pieces.get(last).and_then(Option::as_ref), placed.get(last))
            else {
                continue;
            };
            let (output, Some(real)) = (*output, inputs.first().copied()) else { continue };
            // The functions, the last first, up to the node that dequantises.
            let mut between = Vec::new();
            let mut value = real.value;
            let start = loop {
                let found = makers.get(&value).and_then(|index| Some((*index, placed.get(*index)?)));
                let Some((index, entry)) = found else { break None };
                if let Some(Piece { form: Form::Dequantise(_), inputs, .. }) =
                    pieces.get(index).and_then(Option::as_ref)
                {
                    break inputs.first().map(|input| (*input, &entry.node));
                }
                let before = self.variable(&entry.node).filter(|_| is_function(&entry.node));
                let (Some(before), Some(1)) = (before, uses.get(&value)) else { break None };
                if between.len() == LONGEST {
                    break None;
                }
                between.push((index, value, &entry.node));
                value = before;
            };
            let Some((input, start)) = start.filter(|_| !between.is_empty()) else { continue };
            let mut nodes = vec![start];
            nodes.extend(between.iter().rev().map(|(.., node)| *node));
            nodes.push(&end.node);
            let Some(form) = self.table(&nodes, input, facts)? else { continue };
            let absorbed = |(index, value, _): &(usize, ValueId, &Node)| {
                let output = Image { value: *value, ..real };
                (*index, Piece { form: Form::Absorbed, inputs: Vec::new(), output })
            };
            let found = Piece { form, inputs: vec![input], output };
            for (index, piece) in between.iter().map(absorbed).chain([(last, found)]) {
                if let Some(place) = pieces.get_mut(index) {
                    *place = Some(piece);
                }
            }
        }
        Ok(())
    }

    /// The only input of a node that is not a constant.
    fn variable(&self, node: &Node) -> Option<ValueId> {
        let mut found = node.inputs.iter().flatten().filter(|value| !self.constants.contains(**value));
        found.next().copied().filter(|_| found.next().is_none())
    }

    /// The place of the input of a function of bytes.
    pub(super) fn function_of_bytes(&self, node: &Node) -> Option<usize> {
        let value = self.variable(node).filter(|_| is_function_of_bytes(node))?;
        node.inputs.iter().position(|input| *input == Some(value))
    }

    /// What nodes, one after the other, make of each byte of an input.
    pub(super) fn table(
        &mut self,
        nodes: &[&Node],
        input: Image,
        facts: &Facts,
    ) -> Result<Option<Form>, PlanError> {
        let mut is_one = true;
        for node in nodes {
            for value in node.inputs.iter().flatten() {
                let shape = self.constants.fact(*value).and_then(|fact| fact.known_shape());
                is_one &= shape.is_none_or(|shape| shape.iter().all(|size| *size == 1));
            }
            is_one &= node.operator != "BatchNormalization";
        }
        // The channels are the same then; there is one.
        let one = Image { channels: if is_one { 1 } else { input.channels }, ..input };
        if one.channels > MOST_CHANNELS {
            return Ok(None);
        }
        let Some(mut current) = all_bytes(one) else { return Ok(None) };
        for node in nodes {
            let Ok(Ok(built)) = self.build(node, facts) else { return Ok(None) };
            let Some(variable) = self.variable(node) else { return Ok(None) };
            let shape = current.shape().to_vec();
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for value in &node.inputs {
                let Some(value) = value else {
                    inputs.push(None);
                    continue;
                };
                if *value == variable {
                    inputs.push(Some(Value::Tensor(current.clone())));
                    continue;
                }
                let constant = self.constants.tensor(*value, self.files)?;
                let Some(constant) = constant.filter(|tensor| is_by_channel(node, tensor, shape.len()))
                else {
                    return Ok(None);
                };
                inputs.push(Some(Value::Tensor(constant)));
            }
            let results = fold(built.operator.as_ref(), inputs, LARGEST_OUTPUT);
            let Some(result) = results.and_then(|results| results.into_iter().next()) else {
                return Ok(None);
            };
            if result.shape() != shape.as_slice() {
                return Ok(None);
            }
            current = result;
        }
        let Some(tables) = tables(one, &current) else { return Ok(None) };
        Ok(match tables.as_slice() {
            [table] if is_one => Some(Form::Table(Box::new(*table))),
            _ => Some(Form::Tables(tables)),
        })
    }
}
