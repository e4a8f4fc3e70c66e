//! Finds the regions of quantised numbers of a graph, and compiles them, as [`super::regions`] does for floats.

use std::collections::{HashMap, HashSet};

use super::{
    Facts, PlanError, Planner,
    constants::ConstantStore,
    describe::Worker,
    placement::{Placed, Placement},
    regions::{Sight, leaving, partition, sort},
};
use crate::{
    onnx::{
        OnnxError,
        files::DataFiles,
        model::{Node, Port, ValueId},
    },
    operators::Attributes,
    outside::Outside,
    region::{
        pack::PackError,
        quantised::{
            draft::Drafts,
            fuse::fuse,
            pack::{Weights, pack},
            recognize::{Form, Piece, images_of, recognize},
            run::Region,
            step::Step,
        },
    },
    tensor::Tensor,
};
use adytum_kernels::{Level, integer::Instructions};

/// The weights of convolutions, each given back to the store's care when it is taken.
struct Taking<'a> {
    store: &'a mut ConstantStore,
    files: &'a dyn DataFiles,
}

impl Weights for Taking<'_> {
    fn take(&mut self, value: ValueId) -> Result<Option<Tensor>, OnnxError> {
        let tensor = self.store.tensor(value, self.files)?;
        self.store.release(value, 1);
        Ok(tensor)
    }
}

