//! Which nodes form an island together.
//!
//! An island runs as one operator, so nothing may lie between two of its nodes that waits
//! for one and is waited for by the other. Each node gets a stage: rten's nodes that come
//! after one of ours that comes after an island are in the next stage. All of rten's nodes of
//! a stage are one island. No path leads from an island out and back in, because it would
//! raise the stage on its way; and there is no partition with fewer islands on any path.

use std::collections::HashMap;

use crate::onnx::model::ValueId;

/// A node as far as the partition needs it.
pub(super) struct Vertex<'a> {
    pub(super) inputs: &'a mut dyn Iterator<Item = ValueId>,
    pub(super) outputs: &'a mut dyn Iterator<Item = ValueId>,
    pub(super) is_island: bool,
}

/// Gives nodes their stages, one after the other, in the order of the graph.
#[derive(Debug, Default)]
pub(super) struct Stages {
    /// The stage of each value and whether an island makes it.
    values: HashMap<ValueId, (usize, bool)>,
}

impl Stages {
    /// The stage of the next node. Ours is 0 where no island comes before; islands begin at 1.
    pub(super) fn next(&mut self, vertex: Vertex<'_>) -> usize {
        let mut stage = usize::from(vertex.is_island);
        for input in vertex.inputs {
            if let Some((before, by_island)) = self.values.get(&input) {
                let step = usize::from(vertex.is_island && !by_island);
                stage = stage.max(before + step);
            }
        }
        for output in vertex.outputs {
            self.values.insert(output, (stage, vertex.is_island));
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
                    is_island: *is_island,
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
}
