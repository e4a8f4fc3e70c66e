//! Which module defines what a path names: imports, re-exports, renames and globs
//! are followed to the item itself.

use std::collections::HashMap;

use syn::{Item, UseTree, Visibility};

use crate::sources::{ModuleId, ModuleTree};

/// What a name is, and the module that defines it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Definition {
    /// A module itself.
    Module(ModuleId),
    /// A type or a trait: it defines the rest of a path.
    Type(ModuleId),
    /// A function, a constant, a macro.
    Other(ModuleId),
}

/// The names of all modules of a crate.
pub(super) struct Names<'a> {
    tree: &'a ModuleTree,
    scopes: Vec<Scope>,
}

#[derive(Default)]
struct Scope {
    names: HashMap<String, Vec<Binding>>,
    globs: Vec<Glob>,
    /// Does it call macros that may define names?
    calls_macros: bool,
}

struct Binding {
    meaning: Meaning,
    private: bool,
}

enum Meaning {
    Definition(Definition),
    Import(Vec<String>),
}

struct Glob {
    path: Vec<String>,
    private: bool,
}

/// The imports that are being followed: a module's, by name and number; `None` for
/// its globs.
type Visited = Vec<(ModuleId, String, Option<usize>)>;

/// One name that a `use` brings, or everything.
pub(super) struct Import {
    /// The whole path of what is imported. A leading `::` is an empty first part.
    pub(super) path: Vec<String>,
    /// The name it has here; `None` for a glob.
    pub(super) name: Option<String>,
    pub(super) line: usize,
}

/// The imports of a `use`.
pub(super) fn imports(item: &syn::ItemUse) -> Vec<Import> {
    let mut found = Vec::new();
    let start = if item.leading_colon.is_some() { vec![String::new()] } else { Vec::new() };
    flatten(&item.tree, start, &mut found);
    found
}

fn flatten(tree: &UseTree, mut path: Vec<String>, found: &mut Vec<Import>) {
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            flatten(&part.tree, path, found);
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, path.clone(), found);
            }
        }
        UseTree::Glob(glob) => {
            let line = glob.star_token.spans.first().map_or(0, |span| span.start().line);
            found.push(Import { path, name: None, line });
        }
        UseTree::Name(part) => {
            let line = part.ident.span().start().line;
            let mut name = part.ident.to_string();
            if name == "self" {
                name = path.last().cloned().unwrap_or(name);
            } else {
                path.push(name.clone());
            }
            found.push(Import { path, name: Some(name), line });
        }
        UseTree::Rename(part) => {
            let line = part.ident.span().start().line;
            if part.ident != "self" {
                path.push(part.ident.to_string());
            }
            found.push(Import { path, name: Some(part.rename.to_string()), line });
        }
    }
}

impl<'a> Names<'a> {
    /// Reads the names of every module.
    pub(super) fn read(tree: &'a ModuleTree) -> Self {
        let mut scopes: Vec<Scope> = tree.iter().map(|(id, _)| Scope::read(tree, id)).collect();
        // What `#[macro_export]` exports is a name of the crate's root.
        let exported = tree.iter().flat_map(|(id, module)| {
            module.items.iter().filter_map(move |item| match item {
                Item::Macro(item) if item.attrs.iter().any(|a| a.path().is_ident("macro_export")) => {
                    Some((item.ident.as_ref()?.to_string(), Definition::Other(id)))
                }
                _ => None,
            })
        });
        if let Some(root) = scopes.first_mut() {
            for (name, definition) in exported {
                root.bind(name, Meaning::Definition(definition), false);
            }
        }
        Self { tree, scopes }
    }

    /// What a path names, as it is written in that module. Nothing, if that is
    /// outside of the crate.
    pub(super) fn resolve(&self, path: &[String], from: ModuleId) -> Vec<Definition> {
        self.follow(path, from, &mut Vec::new())
    }

    fn follow(&self, path: &[String], from: ModuleId, visited: &mut Visited) -> Vec<Definition> {
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        let mut found = match first.as_str() {
            "crate" | "$crate" => vec![Definition::Module(ModuleId(0))],
            "self" => vec![Definition::Module(from)],
            "super" => self.parent(from),
            "" | "Self" => Vec::new(),
            name => self.look_up(from, name, from, visited),
        };
        for name in rest {
            found = found
                .into_iter()
                .flat_map(|definition| match definition {
                    Definition::Module(id) if name == "super" => self.parent(id),
                    Definition::Module(id) if name == "self" => vec![Definition::Module(id)],
                    Definition::Module(id) => self.look_up(id, name, from, visited),
                    Definition::Type(id) => vec![Definition::Type(id)],
                    Definition::Other(_) => Vec::new(),
                })
                .collect();
        }
        found.sort();
        found.dedup();
        // A function may have its module's name: the module is then only the way to it.
        if found.iter().any(|definition| !matches!(definition, Definition::Module(_))) {
            found.retain(|definition| !matches!(definition, Definition::Module(_)));
        }
        found
    }

