//! Functions of one byte: `DequantizeLinear`, a function of a real number, `QuantizeLinear`. There are 256
//! bytes, so a table has all answers: those of our own operators.

use std::collections::HashMap;

use super::{Facts, PlanError, Planner, fold::fold, placement::Placed};
use crate::{
    onnx::model::{Node, Port, ValueId},
    region::quantised::recognize::{Form, Piece, Table},
    tensor::{ElementType, Tensor, Value},
};

/// Operators whose answers depend on one number of the first input, and on constants.
fn is_function(node: &Node) -> bool {
    node.domain.is_empty()
        && matches!(
            node.operator.as_str(),
            "Abs"
                | "Celu"
                | "Clip"
                | "Elu"
                | "Erf"
                | "Exp"
                | "Gelu"
                | "HardSigmoid"
                | "HardSwish"
                | "LeakyRelu"
                | "Mish"
                | "Neg"
                | "Relu"
                | "Selu"
                | "Sigmoid"
                | "Softplus"
                | "Softsign"
                | "Swish"
                | "Tanh"
        )
}

/// The same of bytes.
fn is_function_of_bytes(node: &Node) -> bool {
    node.domain == "com.microsoft" && matches!(node.operator.as_str(), "QLinearSigmoid" | "QLinearLeakyRelu")
}

impl Planner<'_> {
    /// Puts a table in the place of each such function.
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
            let Some(Piece { form: Form::Quantise(_), inputs, output }) =
                pieces.get(last).and_then(Option::as_ref)
            else {
                continue;
            };
            let (output, Some(real)) = (*output, inputs.first().copied()) else { continue };
            let before = |value: ValueId| {
                let index = *makers.get(&value)?;
                placed.get(index).map(|entry| (index, &entry.node))
            };
            let Some((middle, function)) = before(real.value).filter(|(_, node)| is_function(node)) else {
                continue;
            };
            let first = function.inputs.first().copied().flatten().and_then(before);
            let Some((first, start)) = first.filter(|_| uses.get(&real.value) == Some(&1)) else { continue };
            let Some(Piece { form: Form::Dequantise(_), inputs, .. }) =
                pieces.get(first).and_then(Option::as_ref)
            else {
                continue;
            };
            let (Some(input), Some(end)) = (inputs.first().copied(), placed.get(last)) else { continue };
            let nodes = [start, function, &end.node];
            let Some(table) = self.table(&nodes, input.element_type, facts)? else { continue };
            let found = Piece { form: Form::Table(table), inputs: vec![input], output };
            let absorbed = Piece { form: Form::Absorbed, inputs: Vec::new(), output: real };
            for (index, piece) in [(middle, absorbed), (last, found)] {
                if let Some(place) = pieces.get_mut(index) {
                    *place = Some(piece);
                }
            }
        }
        Ok(())
    }

    /// The table of a function of bytes.
    pub(super) fn table_of(&mut self, node: &Node, facts: &Facts) -> Result<Option<Table>, PlanError> {
        if !is_function_of_bytes(node) {
            return Ok(None);
        }
        let first = node.inputs.first().copied().flatten();
        let element_type = first.and_then(|value| facts.get(&value)?.element_type());
        let Some(element_type) = element_type else { return Ok(None) };
        self.table(&[node], element_type, facts)
    }

    /// What nodes, one after the other, make of each byte. Their other inputs must be constant.
    fn table(
        &mut self,
        nodes: &[&Node],
        element_type: ElementType,
        facts: &Facts,
    ) -> Result<Option<Table>, PlanError> {
        let bytes = 0..=u8::MAX;
        let all = match element_type {
            ElementType::Uint8 => Tensor::vector(bytes.collect::<Vec<u8>>()),
            ElementType::Int8 => {
                Tensor::vector(bytes.map(|byte| (byte ^ 0x80).cast_signed()).collect::<Vec<i8>>())
            }
            _ => return Ok(None),
        };
        let mut current = all;
        for node in nodes {
            let Ok(Ok(built)) = self.build(node, facts) else { return Ok(None) };
            let mut inputs = vec![Some(Value::Tensor(current))];
            for input in node.inputs.iter().skip(1) {
                let Some(value) = input else {
                    inputs.push(None);
                    continue;
                };
                let constant = self.constants.tensor(*value, self.files)?;
                let Some(constant) = constant.filter(|tensor| tensor.len() == 1) else { return Ok(None) };
                inputs.push(Some(Value::Tensor(constant)));
            }
            let results = fold(built.operator.as_ref(), inputs);
            let Some(result) = results.and_then(|results| results.into_iter().next()) else {
                return Ok(None);
            };
            current = result;
        }
        let bytes: Option<Vec<u8>> = match (current.values::<u8>(), current.values::<i8>()) {
            (Some(values), _) => Some(values.to_vec()),
            (_, Some(values)) => Some(values.iter().map(|value| value.cast_unsigned() ^ 0x80).collect()),
            _ => None,
        };
        let table: Option<[u8; 256]> = bytes.and_then(|bytes| bytes.try_into().ok());
        Ok(table.map(Box::new))
    }
}