impl Planner<'_> {
    /// Puts an operator in the place of each region.
    pub(super) fn compile_quantised_regions(
        &mut self,
        placed: Vec<Placed>,
        facts: &Facts,
        outputs: &[Port],
    ) -> Result<Vec<Placed>, PlanError> {
        let mut pieces: Vec<Option<Piece>> = Vec::with_capacity(placed.len());
        for entry in &placed {
            let mut sight = Sight { facts, store: &mut self.constants, files: self.files };
            match recognize(&entry.node, &mut sight) {
                Ok(found) => pieces.push(Some(found)),
                Err(outside) => {
                    self.plan.explain(entry.line, outside);
                    pieces.push(None);
                }
            }
        }
        for (entry, place) in placed.iter().zip(&mut pieces) {
            if place.is_none()
                && let Some(index) = self.function_of_bytes(&entry.node)
            {
                let mut sight = Sight { facts, store: &mut self.constants, files: self.files };
                if let Some((input, output)) = images_of(&entry.node, &mut sight, index)
                    && let Some(form) = self.table(&[&entry.node], input, facts)?
                {
                    *place = Some(Piece { form, inputs: vec![input], output });
                }
            }
        }
        if !pieces.iter().flatten().any(|piece| piece.form.is_convolution()) {
            for (entry, _) in placed.iter().zip(&pieces).filter(|(_, piece)| piece.is_some()) {
                self.plan.explain(entry.line, Outside::Alone);
            }
            return Ok(placed);
        }
        self.recognize_tables(&placed, facts, outputs, &mut pieces)?;
        forget_requantised(&mut pieces);
        let seeds = seeds(&pieces);
        let nodes: Vec<_> = placed
            .iter()
            .zip(&pieces)
            .map(|(entry, piece)| {
                let can = piece.as_ref().map(|piece| {
                    piece.form.is_convolution()
                        || matches!(piece.form, Form::Quantise(_)) && seeds.contains(&piece.output.value)
                });
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
        let leaving = leaving(&placed, &roots, outputs);
        let mut groups: HashMap<usize, Vec<(Placed, Piece)>> = HashMap::new();
        let mut units: Vec<(usize, Option<Placed>)> = Vec::new();
        for (index, (entry, piece)) in placed.into_iter().zip(pieces).enumerate() {
            match (roots.get(index).copied().flatten(), piece) {
                (Some(root), Some(piece)) => {
                    let group = groups.entry(root).or_default();
                    if group.is_empty() {
                        units.push((root, None));
                    }
                    group.push((entry, piece));
                }
                (_, piece) => {
                    if piece.is_some() {
                        self.plan.explain(entry.line, Outside::Alone);
                    }
                    units.push((index, Some(entry)));
                }
            }
        }
        let mut compiled = Vec::with_capacity(units.len());
        for (root, entry) in units {
            compiled.push(match entry {
                Some(entry) => entry,
                None => {
                    let members = groups.remove(&root).unwrap_or_default();
                    self.compile_quantised(members, &leaving)?
                }
            });
        }
        Ok(sort(compiled))
    }

    fn compile_quantised(
        &mut self,
        members: Vec<(Placed, Piece)>,
        leaving: &HashSet<ValueId>,
    ) -> Result<Placed, PlanError> {
        let number = self.plan.regions;
        self.plan.regions += 1;
        let mut drafts = Drafts::default();
        let (mut left, mut weights) = (Vec::new(), HashSet::new());
        let (mut name, mut opset, mut line) = (String::new(), 0, 0);
        let count = members.len();
        let mut nodes = Vec::with_capacity(count);
        for (entry, piece) in members {
            if let Some(described) = self.plan.lines.get_mut(entry.line) {
                described.worker = Worker::Region(number);
            }
            if name.is_empty() {
                (name, opset, line) = (entry.node.name.clone(), entry.node.opset, entry.line);
            }
            if let Form::Convolution(convolution) = &piece.form {
                weights.insert(convolution.weights);
            }
            let output = piece.output;
            drafts.add(piece);
            if leaving.contains(&output.value) {
                left.push(output);
            }
            nodes.push(entry.node);
        }
        for image in &left {
            if !drafts.exit(*image) {
                return Err(PlanError::Engine { reason: "a region does not have what it gives".to_owned() });
            }
        }
        // The constants are in the drafts now, the weights excepted, which are released one by one.
        for node in &nodes {
            for value in node.inputs.iter().flatten().filter(|value| !weights.contains(value)) {
                self.constants.release(*value, 1);
            }
        }
        fuse(&mut drafts);
        let entered: Vec<ValueId> = drafts.entered.clone();
        let instructions = Instructions::of(Level::best());
        let mut taking = Taking { store: &mut self.constants, files: self.files };
        let flow = pack(drafts, instructions, &mut taking).map_err(|error| match error {
            PackError::Onnx(error) => PlanError::Onnx(error),
            PackError::Unfit(reason) => PlanError::Engine { reason: reason.to_owned() },
        })?;
        self.plan.steps.push(flow.steps.iter().map(Step::describe).collect());
        let region = Region::new(flow, instructions);
        let node = Node {
            name,
            domain: String::new(),
            operator: format!("and {} more nodes", count.saturating_sub(1)),
            opset,
            inputs: entered.into_iter().map(Some).collect(),
            outputs: left.into_iter().map(|image| Some(image.value)).collect(),
            attributes: Attributes::default(),
            graphs: Vec::new(),
            captures: Vec::new(),
        };
        Ok(Placed { node, placement: Placement::Own(Box::new(region)), stage: 0, line })
    }
}

/// Real numbers are not in a region, so what a region dequantises is not quantised in it again.
fn forget_requantised(pieces: &mut [Option<Piece>]) {
    let real: HashSet<ValueId> = pieces
        .iter()
        .flatten()
        .filter(|piece| matches!(piece.form, Form::Dequantise(_)))
        .map(|piece| piece.output.value)
        .collect();
    for place in pieces {
        let is_again = place.as_ref().is_some_and(|piece| {
            matches!(piece.form, Form::Quantise(_))
                && piece.inputs.iter().any(|input| real.contains(&input.value))
        });
        if is_again {
            *place = None;
        }
    }
}

/// The values that a convolution of a region takes.
fn seeds(pieces: &[Option<Piece>]) -> HashSet<ValueId> {
    pieces
        .iter()
        .flatten()
        .filter(|piece| piece.form.is_convolution())
        .flat_map(|piece| piece.inputs.iter().map(|input| input.value))
        .collect()
}
