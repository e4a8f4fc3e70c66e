//! What a plan looks like to people.

use std::fmt;

use crate::outside::Outside;

/// Who computes a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worker {
    /// Nobody at a run: it was computed at load.
    Folded,
    /// Our own operator.
    Own,
    /// rten, in the island of this number.
    Island(usize),
    /// Our own kernels, in the compiled region of this number.
    Region(usize),
    /// Our own kernels, in the fused operator of this number.
    Fused(usize),
    /// Nobody: a fused operator needs its result no more.
    Nobody,
}

impl fmt::Display for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folded => f.pad("load"),
            Self::Own => f.pad("own"),
            Self::Island(number) => f.pad(&format!("rten {number}")),
            Self::Region(number) => f.pad(&format!("region {number}")),
            Self::Fused(number) => f.pad(&format!("fused {number}")),
            Self::Nobody => f.pad("nobody"),
        }
    }
}

/// A node of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How deep its graph is nested in others.
    pub depth: usize,
    /// The node's name, or that of its first output.
    pub node: String,
    pub operator: String,
    /// The part of the engine that computes it.
    pub worker: Worker,
    /// Why no region and no fused operator has it. Of no meaning if one has.
    pub outside: Outside,
    /// The types and shapes of its outputs, as far as they are known.
    pub outputs: Vec<String>,
}

impl Line {
    /// Why neither a region nor a fused operator has the node, if none has it and a run computes it.
    pub fn reason(&self) -> Option<Outside> {
        matches!(self.worker, Worker::Own | Worker::Island(_)).then_some(self.outside)
    }
}

/// Who computes what in a model.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The nodes, those of nested graphs before the node that has them.
    pub lines: Vec<Line>,
    /// Numbers in the model's constants.
    pub parameters: usize,
    /// Bytes of the model's file.
    pub file: usize,
    /// Convolutions and products that are computed in 16-bit floats.
    pub narrow: usize,
    /// Islands that rten computes.
    pub islands: usize,
    pub regions: usize,
    /// The steps of each compiled region, in words.
    pub steps: Vec<Vec<String>>,
    /// What each fused operator does, in words.
    pub fusions: Vec<String>,
    pub(super) depth: usize,
}

impl Plan {
    /// Numbers the fusions from this one on the other way round: they were found from the end of the graph.
    pub(super) fn reverse_fusions(&mut self, first: usize) {
        let Some(found) = self.fusions.get_mut(first..) else { return };
        found.reverse();
        let count = self.fusions.len();
        for line in &mut self.lines {
            if let Worker::Fused(number) = &mut line.worker
                && *number >= first
            {
                *number = first + count - 1 - *number;
            }
        }
    }

    /// Says why the node of a line is outside.
    pub(super) fn explain(&mut self, line: usize, outside: Outside) {
        if let Some(line) = self.lines.get_mut(line) {
            line.outside = outside;
        }
    }

    /// Says more of the node of a line of whose operator was said only that nobody has it.
    pub(super) fn explain_operator(&mut self, line: usize, outside: Outside) {
        if self.lines.get(line).is_some_and(|line| line.outside == Outside::Operator) {
            self.explain(line, outside);
        }
    }

    pub(super) fn new(file: usize) -> Self {
        Self { file, ..Self::default() }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(
                f,
                "{:indent$}{:<9} {:<24} {:<32} {}{}",
                "",
                line.worker,
                line.operator,
                line.node,
                line.outputs.join(", "),
                line.reason().map_or_else(String::new, |reason| format!("; {reason}")),
                indent = line.depth * 2
            )?;
        }
        for (number, steps) in self.steps.iter().enumerate() {
            writeln!(f, "region {number} has {} steps:", steps.len())?;
            for step in steps {
                writeln!(f, "  {step}")?;
            }
        }
        for (number, fusion) in self.fusions.iter().enumerate() {
            writeln!(f, "fused {number}: {fusion}")?;
        }
        let count =
            |worker: fn(&Worker) -> bool| self.lines.iter().filter(|line| worker(&line.worker)).count();
        writeln!(
            f,
            "{} nodes: {} at load, {} our own, {} in {} regions, {} in {} fused, {} in {} islands; {} parameters, {} bytes of file",
            self.lines.len(),
            count(|worker| *worker == Worker::Folded),
            count(|worker| *worker == Worker::Own),
            count(|worker| matches!(worker, Worker::Region(_))),
            self.regions,
            count(|worker| matches!(worker, Worker::Fused(_))),
            self.fusions.len(),
            count(|worker| matches!(worker, Worker::Island(_))),
            self.islands,
            self.parameters,
            self.file
        )?;
        if self.narrow > 0 {
            writeln!(f, "{} convolutions and products in 16-bit floats (bf16)", self.narrow)?;
        }
        Ok(())
    }
}
