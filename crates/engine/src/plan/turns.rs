//! Transposes around regions: the region itself takes and gives images whose pixels have their channels next to each other,
//! as layers of transformers have them.
//!
//! A transpose `[0, 2, 3, 1]` of what a region makes is done as it leaves, and so is a reshape to
//! `[images, channels, pixels]` with a transpose `[0, 2, 1]` behind it. What enters is the same, the other way round.

use std::collections::{HashMap, HashSet};

use super::{Facts, placement::Placed};
use crate::{
    onnx::model::{Node, Port, ValueId},
    region::orders::{Entering, Leaving},
};

/// Nodes that are done where values enter or leave regions.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// For a transpose that is done where an image leaves: the image, and how it leaves.
    pub(super) leaving: HashMap<usize, (ValueId, Leaving)>,
    /// For an image that would enter: the value that is taken in its place, and how it enters.
    pub(super) entering: HashMap<ValueId, (ValueId, Entering)>,
    /// The regions that have these transposes, and the reshapes next to them.
    joined: Vec<(usize, usize)>,
}

impl Turns {
    /// The region of each node, with these nodes among them.
    pub(super) fn join(&self, mut roots: Vec<Option<usize>>) -> Vec<Option<usize>> {
        for (index, root) in &self.joined {
            if let Some(place) = roots.get_mut(*index) {
                *place = Some(*root);
            }
        }
        roots
    }
}

/// The nodes, and who makes and takes their values.
struct Graph<'a> {
    placed: &'a [Placed],
    facts: &'a Facts,
    makers: HashMap<ValueId, usize>,
    takers: HashMap<ValueId, Vec<usize>>,
    outputs: HashSet<ValueId>,
}

/// Finds them. `roots` has the region of each node.
pub(super) fn find(placed: &[Placed], roots: &[Option<usize>], facts: &Facts, outputs: &[Port]) -> Turns {
    let graph = Graph::new(placed, facts, outputs);
    let root = |index: usize| roots.get(index).copied().flatten();
    let mut turns = Turns::default();
    for (index, entry) in placed.iter().enumerate().filter(|(index, _)| root(*index).is_none()) {
        let Some((from, to)) = ends(&entry.node) else { continue };
        let (reshape, region) = if let Some((reshape, image, order)) = graph.leaves(&entry.node, from)
            && let Some(region) = graph.makers.get(&image).copied().and_then(root)
        {
            turns.leaving.insert(index, (image, order));
            (reshape, region)
        } else if let Some((reshape, image, order)) = graph.enters(&entry.node, to)
            && !graph.outputs.contains(&image)
            && let Some(takers) = graph.takers.get(&image)
            && takers.iter().all(|taker| root(*taker).is_some())
            && let Some(region) = takers.first().copied().and_then(root)
        {
            turns.entering.insert(image, (from, order));
            (reshape, region)
        } else {
            continue;
        };
        turns.joined.extend(reshape.into_iter().chain([index]).map(|node| (node, region)));
    }
    turns
}

/// The input and the output of a transpose or a reshape.
fn ends(node: &Node) -> Option<(ValueId, ValueId)> {
    Some((node.inputs.first().copied().flatten()?, node.outputs.first().copied().flatten()?))
}

fn is_plain(node: &Node, operator: &str) -> bool {
    node.domain.is_empty() && node.operator == operator
}

fn turns(node: &Node, axes: &[i64]) -> bool {
    is_plain(node, "Transpose") && node.attributes.integers("perm").ok().flatten() == Some(axes)
}

impl<'a> Graph<'a> {
    fn new(placed: &'a [Placed], facts: &'a Facts, outputs: &[Port]) -> Self {
        let mut graph = Self {
            placed,
            facts,
            makers: HashMap::new(),
            takers: HashMap::new(),
            outputs: outputs.iter().map(|port| port.value).collect(),
        };
        for (index, entry) in placed.iter().enumerate() {
            graph.makers.extend(entry.node.outputs.iter().flatten().map(|output| (*output, index)));
            entry.inputs().flatten().for_each(|input| graph.takers.entry(input).or_default().push(index));
        }
        graph
    }

    fn rank(&self, value: ValueId) -> Option<usize> {
        self.facts.get(&value)?.rank()
    }

    /// Whether images keep their number and their channels in a reshape.
    fn keeps_channels(&self, from: ValueId, to: ValueId) -> bool {
        let shape = |value: ValueId| self.facts.get(&value).and_then(|fact| fact.shape.as_deref());
        match (shape(from), shape(to)) {
            (Some([images, channels, ..]), Some([others, rows, ..])) => (images, channels) == (others, rows),
            _ => false,
        }
    }

    /// Whether one node takes a value, and nobody else.
    fn is_taken_once(&self, value: ValueId) -> bool {
        !self.outputs.contains(&value) && self.takers.get(&value).is_some_and(|takers| takers.len() == 1)
    }

    /// The image whose pixels a transpose gives, and the reshape in between.
    fn leaves(&self, transpose: &Node, from: ValueId) -> Option<(Option<usize>, ValueId, Leaving)> {
        if turns(transpose, &[0, 2, 3, 1]) {
            return (self.rank(from) == Some(4)).then_some((None, from, Leaving::Pixels));
        }
        if !turns(transpose, &[0, 2, 1]) || self.rank(from) != Some(3) {
            return None;
        }
        let reshape = self.makers.get(&from).copied();
        let node = reshape.and_then(|index| Some(&self.placed.get(index)?.node));
        match node {
            Some(node) if is_plain(node, "Reshape") => {
                let (image, _) = ends(node)?;
                let fits = self.rank(image) == Some(4)
                    && self.keeps_channels(image, from)
                    && self.is_taken_once(from);
                fits.then_some((reshape, image, Leaving::List))
            }
            _ => Some((None, from, Leaving::Pixels)),
        }
    }

    /// The image that a transpose makes of pixels, and the reshape behind it.
    fn enters(&self, transpose: &Node, to: ValueId) -> Option<(Option<usize>, ValueId, Entering)> {
        if turns(transpose, &[0, 3, 1, 2]) {
            return (self.rank(to) == Some(4)).then_some((None, to, Entering::Pixels));
        }
        if !turns(transpose, &[0, 2, 1]) || self.rank(to) != Some(3) {
            return None;
        }
        let [reshape] = self.takers.get(&to)?.as_slice() else { return None };
        let node = &self.placed.get(*reshape)?.node;
        if !is_plain(node, "Reshape") {
            return Some((None, to, Entering::Pixels));
        }
        let (_, image) = ends(node)?;
        let size = |axis: usize| usize::try_from(self.facts.get(&image)?.dimension(axis)?).ok();
        let fits = self.rank(image) == Some(4) && self.keeps_channels(to, image) && self.is_taken_once(to);
        fits.then_some((Some(*reshape), image, Entering::List([size(2)?, size(3)?])))
    }
}
