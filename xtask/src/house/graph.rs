//! Circles and layers of anything that imports one another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The imports between modules. Nodes are numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    imports: Vec<BTreeSet<usize>>,
}

impl Graph {
    /// That number of nodes, without imports.
    pub(super) fn new(nodes: usize) -> Self {
        Self { imports: vec![BTreeSet::new(); nodes] }
    }

    /// One node imports another. What a node does with itself doesn't count.
    pub(super) fn add(&mut self, from: usize, to: usize) {
        if from != to
            && to < self.imports.len()
            && let Some(imports) = self.imports.get_mut(from)
        {
            imports.insert(to);
        }
    }

    fn imports_of(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        self.imports.get(node).into_iter().flatten().copied()
    }

    /// Every set of nodes each of which reaches every other: two or more nodes each,
    /// sorted.
    pub(super) fn circles(&self) -> Vec<Vec<usize>> {
        let reached: Vec<BTreeSet<usize>> = (0..self.imports.len()).map(|node| self.reach(node)).collect();
        let reaches = |from: usize, to: usize| reached.get(from).is_some_and(|nodes| nodes.contains(&to));
        let mut seen: BTreeSet<usize> = BTreeSet::new();
        let mut circles = Vec::new();
        for node in 0..self.imports.len() {
            if seen.contains(&node) || !reaches(node, node) {
                continue;
            }
            let circle: Vec<usize> = (0..self.imports.len())
                .filter(|other| reaches(node, *other) && reaches(*other, node))
                .collect();
            seen.extend(&circle);
            circles.push(circle);
        }
        circles
    }

    /// The nodes that imports lead to from this one: itself only if a circle does.
    fn reach(&self, start: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<usize> = self.imports_of(start).collect();
        while let Some(node) = next.pop() {
            if reached.insert(node) {
                next.extend(self.imports_of(node));
            }
        }
        reached
    }

    /// A shortest way round within these nodes, each the importer of the next, the
    /// last of the first.
    pub(super) fn shortest_way_round(&self, nodes: &[usize]) -> Vec<usize> {
        nodes.iter().filter_map(|start| self.way_back(*start, nodes)).min_by_key(Vec::len).unwrap_or_default()
    }

    fn way_back(&self, start: usize, nodes: &[usize]) -> Option<Vec<usize>> {
        let mut before = BTreeMap::new();
        let mut next = VecDeque::from([start]);
        while let Some(node) = next.pop_front() {
            for import in self.imports_of(node).filter(|import| nodes.contains(import)) {
                if import == start {
                    let mut way = vec![node];
                    while let Some(earlier) = way.last().and_then(|last| before.get(last)) {
                        way.push(*earlier);
                    }
                    way.reverse();
                    return Some(way);
                }
                if import != start && !before.contains_key(&import) {
                    before.insert(import, node);
                    next.push_back(import);
                }
            }
        }
        None
    }

    /// The nodes in layers, lowest first: each imports only from layers below its
    /// own. The nodes of a circle share a layer.
    pub(super) fn layers(&self) -> Vec<Vec<usize>> {
        let circles = self.circles();
        let circle_of = |node: usize| circles.iter().find(|circle| circle.contains(&node));
        let mut layer: BTreeMap<usize, usize> = BTreeMap::new();
        while layer.len() < self.imports.len() {
            let found = (0..self.imports.len()).filter(|node| !layer.contains_key(node)).find_map(|node| {
                let together = circle_of(node).cloned().unwrap_or_else(|| vec![node]);
                let below: BTreeSet<usize> = together
                    .iter()
                    .flat_map(|node| self.imports_of(*node))
                    .filter(|import| !together.contains(import))
                    .collect();
                let below: Option<Vec<usize>> = below.iter().map(|node| layer.get(node).copied()).collect();
                Some((together, below?.into_iter().max().map_or(0, |highest| highest + 1)))
            });
            // Without its circles a graph always has a node whose imports are placed.
            let Some((together, height)) = found else { break };
            layer.extend(together.into_iter().map(|node| (node, height)));
        }
        let height = layer.values().max().map_or(0, |highest| highest + 1);
        (0..height)
            .map(|wanted| layer.iter().filter(|(_, at)| **at == wanted).map(|(node, _)| *node).collect())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(nodes: usize, imports: &[(usize, usize)]) -> Graph {
        let mut graph = Graph::new(nodes);
        for (from, to) in imports {
            graph.add(*from, *to);
        }
        graph
    }

    #[test]
    fn a_graph_without_circles_has_none() {
        let graph = graph(4, &[(0, 1), (0, 2), (1, 3), (2, 3), (3, 3)]);
        assert!(graph.circles().is_empty());
        assert_eq!(graph.layers(), [vec![3], vec![1, 2], vec![0]]);
    }

    #[test]
    fn circles_that_touch_by_a_one_way_import_are_two() {
        let graph = graph(5, &[(0, 1), (1, 0), (1, 2), (2, 3), (3, 4), (4, 2)]);
        assert_eq!(graph.circles(), [vec![0, 1], vec![2, 3, 4]]);
        assert_eq!(graph.layers(), [vec![2, 3, 4], vec![0, 1]]);
        assert_eq!(graph.shortest_way_round(&[2, 3, 4]), [2, 3, 4]);
    }

    #[test]
    fn the_shortest_way_round_is_shown() {
        let graph = graph(4, &[(0, 1), (1, 2), (2, 3), (3, 0), (3, 2)]);
        assert_eq!(graph.circles(), [vec![0, 1, 2, 3]]);
        assert_eq!(graph.shortest_way_round(&[0, 1, 2, 3]), [2, 3]);
    }
}
