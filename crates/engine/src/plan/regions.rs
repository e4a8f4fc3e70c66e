//! Finds the convolutional regions of a graph, and compiles them.
//!
//! Nodes that a region can have are joined with those of their inputs that are in a region, too. A node that
//! waits for a region, and for which another node waits, splits it, as it splits an island
//! ([`super::partition`]).

use std::collections::{HashMap, HashSet};

use super::{
    Facts, PlanError, Planner,
    constants::ConstantStore,
    describe::Worker,
    placement::{Placed, Placement},
    turns::{self, Turns},
};
use crate::{
    facts::Fact,
    onnx::{
        files::DataFiles,
        model::{Node, Port, ValueId},
    },
    operators::Attributes,
    outside::Outside,
    precision::Precision,
    region::{
        draft::Drafts,
        fuse::fuse,
        narrow,
        orders::{Entering, Leaving},
        pack::{PackError, Weights, pack},
        recognize::{Known, Piece, recognize, recognize_groups, recognize_shuffle},
        run::Region,
        step::Work,
        strides, winograd,
    },
    tensor::Tensor,
};
use adytum_kernels::{Level, arena::Arena, weights::Numbers};

/// Small constants are read to see whether they are the numbers of channels.
const SMALL: usize = 1 << 20;

/// By how much of the file's size, in percent, and how many bytes besides, weights may grow.
const GROWTH: usize = 36;
const SPARE: usize = 1 << 20;

/// The facts about the values of a graph.
pub(super) struct Sight<'a> {
    pub(super) facts: &'a Facts,
    pub(super) store: &'a mut ConstantStore,
    pub(super) files: &'a dyn DataFiles,
}

impl Known for Sight<'_> {
    fn fact(&self, value: ValueId) -> Option<Fact> {
        self.facts.get(&value).cloned().or_else(|| self.store.fact(value))
    }

    fn constant(&mut self, value: ValueId) -> Option<Tensor> {
        let shape = self.store.fact(value)?.known_shape()?;
        let count = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))?;
        if count > SMALL {
            return None;
        }
        self.store.tensor(value, self.files).ok().flatten()
    }
}

/// The weights of convolutions, each given back to the store's care when its packed form is made.
struct Taking<'a> {
    store: &'a mut ConstantStore,
    files: &'a dyn DataFiles,
}

impl Weights for Taking<'_> {
    fn place(&self, value: ValueId) -> usize {
        self.store.place(value)
    }

    fn take(
        &mut self,
        value: ValueId,
        arena: &mut Arena,
        pack: &mut dyn FnMut(Numbers<'_>, &mut Arena) -> Result<Work, PackError>,
    ) -> Result<Work, PackError> {
        let packed = self.store.take_floats(value, self.files, arena, pack).map_err(PackError::Onnx)?;
        packed.ok_or(PackError::Unfit("the weights of a convolution are gone"))?
    }

    fn take_bytes(&mut self, value: ValueId) -> Result<Tensor, PackError> {
        let tensor = self.store.tensor(value, self.files).map_err(PackError::Onnx)?;
        self.store.release(value, 1);
        tensor.ok_or(PackError::Unfit("the weights of a convolution of bytes are gone"))
    }
}

/// Which nodes are in which region.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// For each node, the root of its region.
    pub(super) region: Vec<Option<usize>>,
}

impl Membership {
    pub(super) fn root(&self, mut index: usize) -> usize {
        while let Some(Some(next)) = self.region.get(index).copied()
            && next != index
        {
            index = next;
        }
        index
    }

    fn join(&mut self, left: usize, right: usize) {
        let (left, right) = (self.root(left), self.root(right));
        let (first, second) = (left.min(right), left.max(right));
        if let Some(place) = self.region.get_mut(second) {
            *place = Some(first);
        }
    }
}

/// A node of a region.
struct Member {
    entry: Placed,
    /// Its steps. A transpose around the region has none.
    pieces: Vec<Piece>,
    /// The image that it turns on the way out.
    turn: Option<(ValueId, Leaving)>,
}

/// Where a value comes from.
#[derive(Clone, Copy)]
struct Origin {
    /// How many regions are on the way to it, at most.
    depth: usize,
    /// The node of a region that makes it.
    member: Option<usize>,
}

