//! Which nodes form an island together.
//!
//! An island runs as one operator, so nothing may lie between two of its nodes that waits
//! for one and is waited for by the other. Each node gets a stage: rten's nodes that come
//! after one of ours that comes after an island are in the next stage. All of rten's nodes of
//! a stage are one island. No path leads from an island out and back in, because it would
//! raise the stage on its way; and there is no partition with fewer islands on any path.

use std::collections::HashMap;

use crate::onnx::model::ValueId;

/// The longest chain of rten's nodes in an island: rten's planner calls itself for each node of a
/// chain, and the stack of a thread is short.
const LONGEST_CHAIN: usize = 1000;

/// The most nodes of an island: rten's optimizer compares many of them with one another.
const LARGEST_ISLAND: usize = 20_000;

/// A node as far as the partition needs it.
pub(super) struct Vertex<'a> {
    pub(super) inputs: &'a mut dyn Iterator<Item = ValueId>,
    pub(super) outputs: &'a mut dyn Iterator<Item = ValueId>,
    /// For a node of an island, how many nodes of rten it is.
    pub(super) island_nodes: Option<usize>,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug)]
struct Origin {
    stage: usize,
    by_island: bool,
    /// The longest chain of rten's nodes of this stage up to it.
    chain: usize,
}

/// Gives nodes their stages, one after the other, in the order of the graph.
#[derive(Debug, Default)]
pub(super) struct Stages {
    values: HashMap<ValueId, Origin>,
    /// How many nodes of rten each stage has.
    counts: HashMap<usize, usize>,
}

impl Stages {
    /// The stage of the next node. Ours is 0 where no island comes before; islands begin at 1.
    pub(super) fn next(&mut self, vertex: Vertex<'_>) -> usize {
        let by_island = vertex.island_nodes.is_some();
        let nodes = vertex.island_nodes.unwrap_or(0);
        let mut stage = usize::from(by_island);
        let mut chain = 0;
        for input in vertex.inputs {
            if let Some(origin) = self.values.get(&input) {
                let least = origin.stage + usize::from(by_island && !origin.by_island);
                if least > stage {
                    (stage, chain) = (least, 0);
                }
                if origin.stage == stage && origin.by_island {
                    chain = chain.max(origin.chain);
                }
            }
        }
        if by_island {
            chain += nodes;
            if chain > LONGEST_CHAIN {
                (stage, chain) = (stage + 1, nodes);
            }
            while self.counts.get(&stage).copied().unwrap_or(0) + nodes > LARGEST_ISLAND {
                (stage, chain) = (stage + 1, nodes);
            }
            *self.counts.entry(stage).or_default() += nodes;
        }
        for output in vertex.outputs {
            self.values.insert(output, Origin { stage, by_island, chain });
        }
        stage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(nodes: &[(&[u32], u32, bool)]) -> Vec<usize> {
        let mut stages = Stages::default();
        nodes
            .iter()
            .map(|(inputs, output, is_island)| {
                stages.next(Vertex {
                    inputs: &mut inputs.iter().map(|input| ValueId(*input)),
                    outputs: &mut [*output].into_iter().map(ValueId),
                    island_nodes: is_island.then_some(1),
                })
            })
            .collect()
    }

    #[test]
    fn what_waits_for_an_island_and_is_waited_for_splits_it() {
        // 0 -> island 1 -> ours 2 -> island 3; island 4 needs 1 only.
        let found = stages(&[
            (&[0], 1, true),
            (&[1], 2, false),
            (&[2], 3, true),
            (&[1], 4, true),
            (&[3, 4], 5, true),
        ]);
        assert_eq!(found, [1, 1, 2, 1, 2]);
    }

    #[test]
    fn ours_before_any_island_splits_nothing() {
        assert_eq!(
            stages(&[(&[0], 1, false), (&[1], 2, true), (&[0], 3, true), (&[2, 3], 4, true)]),
            [0, 1, 1, 1]
        );
    }

    #[test]
    fn chains_end() {
        let mut found = Stages::default();
        let last = (0..3500_u32)
            .map(|index| {
                found.next(Vertex {
                    inputs: &mut [ValueId(index)].into_iter(),
                    outputs: &mut [ValueId(index + 1)].into_iter(),
                    island_nodes: Some(1),
                })
            })
            .last();
        assert_eq!(last, Some(4));
    }
}
