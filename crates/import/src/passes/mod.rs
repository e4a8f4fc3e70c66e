//! The passes over a graph after it is built.

pub(crate) mod affine;
pub(crate) mod dead;
pub(crate) mod duplicates;
pub(crate) mod folding;
pub(crate) mod put_off;
pub(crate) mod rearranged;
pub(crate) mod recurrent;
pub(crate) mod transposes;

use crate::graph::Graph;

/// All passes, in their order.
pub(crate) fn run(graph: &mut Graph) {
    dead::remove(graph);
    transposes::cancel(graph);
    folding::fold(graph);
    dead::remove(graph);
    duplicates::merge(graph);
    recurrent::replace(graph);
    affine::merge(graph);
    dead::remove(graph);
}