/// Joins nodes into regions: the nodes that a region can have, in the order of the graph.
pub(super) fn partition(nodes: &[(Vec<ValueId>, Vec<ValueId>, Option<bool>)]) -> Membership {
    let mut membership = Membership { region: vec![None; nodes.len()] };
    let mut origins: HashMap<ValueId, Origin> = HashMap::new();
    for (index, (inputs, outputs, can)) in nodes.iter().enumerate() {
        let known: Vec<Origin> = inputs.iter().filter_map(|input| origins.get(input).copied()).collect();
        let outside = |origin: &Origin| if origin.member.is_some() { origin.depth } else { origin.depth + 1 };
        let depth = known.iter().map(outside).max().unwrap_or(1);
        let members: Vec<usize> =
            known.iter().filter(|origin| origin.depth == depth).filter_map(|origin| origin.member).collect();
        // A region begins with a convolution, or with images of another size.
        let is_member = match can {
            Some(begins) => *begins || !members.is_empty(),
            None => false,
        };
        let origin = if is_member {
            if let Some(place) = membership.region.get_mut(index) {
                *place = Some(index);
            }
            for member in members {
                membership.join(member, index);
            }
            Origin { depth, member: Some(index) }
        } else {
            let depth = known.iter().map(|origin| origin.depth).max().unwrap_or(0);
            Origin { depth, member: None }
        };
        for output in outputs {
            origins.insert(*output, origin);
        }
    }
    membership
}

