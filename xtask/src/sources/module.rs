//! The modules of a crate, found as the compiler finds them: by file, by `mod.rs`,
//! by `#[path]`, or inline.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use syn::{Attribute, Expr, Item, Lit, Meta};

use super::configured::{only_in_tests, without_tests};

/// A module, by its place in its tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct ModuleId(pub(crate) usize);

/// A module and what is in it.
pub(crate) struct Module {
    /// Its path within the crate, such as `store::engine`; empty for the root.
    pub(crate) path: String,
    /// The last part of that.
    pub(crate) name: String,
    /// The module that declares it; `None` for the root.
    pub(crate) parent: Option<ModuleId>,
    /// The modules that it declares.
    pub(crate) children: Vec<ModuleId>,
    pub(crate) file: PathBuf,
    /// Its items, without the modules and without what exists only in tests.
    pub(crate) items: Vec<Item>,
}

/// All modules of a crate; the root is the first.
pub(crate) struct ModuleTree {
    /// In the order in which they are declared.
    pub(crate) modules: Vec<Module>,
}

/// Where a module's own modules are looked for.
struct Place {
    file: PathBuf,
    /// The directory for `mod name;`.
    children: PathBuf,
    /// The directory for `#[path]`.
    paths: PathBuf,
}

impl ModuleTree {
    /// Reads the crate whose root module that file is.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self { modules: Vec::new() };
        let directory = root.parent().unwrap_or(Path::new("")).to_owned();
        let place = Place { file: root.to_owned(), children: directory.clone(), paths: directory };
        tree.add_file(String::new(), None, place)?;
        Ok(tree)
    }

    /// A module of this tree.
    pub(crate) fn get(&self, id: ModuleId) -> &Module {
        #[expect(clippy::indexing_slicing, reason = "ids come from this tree, which only grows")]
        &self.modules[id.0]
    }

    /// All modules with their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ModuleId, &Module)> {
        self.modules.iter().enumerate().map(|(index, module)| (ModuleId(index), module))
    }

    /// Is `inner` in `outer`, or the same?
    pub(crate) fn within(&self, inner: ModuleId, outer: ModuleId) -> bool {
        let mut next = Some(inner);
        while let Some(id) = next {
            if id == outer {
                return true;
            }
            next = self.get(id).parent;
        }
        false
    }

    /// The module directly below `outer` that is `inner` or holds it.
    pub(crate) fn below(&self, outer: ModuleId, inner: ModuleId) -> Option<ModuleId> {
        let parent = self.get(inner).parent?;
        if parent == outer { Some(inner) } else { self.below(outer, parent) }
    }

    fn add_file(&mut self, name: String, parent: Option<ModuleId>, place: Place) -> Result<()> {
        let text =
            fs::read_to_string(&place.file).with_context(|| format!("read {}", place.file.display()))?;
        let file = syn::parse_file(&text).map_err(|error| {
            let start = error.span().start();
            anyhow::anyhow!("{}:{}: {error}", place.file.display(), start.line)
        })?;
        if only_in_tests(&file.attrs) {
            return Ok(());
        }
        self.add(name, parent, place, file.items)
    }

    fn add(&mut self, name: String, parent: Option<ModuleId>, place: Place, items: Vec<Item>) -> Result<()> {
        let id = ModuleId(self.modules.len());
        let path = match parent.map(|parent| self.get(parent).path.as_str()) {
            None => String::new(),
            Some("") => name.clone(),
            Some(outer) => format!("{outer}::{name}"),
        };
        let (declared, items): (Vec<_>, Vec<_>) =
            without_tests(items).into_iter().partition(|item| matches!(item, Item::Mod(_)));
        let file = place.file.clone();
        self.modules.push(Module { path, name, parent, children: Vec::new(), file, items });
        if let Some(parent) = parent {
            #[expect(clippy::indexing_slicing, reason = "ids come from this tree, which only grows")]
            self.modules[parent.0].children.push(id);
        }
        for item in declared {
            let Item::Mod(item) = item else { continue };
            let name = item.ident.to_string();
            match item.content {
                Some((_, items)) => {
                    let inside = place.children.join(&name);
                    let place = Place { file: place.file.clone(), children: inside.clone(), paths: inside };
                    self.add(name, Some(id), place, items)?;
                }
                None => {
                    let place = match path_attribute(&item.attrs) {
                        Some(path) => {
                            let file = place.paths.join(path);
                            let directory = file.parent().unwrap_or(Path::new("")).to_owned();
                            Place { file, children: directory.clone(), paths: directory }
                        }
                        None => file_of(&place.children, &name)?,
                    };
                    self.add_file(name, Some(id), place)?;
                }
            }
        }
        Ok(())
    }
}

/// The file of `mod name;`.
fn file_of(directory: &Path, name: &str) -> Result<Place> {
    let inside = directory.join(name);
    let beside = directory.join(format!("{name}.rs"));
    let nested = inside.join("mod.rs");
    if beside.is_file() {
        Ok(Place { file: beside, children: inside, paths: directory.to_owned() })
    } else if nested.is_file() {
        Ok(Place { file: nested, children: inside.clone(), paths: inside })
    } else {
        bail!("module `{name}` has neither {} nor {}", beside.display(), nested.display())
    }
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    })
}
