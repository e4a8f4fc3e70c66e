//! The imports between the modules of a crate, and the circles they make.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use super::{
    graph::Graph,
    names::{Definition, Names},
    paths::{Kind, paths},
};
use crate::sources::{ModuleId, ModuleTree};

/// A module's use of another, at the first place where it is seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Import {
    /// The module that uses.
    from: ModuleId,
    /// The module that defines what is used.
    to: ModuleId,
    file: PathBuf,
    line: usize,
    /// The path as it is written.
    path: String,
}

/// All imports between the modules of a crate that may be part of a circle.
pub(super) struct Imports<'a> {
    tree: &'a ModuleTree,
    found: BTreeMap<(ModuleId, ModuleId), Import>,
}

/// A circle, with one way round it.
#[derive(Debug)]
pub(super) struct Circle {
    /// The kind of its members: modules, or folders.
    pub(super) of: Level,
    /// All that take part, sorted.
    pub(super) members: Vec<String>,
    /// A shortest way round.
    pub(super) way: Vec<String>,
    /// Every import between members.
    pub(super) all: Vec<String>,
}

/// What a node of a circle is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    /// A module.
    Module,
    /// A folder: a module directly below that one, with all that is below it.
    Folder(ModuleId),
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Module => "modules",
            Self::Folder(_) => "folders (modules, each with all that is below it)",
        })
    }
}

impl<'a> Imports<'a> {
    /// Reads the imports of every module.
    pub(super) fn read(tree: &'a ModuleTree) -> Self {
        let names = Names::read(tree);
        let mut found = BTreeMap::new();
        for (from, module) in tree.iter() {
            for path in paths(&module.items) {
                let text = path.path.join("::");
                for definition in names.resolve(&path.path, from) {
                    let to = match definition {
                        Definition::Type(to) | Definition::Other(to) => to,
                        Definition::Module(to) if path.kind == Kind::Glob => to,
                        // The name of a module: only a use of its items counts.
                        Definition::Module(_) => continue,
                    };
                    if tree.within(from, to) || tree.within(to, from) {
                        continue;
                    }
                    let import =
                        Import { from, to, file: module.file.clone(), line: path.line, path: text.clone() };
                    found.entry((from, to)).or_insert(import);
                }
            }
        }
        Self { tree, found }
    }

    /// The circles between modules, and those between folders that are no circle of
    /// the same modules.
    pub(super) fn circles(&self, root: &Path) -> Vec<Circle> {
        let mut circles = self.circles_between(Level::Module, root);
        let folders = self.tree.iter().filter(|(_, module)| !module.children.is_empty());
        for circle in folders.flat_map(|(id, _)| self.circles_between(Level::Folder(id), root)) {
            if circles.iter().all(|other| other.members != circle.members) {
                circles.push(circle);
            }
        }
        circles
    }

    /// The modules directly below the root in layers, lowest first.
    pub(super) fn layers(&self) -> Vec<Vec<String>> {
        let graph = self.graph(Level::Folder(ModuleId(0)));
        let root = ModuleId(0);
        let mut layers: Vec<Vec<String>> = graph
            .layers()
            .into_iter()
            .map(|layer| {
                let top = layer.into_iter().map(ModuleId);
                let top = top.filter(|id| self.tree.get(*id).parent == Some(root));
                top.map(|id| self.tree.get(id).name.clone()).collect()
            })
            .collect();
        layers.iter_mut().for_each(|layer| layer.sort());
        layers.retain(|layer| !layer.is_empty());
        layers
    }

    fn node(&self, level: Level, id: ModuleId) -> Option<usize> {
        match level {
            Level::Module => Some(id.0),
            Level::Folder(folder) => self.tree.below(folder, id).map(|id| id.0),
        }
    }

    fn graph(&self, level: Level) -> Graph {
        let mut graph = Graph::new(self.tree.modules.len());
        for import in self.found.values() {
            if let (Some(from), Some(to)) = (self.node(level, import.from), self.node(level, import.to)) {
                graph.add(from, to);
            }
        }
        graph
    }

    fn circles_between(&self, level: Level, root: &Path) -> Vec<Circle> {
        let graph = self.graph(level);
        let between = |from: usize, to: usize| {
            self.found.values().find(move |import| {
                self.node(level, import.from) == Some(from) && self.node(level, import.to) == Some(to)
            })
        };
        let circles = graph.circles().into_iter().map(|nodes| {
            let way = graph.shortest_way_round(&nodes);
            let next = way.iter().cycle().skip(1);
            let way = way.iter().zip(next).filter_map(|(from, to)| between(*from, *to));
            let all = nodes.iter().flat_map(|from| nodes.iter().map(move |to| (*from, *to)));
            let all = all.filter(|(from, to)| from != to).filter_map(|(from, to)| between(from, to));
            Circle {
                of: level,
                members: nodes.iter().map(|node| self.tree.get(ModuleId(*node)).path.clone()).collect(),
                way: way.map(|import| self.describe(import, root)).collect(),
                all: all.map(|import| self.describe(import, root)).collect(),
            }
        });
        circles.collect()
    }

    fn describe(&self, import: &Import, root: &Path) -> String {
        let file = import.file.strip_prefix(root).unwrap_or(&import.file);
        let path = |id| &self.tree.get(id).path;
        format!(
            "{}:{}: {} uses {} (`{}`)",
            file.display(),
            import.line,
            path(import.from),
            path(import.to),
            import.path
        )
    }
}
