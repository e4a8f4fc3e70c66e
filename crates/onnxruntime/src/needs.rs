//! What each output needs.

use crate::outline::Outline;

/// The most steps that are taken to learn what each output needs by itself: a file with many
/// outputs and many nodes must not take long. Beyond it, all outputs are taken together.
const MOST_STEPS: usize = 50_000_000;

/// The most groups of outputs that are loaded by themselves.
const MOST_GROUPS: usize = 16;

/// What some outputs need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Whether a node is needed, by the node's number.
    pub(crate) nodes: Vec<bool>,
    /// Whether these nodes use a name or it is an output, by the name's number.
    pub(crate) names: Vec<bool>,
}

/// Outputs that need the same inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) outputs: Vec<usize>,
    /// Whether an input is needed, by the input's number.
    pub(crate) inputs: Vec<bool>,
}

/// Finds what outputs need.
pub(crate) struct Finder<'a> {
    outline: &'a Outline,
    /// For each name: the node that makes it.
    makers: Vec<Option<usize>>,
}

impl<'a> Finder<'a> {
    pub(crate) fn new(outline: &'a Outline) -> Self {
        let mut makers = vec![None; outline.numbers.len()];
        for (index, node) in outline.nodes.iter().enumerate() {
            for output in &node.outputs {
                if let Some(maker) = makers.get_mut(output.index()) {
                    *maker = Some(index);
                }
            }
        }
        Self { outline, makers }
    }

    /// What these outputs need.
    pub(crate) fn reach(&self, outputs: &[usize]) -> Reach {
        let mut reach = Reach {
            nodes: vec![false; self.outline.nodes.len()],
            names: vec![false; self.outline.numbers.len()],
        };
        let mut waiting: Vec<usize> = Vec::new();
        let ports = outputs.iter().filter_map(|output| self.outline.outputs.get(*output));
        let wanted: Vec<usize> = ports.map(|port| port.name.index()).collect();
        for name in wanted {
            self.mark(name, &mut reach, &mut waiting);
        }
        while let Some(node) = waiting.pop() {
            for name in self.outline.nodes.get(node).into_iter().flat_map(|node| &node.uses) {
                self.mark(name.index(), &mut reach, &mut waiting);
            }
        }
        reach
    }

    fn mark(&self, name: usize, reach: &mut Reach, waiting: &mut Vec<usize>) {
        if let Some(used) = reach.names.get_mut(name)
            && !*used
        {
            *used = true;
            if let Some(maker) = self.makers.get(name).copied().flatten()
                && let Some(reached) = reach.nodes.get_mut(maker)
                && !*reached
            {
                *reached = true;
                waiting.push(maker);
            }
        }
    }

    /// For each input: whether it is needed.
    pub(crate) fn inputs(&self, reach: &Reach) -> Vec<bool> {
        let inputs = self.outline.inputs.iter();
        inputs.map(|input| reach.names.get(input.name.index()).copied().unwrap_or(false)).collect()
    }

    /// The outputs, by the inputs that they need. All together where there would be too many
    /// groups.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let outputs = self.outline.outputs.len();
        let all = || {
            let outputs: Vec<usize> = (0..outputs).collect();
            vec![Group { inputs: self.inputs(&self.reach(&outputs)), outputs }]
        };
        let uses: usize = self.outline.nodes.iter().map(|node| node.uses.len()).sum();
        let steps = self.outline.nodes.len() + self.outline.numbers.len() + uses;
        if outputs <= 1 || outputs.saturating_mul(steps) > MOST_STEPS {
            return all();
        }
        let mut groups: Vec<Group> = Vec::new();
        for output in 0..outputs {
            let inputs = self.inputs(&self.reach(&[output]));
            if let Some(group) = groups.iter_mut().find(|group| group.inputs == inputs) {
                group.outputs.push(output);
            } else if groups.len() == MOST_GROUPS {
                return all();
            } else {
                groups.push(Group { outputs: vec![output], inputs });
            }
        }
        groups
    }
}
