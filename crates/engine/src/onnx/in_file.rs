//! Constants that are still in the model's file, whose memory is given back from its end.

use std::collections::{HashMap, HashSet};

use adytum_kernels::spare::{Shrinking, Spare};

use super::{
    model::{Constant, Graph, Node, Place, Stored, ValueId},
    tensor::MOVED_AT_ONCE,
};
use crate::tensor::ElementType;

/// The file of a model, as long as constants are in it.
#[derive(Debug, Default)]
pub(crate) struct InFile {
    file: Shrinking,
}

impl InFile {
    pub(crate) fn new(file: Vec<u8>) -> Self {
        Self { file: Shrinking::new(file) }
    }

    /// The bytes of the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.file.bytes()
    }

    /// Copies constants out of the file. Those that begin at `floor` or behind it go from the end, and the file's
    /// memory is given back after every 16 MiB: weights are most of a model, and are not held twice.
    pub(crate) fn move_out<'a>(&mut self, constants: impl Iterator<Item = &'a mut Constant>, floor: usize) {
        let mut moved: Vec<(usize, &mut Stored)> = Vec::new();
        for constant in constants {
            if let Constant::Stored(stored) = constant
                && let Place::File(range) = &stored.place
            {
                moved.push((range.start, stored));
            }
        }
        moved.sort_unstable_by_key(|(start, _)| *start);
        let mut copied = 0;
        while let Some((start, stored)) = moved.pop() {
            // A function that is called twice has its constants twice.
            if start >= floor && moved.last().is_none_or(|(next, _)| *next < start) {
                copied += stored.bytes;
                stored.move_out(&mut self.file);
                if copied >= MOVED_AT_ONCE {
                    copied = 0;
                    self.file.cut(start);
                }
            } else {
                stored.settle(self.file.bytes());
            }
        }
    }

    /// Gives the memory behind this number of bytes away.
    pub(crate) fn cut(&mut self, length: usize) -> Option<Spare> {
        self.file.cut(length)
    }
}

/// The constants that are to stay in the file: weights of convolutions and products, until they are packed, and other
/// floats before the last of them, until they become tensors. And where the last of the weights ends.
pub(crate) fn kept_in_file(
    graph: &Graph,
    constants: &HashMap<ValueId, Constant>,
    length: usize,
) -> (HashSet<ValueId>, usize) {
    let mut uses = HashMap::new();
    count_uses(graph, &mut uses);
    let mut kept = HashSet::new();
    let mut floor = 0;
    let is_packed =
        |node: &&Node| node.domain.is_empty() && matches!(node.operator.as_str(), "Conv" | "MatMul" | "Gemm");
    for node in graph.nodes.iter().filter(is_packed) {
        let Some(weights) = node.inputs.get(1).copied().flatten() else { continue };
        let Some(Constant::Stored(stored)) = constants.get(&weights) else { continue };
        if let Place::File(range) = &stored.place
            && stored.element_type == ElementType::Float
            && uses.get(&weights) == Some(&1)
        {
            kept.insert(weights);
            floor = floor.max(range.end);
        }
    }
    // Other constants before the end of these are held twice for a while.
    let mut held_twice = 0_usize;
    let mut others = Vec::new();
    for (value, constant) in constants {
        if let Constant::Stored(Stored { place: Place::File(range), element_type, .. }) = constant
            && range.start < floor
            && !kept.contains(value)
        {
            held_twice = held_twice.saturating_add(range.len());
            if *element_type == ElementType::Float {
                others.push(*value);
            }
        }
    }
    kept.extend(others);
    if held_twice > length / 4 { (HashSet::new(), 0) } else { (kept, floor) }
}

/// How often nodes take each value.
fn count_uses(graph: &Graph, uses: &mut HashMap<ValueId, usize>) {
    let mut count = |value: ValueId| *uses.entry(value).or_default() += 1;
    for node in &graph.nodes {
        node.inputs.iter().flatten().chain(&node.captures).for_each(|value| count(*value));
    }
    graph.outputs.iter().for_each(|port| count(port.value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        onnx::{files::NoFiles, model::Node},
        operators::Attributes,
    };

    fn stored(range: std::ops::Range<usize>) -> Constant {
        Constant::Stored(Stored {
            name: String::new(),
            element_type: ElementType::Float,
            shape: vec![range.len() / 4],
            bytes: range.len(),
            place: Place::File(range),
        })
    }

    fn bytes(constant: Constant) -> Vec<u8> {
        match constant {
            Constant::Stored(stored) => stored.into_bytes(&NoFiles).unwrap(),
            Constant::Tensor(_) => Vec::new(),
        }
    }

    #[test]
    fn constants_behind_a_floor_are_cut_off_and_those_before_it_are_copied() {
        let content: Vec<u8> = (0..100).collect();
        let mut file = InFile::new(content.clone());
        let ranges = [0..8, 8..16, 40..60, 40..60, 80..100];
        let mut constants: Vec<Constant> = ranges.iter().cloned().map(stored).collect();
        file.move_out(constants.iter_mut(), 30);
        file.cut(40);
        assert_eq!(file.bytes(), &content[..40]);
        for (constant, range) in constants.into_iter().zip(ranges) {
            assert_eq!(bytes(constant), &content[range]);
        }
        file.cut(8);
        assert_eq!(file.bytes(), &content[..8]);
        file.cut(50);
        assert_eq!(file.bytes().len(), 8);
    }

    fn node(operator: &str, inputs: &[u32]) -> Node {
        Node {
            name: String::new(),
            domain: String::new(),
            operator: operator.to_owned(),
            opset: 13,
            inputs: inputs.iter().map(|value| Some(ValueId(*value))).collect(),
            outputs: vec![Some(ValueId(100 + inputs[0]))],
            attributes: Attributes::default(),
            graphs: Vec::new(),
            captures: Vec::new(),
        }
    }

    #[test]
    fn weights_that_one_node_takes_are_kept_where_little_lies_between() {
        // 1 and 2 are weights of a convolution and of a product, 3 of two convolutions, 4 of another operator.
        let nodes = vec![
            node("Conv", &[10, 1]),
            node("MatMul", &[11, 2]),
            node("Conv", &[12, 3]),
            node("Conv", &[13, 3]),
            node("Add", &[14, 4]),
        ];
        let graph = Graph { nodes, ..Graph::default() };
        let constants = |product: std::ops::Range<usize>| {
            [(1, 0..40), (2, 60..100), (3, 100..140), (4, product)]
                .map(|(value, range)| (ValueId(value), stored(range)))
                .into()
        };
        let (kept, floor) = kept_in_file(&graph, &constants(40..60), 140);
        assert_eq!((kept, floor), ([ValueId(1), ValueId(2), ValueId(4)].into(), 100));
        // A large constant between them would be held twice.
        let (kept, floor) = kept_in_file(&graph, &constants(20..60), 140);
        assert_eq!((kept.len(), floor), (0, 0));
    }
}
