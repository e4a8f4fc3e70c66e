//! Finds convolutions of bytes whose scale follows from the numbers of a run, as ONNX Runtime's
//! `quantize_dynamic` writes them. One step of a region stands for their nodes.

use std::collections::{HashMap, HashSet};

use super::{Facts, Planner, placement::Placed, regions::Sight};
use crate::{
    onnx::model::{Node, Port, ValueId},
    region::recognize::{DynamicNodes, Piece, recognize_dynamic},
};

/// ONNX's number of 32-bit floats.
const FLOAT: i64 = 1;

/// The nodes of a graph by what they make, and how often each value is taken.
struct Links<'a> {
    placed: &'a [Placed],
    makers: HashMap<ValueId, usize>,
    uses: HashMap<ValueId, usize>,
}

/// The places of the nodes of such a convolution, the constant scale of its weights excepted.
struct Found {
    quantise: usize,
    convolution: usize,
    cast: usize,
    scales: usize,
    scale: ValueId,
}

impl<'a> Links<'a> {
    /// The node that makes a value, if it is of this operator.
    fn maker(&self, value: Option<ValueId>, operator: &str) -> Option<(usize, &'a Node)> {
        let index = *self.makers.get(&value?)?;
        let node = &self.placed.get(index)?.node;
        (node.domain.is_empty() && node.operator == operator).then_some((index, node))
    }

    /// The same, if nobody else takes the value.
    fn only(&self, value: Option<ValueId>, operator: &str) -> Option<(usize, &'a Node)> {
        self.maker(value, operator).filter(|_| value.and_then(|value| self.uses.get(&value)) == Some(&1))
    }

    /// The nodes before a product.
    fn before(&self, product: &Node) -> Option<Found> {
        let both = [(input(product, 0), input(product, 1)), (input(product, 1), input(product, 0))];
        both.into_iter().find_map(|(sums, scales)| {
            let (cast, node) = self.only(sums, "Cast")?;
            if node.attributes.integer("to").ok()? != Some(FLOAT) {
                return None;
            }
            let (convolution, node) = self.only(input(node, 0), "ConvInteger")?;
            let (quantise, quantiser) = self.maker(input(node, 0), "DynamicQuantizeLinear")?;
            let made = |index: usize| quantiser.outputs.get(index).copied().flatten();
            if input(node, 0) != made(0) || input(node, 2) != made(2) {
                return None;
            }
            let (scales, node) = self.only(scales, "Mul")?;
            let scale = match (input(node, 0), input(node, 1)) {
                (left, right) if left == made(1) => right,
                (left, right) if right == made(1) => left,
                _ => None,
            };
            Some(Found { quantise, convolution, cast, scales, scale: scale? })
        })
    }
}

fn input(node: &Node, index: usize) -> Option<ValueId> {
    node.inputs.get(index).copied().flatten()
}

impl Planner<'_> {
    /// Puts a step in the place of each such convolution. The nodes with which regions may begin.
    pub(super) fn recognize_dynamic(
        &mut self,
        placed: &[Placed],
        facts: &Facts,
        outputs: &[Port],
        pieces: &mut [Option<Vec<Piece>>],
    ) -> HashSet<usize> {
        let mut links = Links { placed, makers: HashMap::new(), uses: HashMap::new() };
        for (index, entry) in placed.iter().enumerate() {
            links.makers.extend(entry.node.outputs.iter().flatten().map(|output| (*output, index)));
            entry.inputs().flatten().for_each(|input| *links.uses.entry(input).or_default() += 1);
        }
        outputs.iter().for_each(|port| *links.uses.entry(port.value).or_default() += 1);
        let mut begins = HashSet::new();
        // How often the convolutions that were found take what a node makes.
        let mut taken: HashMap<usize, usize> = HashMap::new();
        for (last, entry) in placed.iter().enumerate() {
            let product = &entry.node;
            if !product.domain.is_empty() || product.operator != "Mul" {
                continue;
            }
            let Some(found) = links.before(product) else { continue };
            let node = |index: usize| placed.get(index).map(|entry| &entry.node);
            let (Some(quantise), Some(convolution)) = (node(found.quantise), node(found.convolution)) else {
                continue;
            };
            let nodes = DynamicNodes { quantise, convolution, scale: found.scale, product };
            let mut sight = Sight { facts, store: &mut self.constants, files: self.files };
            let Some(piece) = recognize_dynamic(&nodes, &mut sight) else { continue };
            *taken.entry(found.quantise).or_default() += 1;
            let absorbed = [found.convolution, found.cast, found.scales].map(|index| (index, vec![]));
            for (index, own) in absorbed.into_iter().chain([(last, vec![piece])]) {
                if let Some(place) = pieces.get_mut(index) {
                    *place = Some(own);
                    begins.insert(index);
                }
            }
        }
        // Nodes that quantise go where nobody else takes what they make.
        for (index, count) in taken {
            let Some(entry) = placed.get(index) else { continue };
            let made = entry.node.outputs.iter().flatten();
            if made.into_iter().all(|value| links.uses.get(value) == Some(&count))
                && let Some(place) = pieces.get_mut(index)
            {
                *place = Some(vec![]);
                begins.insert(index);
            }
        }
        begins
    }
}