impl Planner<'_> {
    /// Puts an operator in the place of each region.
    pub(super) fn compile_regions(
        &mut self,
        placed: Vec<Placed>,
        facts: &Facts,
        outputs: &[Port],
    ) -> Result<Vec<Placed>, PlanError> {
        let mut pieces: Vec<Option<Vec<Piece>>> = Vec::with_capacity(placed.len());
        for entry in &placed {
            let mut sight = Sight { facts, store: &mut self.constants, files: self.files };
            match recognize(&entry.node, &mut sight) {
                Ok(found) => pieces.push(Some(found)),
                Err(outside) => {
                    // Another pass may have said more of an operator that these regions do not have.
                    if outside != Outside::Operator {
                        self.plan.explain(entry.line, outside);
                    }
                    pieces.push(None);
                }
            }
        }
        self.recognize_triples(&placed, facts, outputs, &mut pieces);
        let begins = self.recognize_dynamic(&placed, facts, outputs, &mut pieces);
        let nodes: Vec<_> = placed
            .iter()
            .zip(&pieces)
            .enumerate()
            .map(|(index, (entry, pieces))| {
                let can = pieces
                    .as_ref()
                    .map(|pieces| begins.contains(&index) || pieces.iter().any(|piece| piece.form.begins()));
                let made = entry.node.outputs.iter().flatten().copied().collect();
                (entry.inputs().flatten().collect(), made, can)
            })
            .collect();
        let membership = partition(&nodes);
        let roots: Vec<Option<usize>> = membership
            .region
            .iter()
            .enumerate()
            .map(|(index, member)| member.map(|_| membership.root(index)))
            .collect();
        let turns = match self.precision {
            Precision::Float32 => turns::find(&placed, &roots, facts, outputs),
            // Images of 16-bit floats enter in one order only.
            Precision::BFloat16 => Turns::default(),
        };
        let roots = turns.join(roots);
        let leaving = leaving(&placed, &roots, outputs);
        let mut groups: HashMap<usize, Vec<Member>> = HashMap::new();
        let mut units: Vec<(usize, Option<Placed>)> = Vec::new();
        for (index, (entry, pieces)) in placed.into_iter().zip(pieces).enumerate() {
            match (roots.get(index).copied().flatten(), pieces) {
                (Some(root), pieces) => {
                    let group = groups.entry(root).or_default();
                    if group.is_empty() {
                        units.push((root, None));
                    }
                    let turn = turns.leaving.get(&index).copied();
                    group.push(Member { entry, pieces: pieces.unwrap_or_default(), turn });
                }
                (None, pieces) => {
                    if pieces.is_some() {
                        self.plan.explain(entry.line, Outside::Alone);
                    }
                    units.push((index, Some(entry)));
                }
            }
        }
        // Backwards: the memory of a file is given back from its end.
        self.plan.regions += groups.len();
        self.plan.steps.resize(self.plan.regions, Vec::new());
        let mut number = self.plan.regions;
        let mut compiled = Vec::with_capacity(units.len());
        for (root, entry) in units.into_iter().rev() {
            compiled.push(match entry {
                Some(entry) => entry,
                None => {
                    number -= 1;
                    let members = groups.remove(&root).unwrap_or_default();
                    self.compile(number, members, &leaving, &turns.entering, facts)?
                }
            });
        }
        compiled.reverse();
        Ok(sort(compiled))
    }

    /// Finds shuffles of channels, and normalizations in groups. The first two of their nodes have no steps.
    fn recognize_triples(
        &mut self,
        placed: &[Placed],
        facts: &Facts,
        outputs: &[Port],
        pieces: &mut [Option<Vec<Piece>>],
    ) {
        let mut makers: HashMap<ValueId, usize> = HashMap::new();
        let mut uses: HashMap<ValueId, usize> = HashMap::new();
        for (index, entry) in placed.iter().enumerate() {
            makers.extend(entry.node.outputs.iter().flatten().map(|output| (*output, index)));
            entry.inputs().flatten().for_each(|input| *uses.entry(input).or_default() += 1);
        }
        outputs.iter().for_each(|port| *uses.entry(port.value).or_default() += 1);
        let before = |index: usize| -> Option<usize> {
            let input = placed.get(index)?.node.inputs.first().copied().flatten()?;
            makers.get(&input).copied().filter(|_| uses.get(&input) == Some(&1))
        };
        for last in 0..placed.len() {
            let Some((middle, first)) = before(last).and_then(|middle| Some((middle, before(middle)?)))
            else {
                continue;
            };
            let nodes = [first, middle, last].map(|index| placed.get(index).map(|entry| &entry.node));
            let [Some(a), Some(b), Some(c)] = nodes else { continue };
            let mut sight = Sight { facts, store: &mut self.constants, files: self.files };
            let piece =
                recognize_shuffle([a, b, c], &sight).or_else(|| recognize_groups([a, b, c], &mut sight));
            if let Some(piece) = piece {
                for (index, found) in [(first, vec![]), (middle, vec![]), (last, vec![piece])] {
                    if let Some(place) = pieces.get_mut(index) {
                        *place = Some(found);
                    }
                }
            }
        }
    }

    fn compile(
        &mut self,
        number: usize,
        members: Vec<Member>,
        leaving: &HashSet<ValueId>,
        entering: &HashMap<ValueId, (ValueId, Entering)>,
        facts: &Facts,
    ) -> Result<Placed, PlanError> {
        let mut drafts = Drafts::default();
        let mut left = Vec::new();
        let mut weights = HashSet::new();
        let (mut name, mut opset, mut line) = (String::new(), 0, 0);
        let count = members.len();
        let mut nodes = Vec::with_capacity(count);
        for Member { entry, pieces, turn } in members {
            if let Some(described) = self.plan.lines.get_mut(entry.line) {
                described.worker = Worker::Region(number);
            }
            if name.is_empty() {
                (name, opset, line) = (entry.node.name.clone(), entry.node.opset, entry.line);
            }
            for piece in pieces {
                let inputs =
                    piece.inputs.iter().map(|(value, channels)| drafts.input(*value, *channels)).collect();
                weights.extend(piece.form.weights());
                let pixels = facts.get(&piece.output).and_then(pixels);
                drafts.add(piece.form, inputs, piece.output, (piece.channels, pixels));
                for value in piece.inputs.iter().map(|(value, _)| *value).chain([piece.output]) {
                    if facts.get(&value).and_then(Fact::rank) == Some(3) {
                        drafts.line(value);
                    }
                }
                if leaving.contains(&piece.output) {
                    left.push((piece.output, piece.output, Leaving::Channels));
                }
            }
            if let (Some((image, order)), Some(Some(turned))) = (turn, entry.node.outputs.first()) {
                left.push((*turned, image, order));
            }
            nodes.push(entry.node);
        }
        for (_, image, order) in &left {
            if !drafts.output(*image, *order) {
                return Err(PlanError::Engine { reason: "a region does not have what it gives".to_owned() });
            }
        }
        for (image, (source, order)) in entering {
            drafts.enter_as(*image, *source, *order);
        }
        // The constants are in the drafts now, the weights excepted, which are released one by one.
        for node in &nodes {
            for value in node.inputs.iter().flatten().filter(|value| !weights.contains(value)) {
                self.constants.release(*value, 1);
            }
        }
        fuse(&mut drafts);
        strides::propagate(&mut drafts);
        match self.precision {
            Precision::Float32 => winograd::choose(&mut drafts, self.plan.file / 100 * GROWTH + SPARE),
            Precision::BFloat16 => narrow::choose(&mut drafts),
        }
        let entered: Vec<ValueId> = drafts.entered().to_vec();
        let level = Level::best();
        let mut taking = Taking { store: &mut self.constants, files: self.files };
        let flow = pack(drafts, level, &mut taking, &mut self.arena).map_err(|error| match error {
            PackError::Onnx(error) => PlanError::Onnx(error),
            PackError::Unfit(reason) => PlanError::Engine { reason: reason.to_owned() },
        })?;
        self.plan.narrow += flow.steps.iter().filter(|step| step.is_narrow()).count();
        if let Some(steps) = self.plan.steps.get_mut(number) {
            *steps = flow.steps.iter().map(crate::region::step::Step::describe).collect();
        }
        let region = Region::new(flow, level, self.plan.file);
        let node = Node {
            name,
            domain: String::new(),
            operator: format!("and {} more nodes", count.saturating_sub(1)),
            opset,
            inputs: entered.into_iter().map(Some).collect(),
            outputs: left.into_iter().map(|(value, ..)| Some(value)).collect(),
            attributes: Attributes::default(),
            graphs: Vec::new(),
            captures: Vec::new(),
        };
        Ok(Placed { node, placement: Placement::Own(Box::new(region)), stage: 0, line })
    }
}