    fn parent(&self, id: ModuleId) -> Vec<Definition> {
        self.tree.get(id).parent.map(Definition::Module).into_iter().collect()
    }

    fn look_up(
        &self,
        module: ModuleId,
        name: &str,
        viewer: ModuleId,
        visited: &mut Visited,
    ) -> Vec<Definition> {
        let Some(scope) = self.scopes.get(module.0) else { return Vec::new() };
        let visible = |private: bool| !private || self.tree.within(viewer, module);
        let mut found = Vec::new();
        for (index, binding) in scope.names.get(name).into_iter().flatten().enumerate() {
            if visible(binding.private) {
                match &binding.meaning {
                    Meaning::Definition(definition) => found.push(*definition),
                    Meaning::Import(path) => {
                        // `use messages::messages` goes by its own name, and not round.
                        let here = (module, name.to_owned(), Some(index));
                        if !visited.contains(&here) {
                            visited.push(here);
                            found.extend(self.follow(path, module, visited));
                            visited.pop();
                        }
                    }
                }
            }
        }
        let here = (module, name.to_owned(), None);
        if found.is_empty() && !visited.contains(&here) {
            visited.push(here);
            for glob in scope.globs.iter().filter(|glob| visible(glob.private)) {
                for definition in self.follow(&glob.path, module, visited) {
                    match definition {
                        Definition::Module(id) => {
                            found.extend(self.look_up(id, name, module, visited));
                        }
                        // The glob of an enum: its variants, which are not looked up.
                        Definition::Type(_) | Definition::Other(_) => {}
                    }
                }
            }
            visited.pop();
        }
        if found.is_empty() && scope.calls_macros {
            // The compiler knows the name, so a macro has defined it.
            found.push(Definition::Type(module));
        }
        found
    }
}

impl Scope {
    fn read(tree: &ModuleTree, id: ModuleId) -> Self {
        let mut scope = Self::default();
        let module = tree.get(id);
        for child in &module.children {
            // Privacy of modules is not read: the compiler has checked it.
            let name = tree.get(*child).name.clone();
            scope.bind(name, Meaning::Definition(Definition::Module(*child)), false);
        }
        for item in &module.items {
            if let Item::Use(item) = item {
                let private = matches!(item.vis, Visibility::Inherited);
                for import in imports(item) {
                    match import.name {
                        Some(name) => scope.bind(name, Meaning::Import(import.path), private),
                        None => scope.globs.push(Glob { path: import.path, private }),
                    }
                }
            } else if let Some((name, definition, private)) = defined(item, id) {
                scope.bind(name, Meaning::Definition(definition), private);
            } else if matches!(item, Item::Macro(_)) {
                scope.calls_macros = true;
            }
        }
        scope
    }

    fn bind(&mut self, name: String, meaning: Meaning, private: bool) {
        self.names.entry(name).or_default().push(Binding { meaning, private });
    }
}

/// The name that an item defines in that module, and whether it is private.
fn defined(item: &Item, id: ModuleId) -> Option<(String, Definition, bool)> {
    let (ident, definition, visibility) = match item {
        Item::Const(item) => (&item.ident, Definition::Other(id), &item.vis),
        Item::Enum(item) => (&item.ident, Definition::Type(id), &item.vis),
        Item::Fn(item) => (&item.sig.ident, Definition::Other(id), &item.vis),
        Item::Static(item) => (&item.ident, Definition::Other(id), &item.vis),
        Item::Struct(item) => (&item.ident, Definition::Type(id), &item.vis),
        Item::Trait(item) => (&item.ident, Definition::Type(id), &item.vis),
        Item::Type(item) => (&item.ident, Definition::Type(id), &item.vis),
        Item::Union(item) => (&item.ident, Definition::Type(id), &item.vis),
        Item::Macro(item) => return Some((item.ident.as_ref()?.to_string(), Definition::Other(id), false)),
        _ => return None,
    };
    Some((ident.to_string(), definition, matches!(visibility, Visibility::Inherited)))
}
