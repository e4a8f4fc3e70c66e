//! Finds the codes: in `fn code` of enums and structs, and where a code is given
//! to a refusal or to a log line.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use syn::{
    Attribute, Block, Expr, ExprMatch, FnArg, ImplItem, Item, ItemImpl, Lit, Pat, ReturnType, Signature,
    Stmt, Type,
};

use super::{documentation::Documentation, retry, source::Source, used};
use crate::{
    problem::{Place, Problem},
    sources::{Module, ModuleTree},
};

/// A crate's modules and whose they are.
pub(super) struct Scanned {
    pub(super) package: String,
    /// The modules of one of its crates.
    pub(super) tree: ModuleTree,
}

/// Something with a name, and where it is defined.
struct Named<'a, T> {
    package: &'a str,
    module: &'a Module,
    item: &'a T,
}

/// What all crates define, by name.
#[derive(Default)]
pub(super) struct Index<'a> {
    enums: HashMap<String, Vec<Named<'a, syn::ItemEnum>>>,
    structs: HashMap<String, Vec<Named<'a, syn::ItemStruct>>>,
    constants: HashMap<String, Vec<Named<'a, syn::ItemConst>>>,
    functions: HashMap<String, Vec<Named<'a, syn::ItemFn>>>,
    retries: HashMap<(&'a str, String), &'a Block>,
}

/// All codes that these crates give.
pub(super) fn scan(crates: &[Scanned], root: &Path) -> (Vec<Source>, Vec<Problem>) {
    let index = Index::new(crates);
    let mut sources = Vec::new();
    let mut problems = Vec::new();
    for (scanned, module) in modules(crates) {
        let mut reader = Reader { index: &index, root, package: &scanned.package, module, found: Vec::new() };
        for item in &module.items {
            if let Item::Impl(item) = item
                && let Err(problem) = reader.read(item)
            {
                problems.push(problem);
            }
        }
        sources.append(&mut reader.found);
        for (given, line) in used::codes(&module.items) {
            sources.extend(reader.used(given, line));
        }
    }
    // A constant may be given at many places; it is explained at one.
    let mut seen = BTreeSet::new();
    sources.retain(|source| seen.insert((source.owner.clone(), source.place.clone(), source.code.clone())));
    (sources, problems)
}

fn modules(crates: &[Scanned]) -> impl Iterator<Item = (&Scanned, &Module)> {
    crates.iter().flat_map(|scanned| scanned.tree.modules.iter().map(move |module| (scanned, module)))
}