/// The pixels of an image, if its size is known.
fn pixels(fact: &Fact) -> Option<usize> {
    let size = |axis: usize| usize::try_from(fact.dimension(axis)?).ok();
    if fact.rank() == Some(3) { size(2) } else { size(2)?.checked_mul(size(3)?) }
}

/// The values that leave the regions that make them.
pub(super) fn leaving(placed: &[Placed], roots: &[Option<usize>], outputs: &[Port]) -> HashSet<ValueId> {
    let mut makers: HashMap<ValueId, usize> = HashMap::new();
    for (entry, root) in placed.iter().zip(roots) {
        if let Some(root) = root {
            makers.extend(entry.node.outputs.iter().flatten().map(|output| (*output, *root)));
        }
    }
    let mut leaving: HashSet<ValueId> = outputs.iter().map(|port| port.value).collect();
    for (entry, root) in placed.iter().zip(roots) {
        for input in entry.inputs().flatten() {
            if makers.get(&input).is_some_and(|maker| Some(*maker) != *root) {
                leaving.insert(input);
            }
        }
    }
    leaving
}

/// Puts nodes in an order in which they can run: the order that they have, as far as that goes.
pub(super) fn sort(placed: Vec<Placed>) -> Vec<Placed> {
    let mut makers: HashMap<ValueId, usize> = HashMap::new();
    for (index, entry) in placed.iter().enumerate() {
        makers.extend(entry.node.outputs.iter().flatten().map(|output| (*output, index)));
    }
    let needs: Vec<Vec<usize>> = placed
        .iter()
        .map(|entry| entry.inputs().flatten().filter_map(|input| makers.get(&input).copied()).collect())
        .collect();
    let mut done = vec![false; placed.len()];
    let mut order = Vec::with_capacity(placed.len());
    for first in 0..placed.len() {
        // What a node needs comes before it.
        let mut waiting = vec![(first, false)];
        while let Some((index, is_ready)) = waiting.pop() {
            let Some(place) = done.get_mut(index).filter(|done| !**done) else { continue };
            if is_ready {
                *place = true;
                order.push(index);
                continue;
            }
            waiting.push((index, true));
            let missing = needs.get(index).into_iter().flatten().rev();
            waiting
                .extend(missing.filter(|need| done.get(**need) == Some(&false)).map(|need| (*need, false)));
        }
    }
    let mut placed: Vec<Option<Placed>> = placed.into_iter().map(Some).collect();
    order.into_iter().filter_map(|index| placed.get_mut(index).and_then(Option::take)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regions of nodes: inputs, output, whether it can be in a region, whether it is a convolution.
    fn roots(nodes: &[(&[u32], u32, Option<bool>)]) -> Vec<Option<usize>> {
        let nodes: Vec<_> = nodes
            .iter()
            .map(|(inputs, output, can)| {
                (inputs.iter().map(|input| ValueId(*input)).collect(), vec![ValueId(*output)], *can)
            })
            .collect();
        let membership = partition(&nodes);
        (0..nodes.len()).map(|index| membership.region[index].map(|_| membership.root(index))).collect()
    }

    #[test]
    fn what_waits_for_a_region_and_is_waited_for_splits_it() {
        // 1 = conv 0; 2 = other 1; 3 = add (1, 2): 3 can't be in the region of 1.
        let found = roots(&[
            (&[0], 1, Some(true)),
            (&[1], 2, None),
            (&[1, 2], 3, Some(false)),
            (&[1], 4, Some(true)),
            (&[3], 5, Some(true)),
        ]);
        assert_eq!(found, [Some(0), None, None, Some(0), Some(4)]);
    }

    #[test]
    fn a_region_begins_with_a_convolution_and_joins_branches() {
        let found = roots(&[
            (&[0], 1, Some(false)),
            (&[1], 2, Some(true)),
            (&[1], 3, Some(true)),
            (&[2], 4, Some(false)),
            (&[4, 3], 5, Some(false)),
        ]);
        assert_eq!(found, [None, Some(1), Some(1), Some(1), Some(1)]);
    }
}