impl<'a> Index<'a> {
    fn new(crates: &'a [Scanned]) -> Self {
        let mut index = Self::default();
        for (scanned, module) in modules(crates) {
            let package = scanned.package.as_str();
            for item in &module.items {
                match item {
                    Item::Enum(item) => add(&mut index.enums, &item.ident, Named { package, module, item }),
                    Item::Struct(item) => {
                        add(&mut index.structs, &item.ident, Named { package, module, item })
                    }
                    Item::Const(item) => {
                        add(&mut index.constants, &item.ident, Named { package, module, item })
                    }
                    Item::Fn(item) => {
                        add(&mut index.functions, &item.sig.ident, Named { package, module, item })
                    }
                    Item::Impl(item) => {
                        let Some(name) = name_of(&item.self_ty) else { continue };
                        for item in &item.items {
                            if let ImplItem::Fn(item) = item
                                && item.sig.ident == "retry"
                            {
                                index.retries.insert((package, name.clone()), &item.block);
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        index
    }
}

fn add<'a, T>(map: &mut HashMap<String, Vec<Named<'a, T>>>, name: &syn::Ident, named: Named<'a, T>) {
    map.entry(name.to_string()).or_default().push(named);
}

/// The definition of a name nearest to a module: in its file, else in its package,
/// else the only one anywhere.
fn nearest<'i, 'a, T>(
    map: &'i HashMap<String, Vec<Named<'a, T>>>,
    name: &str,
    package: &str,
    module: &Module,
) -> Option<&'i Named<'a, T>> {
    let all = map.get(name)?;
    let only = || if all.len() == 1 { all.first() } else { None };
    all.iter()
        .find(|named| named.module.file == module.file)
        .or_else(|| all.iter().find(|named| named.package == package))
        .or_else(only)
}

/// The name of a type, without what is before and after it.
fn name_of(item: &Type) -> Option<String> {
    match item {
        Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        Type::Reference(reference) => name_of(&reference.elem),
        _ => None,
    }
}

/// Does this give a code? `fn code(&self)` that returns text.
fn gives_code(signature: &Signature) -> bool {
    let text = match &signature.output {
        ReturnType::Type(_, output) => {
            matches!(&**output, Type::Reference(_)) && name_of(output).as_deref() == Some("str")
        }
        ReturnType::Default => false,
    };
    signature.ident == "code" && text && matches!(signature.inputs.first(), Some(FnArg::Receiver(_)))
}

struct Reader<'i, 'a> {
    index: &'i Index<'a>,
    root: &'i Path,
    package: &'i str,
    module: &'i Module,
    found: Vec<Source>,
}

/// What a code is given to: a variant, a type, a constant.
#[derive(Clone)]
struct Subject {
    owner: String,
    place: Place,
    documentation: Documentation,
    type_documentation: Documentation,
    computed_retry: Option<bool>,
}

impl Reader<'_, '_> {
    fn read(&mut self, item: &ItemImpl) -> Result<(), Problem> {
        let Some(name) = name_of(&item.self_ty) else { return Ok(()) };
        for item in &item.items {
            if let ImplItem::Fn(item) = item
                && gives_code(&item.sig)
            {
                let subject = self.type_subject(&name, item.sig.ident.span().start().line);
                self.follow_block(&item.block, &[subject], &name)?;
            }
        }
        Ok(())
    }

    fn place(&self, module: &Module, line: usize) -> Place {
        Place { file: module.file.strip_prefix(self.root).unwrap_or(&module.file).to_owned(), line }
    }

    fn here(&self, line: usize) -> Place {
        self.place(self.module, line)
    }

    fn type_subject(&self, name: &str, line: usize) -> Subject {
        let mut subject = Subject {
            owner: name.to_owned(),
            place: self.here(line),
            documentation: Documentation::default(),
            type_documentation: Documentation::default(),
            computed_retry: None,
        };
        let found: Option<(&Module, &[Attribute], usize)> =
            if let Some(named) = nearest(&self.index.structs, name, self.package, self.module) {
                Some((named.module, &named.item.attrs, named.item.ident.span().start().line))
            } else {
                nearest(&self.index.enums, name, self.package, self.module).map(|named| {
                    (named.module, named.item.attrs.as_slice(), named.item.ident.span().start().line)
                })
            };
        if let Some((module, attributes, line)) = found {
            subject.place = self.place(module, line);
            subject.documentation = Documentation::read(attributes);
        }
        subject
    }

    fn variant_subject(&self, type_name: &str, variant: &str) -> Option<Subject> {
        let named = nearest(&self.index.enums, type_name, self.package, self.module)?;
        let found = named.item.variants.iter().find(|other| other.ident == variant)?;
        let retry = self.index.retries.get(&(named.package, type_name.to_owned()));
        Some(Subject {
            owner: format!("{type_name}::{variant}"),
            place: self.place(named.module, found.ident.span().start().line),
            documentation: Documentation::read(&found.attrs),
            type_documentation: Documentation::read(&named.item.attrs),
            computed_retry: retry.and_then(|body| retry::answer(body, variant)),
        })
    }

    fn follow_block(&mut self, block: &Block, subjects: &[Subject], own: &str) -> Result<(), Problem> {
        match block.stmts.last() {
            Some(Stmt::Expr(expression, None)) => self.follow(expression, subjects, own),
            _ => Ok(()),
        }
    }

    /// Follows an expression to the codes that it may be.
    fn follow(&mut self, expression: &Expr, subjects: &[Subject], own: &str) -> Result<(), Problem> {
        match expression {
            Expr::Lit(literal) => {
                if let Lit::Str(text) = &literal.lit {
                    self.add(text.value(), text.span().start().line, subjects);
                }
                Ok(())
            }
            Expr::Match(item) => self.follow_match(item, subjects, own),
            Expr::If(item) => {
                self.follow_block(&item.then_branch, subjects, own)?;
                match &item.else_branch {
                    Some((_, other)) => self.follow(other, subjects, own),
                    None => Ok(()),
                }
            }
            Expr::Block(block) => self.follow_block(&block.block, subjects, own),
            Expr::Paren(inner) => self.follow(&inner.expr, subjects, own),
            Expr::Path(path) => self.follow_constant(path, subjects),
            Expr::Call(call) => {
                let Expr::Path(path) = &*call.func else { return Ok(()) };
                let Some(name) = path.path.segments.last().map(|last| last.ident.to_string()) else {
                    return Ok(());
                };
                self.follow_function(&name, subjects, own)
            }
            // Another type's code, or a peer's: found where it is given.
            Expr::MethodCall(_) | Expr::Field(_) | Expr::Reference(_) => Ok(()),
            other => {
                let line = syn::spanned::Spanned::span(other).start().line;
                let text = format!("the codes of {own} can't be read here; use a `match` of literals");
                Err(Problem { place: self.here(line), text })
            }
        }
    }

    fn follow_match(&mut self, item: &ExprMatch, outer: &[Subject], own: &str) -> Result<(), Problem> {
        for arm in &item.arms {
            let mut variants = Vec::new();
            variants_of(&arm.pat, own, &mut variants);
            let mut subjects: Vec<Subject> =
                variants.iter().filter_map(|(name, variant)| self.variant_subject(name, variant)).collect();
            if subjects.is_empty() {
                subjects = outer.to_vec();
            }
            self.follow(&arm.body, &subjects, own)?;
        }
        Ok(())
    }

    /// The constant's own words explain the code, unless a variant's do.
    fn follow_constant(&mut self, path: &syn::ExprPath, subjects: &[Subject]) -> Result<(), Problem> {
        let Some(last) = path.path.segments.last() else { return Ok(()) };
        let name = last.ident.to_string();
        let Some((code, subject)) = self.constant(&name) else {
            let text = format!("the constant {name} with a code is not found");
            return Err(Problem { place: self.here(last.ident.span().start().line), text });
        };
        let line = last.ident.span().start().line;
        let explained = subjects.iter().any(|subject| subject.documentation.next_step.is_some());
        if explained || subject.documentation.next_step.is_none() {
            self.add(code, line, subjects);
        } else {
            self.add(code, line, &[subject]);
        }
        Ok(())
    }

    fn follow_function(&mut self, name: &str, subjects: &[Subject], own: &str) -> Result<(), Problem> {
        let Some(named) = nearest(&self.index.functions, name, self.package, self.module) else {
            return Ok(());
        };
        let subject = Subject {
            owner: format!("{name}()"),
            place: self.place(named.module, named.item.sig.ident.span().start().line),
            documentation: Documentation::read(&named.item.attrs),
            type_documentation: Documentation::default(),
            computed_retry: None,
        };
        let explained = subject.documentation.next_step.is_some();
        let block = &named.item.block;
        self.follow_block(block, if explained { std::slice::from_ref(&subject) } else { subjects }, own)
    }

    fn constant(&self, name: &str) -> Option<(String, Subject)> {
        let named = nearest(&self.index.constants, name, self.package, self.module)?;
        let Expr::Lit(literal) = &*named.item.expr else { return None };
        let Lit::Str(text) = &literal.lit else { return None };
        let subject = Subject {
            owner: name.to_owned(),
            place: self.place(named.module, named.item.ident.span().start().line),
            documentation: Documentation::read(&named.item.attrs),
            type_documentation: Documentation::default(),
            computed_retry: None,
        };
        Some((text.value(), subject))
    }

    fn add(&mut self, code: String, line: usize, subjects: &[Subject]) {
        for subject in subjects {
            self.found.push(self.source(code.clone(), line, subject.clone(), false));
        }
    }

    fn source(&self, code: String, line: usize, subject: Subject, is_use: bool) -> Source {
        Source {
            code,
            package: self.package.to_owned(),
            owner: subject.owner,
            place: subject.place,
            arm: self.here(line),
            documentation: subject.documentation,
            type_documentation: subject.type_documentation,
            computed_retry: subject.computed_retry,
            is_use,
        }
    }

    /// The source of a code that is given at a place.
    fn used(&self, given: used::Given, line: usize) -> Option<Source> {
        match given {
            used::Given::Literal(code) => {
                let subject = Subject {
                    owner: "a literal".to_owned(),
                    place: self.here(line),
                    documentation: Documentation::default(),
                    type_documentation: Documentation::default(),
                    computed_retry: None,
                };
                Some(self.source(code, line, subject, true))
            }
            used::Given::Constant(name) => {
                let (code, subject) = self.constant(&name)?;
                Some(self.source(code, line, subject, false))
            }
        }
    }
}

/// The innermost variants that a pattern names, with their types.
fn variants_of(pattern: &Pat, own: &str, found: &mut Vec<(String, String)>) {
    let mut inner = Vec::new();
    let path = match pattern {
        Pat::Or(cases) => return cases.cases.iter().for_each(|case| variants_of(case, own, found)),
        Pat::Paren(pattern) => return variants_of(&pattern.pat, own, found),
        Pat::Reference(pattern) => return variants_of(&pattern.pat, own, found),
        Pat::Struct(item) => {
            item.fields.iter().for_each(|field| variants_of(&field.pat, own, &mut inner));
            &item.path
        }
        Pat::TupleStruct(item) => {
            item.elems.iter().for_each(|element| variants_of(element, own, &mut inner));
            &item.path
        }
        Pat::Path(path) => &path.path,
        _ => return,
    };
    if !inner.is_empty() {
        found.append(&mut inner);
        return;
    }
    let mut names = path.segments.iter().rev().map(|segment| segment.ident.to_string());
    if let (Some(variant), Some(name)) = (names.next(), names.next()) {
        found.push((if name == "Self" { own.to_owned() } else { name }, variant));
    }
}
