//! Every path that a module's code has: in `use`, in expressions, types, patterns
//! and bounds, in the arguments of macros and of attributes.

use std::collections::HashMap;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{
    Attribute, Block, ExprPath, Item, ItemUse, Macro, Meta, Pat, PatIdent, Path, QSelf, Stmt, TypePath,
    VisRestricted,
    visit::{self, Visit},
};

use super::names::imports;

/// A path, as it is written.
pub(super) struct Found {
    /// Its parts. A leading `::` is an empty first part.
    pub(super) path: Vec<String>,
    /// The line of its first part.
    pub(super) line: usize,
    /// How it came there.
    pub(super) kind: Kind,
}

/// How a path came there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// It ends a `use` with `*`.
    Glob,
    /// Anything else.
    Plain,
}

/// All paths of these items.
pub(super) fn paths(items: &[Item]) -> Vec<Found> {
    let mut reader = Reader { found: Vec::new(), blocks: Vec::new() };
    for item in items {
        reader.visit_item(item);
    }
    reader.found
}

struct Reader {
    found: Vec<Found>,
    /// The names that the blocks around this place bring: an import's path, or
    /// nothing for an item that a block defines.
    blocks: Vec<HashMap<String, Option<Vec<String>>>>,
}

impl Reader {
    fn add(&mut self, mut path: Vec<String>, line: usize, kind: Kind) {
        let Some(first) = path.first() else { return };
        match self.blocks.iter().rev().find_map(|block| block.get(first)) {
            Some(None) => return,
            Some(Some(import)) => {
                let import = import.clone();
                path.splice(0..1, import);
            }
            None => {}
        }
        self.found.push(Found { path, line, kind });
    }

    fn add_use(&mut self, item: &ItemUse) {
        for import in imports(item) {
            let kind = if import.name.is_none() { Kind::Glob } else { Kind::Plain };
            self.found.push(Found { path: import.path, line: import.line, kind });
        }
    }

    /// What a token stream names: nobody knows what a macro makes of it, so each
    /// run of `a::b` is a path, and so is a lone name that looks like a type's.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut index = 0;
        while let Some(token) = tokens.get(index) {
            index += 1;
            match token {
                TokenTree::Group(group) => self.add_tokens(group.stream()),
                TokenTree::Ident(ident) => {
                    let line = ident.span().start().line;
                    if continues(&tokens, index - 1) {
                        continue;
                    }
                    let mut path = vec![ident.to_string()];
                    index = self.add_run(&tokens, index, &mut path, line);
                    let is_path = path.len() > 1;
                    let is_type = path.first().is_some_and(|name| name.starts_with(char::is_uppercase));
                    if is_path || is_type {
                        self.add(path, line, Kind::Plain);
                    }
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    /// Continues a path over `::name`; the names in `::{..}` are paths of their own.
    fn add_run(
        &mut self,
        tokens: &[TokenTree],
        mut index: usize,
        path: &mut Vec<String>,
        line: usize,
    ) -> usize {
        while let [first, second, ..] = tokens.get(index..).unwrap_or_default()
            && is_punctuation(first, ':')
            && is_punctuation(second, ':')
        {
            match tokens.get(index + 2) {
                Some(TokenTree::Ident(ident)) => path.push(ident.to_string()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    self.add_group(group.stream(), path, line);
                    return index + 3;
                }
                Some(token) if is_punctuation(token, '*') => {
                    self.add(path.clone(), line, Kind::Glob);
                    return index + 3;
                }
                _ => return index + 2,
            }
            index += 3;
        }
        index
    }

    fn add_group(&mut self, tokens: TokenStream, prefix: &[String], line: usize) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for part in tokens.split(|token| is_punctuation(token, ',')) {
            let Some(TokenTree::Ident(ident)) = part.first() else { continue };
            let mut path = prefix.to_vec();
            path.push(ident.to_string());
            self.add_run(part, 1, &mut path, line);
            self.add(path, line, Kind::Plain);
        }
    }

    fn add_qualified(&mut self, qualifier: Option<&QSelf>, path: &Path) {
        if let Some(qualifier) = qualifier {
            self.visit_type(&qualifier.ty);
        }
        // `<T>::name`: the name is the type's.
        if qualifier.is_some_and(|qualifier| qualifier.position == 0) {
            visit::visit_path(self, path);
        } else {
            self.visit_path(path);
        }
    }

    fn enter(&mut self, statements: &[Stmt]) {
        let mut names = HashMap::new();
        for statement in statements {
            match statement {
                Stmt::Item(Item::Use(item)) => {
                    for import in imports(item) {
                        if let Some(name) = import.name {
                            names.insert(name, Some(import.path));
                        }
                    }
                }
                Stmt::Item(Item::Fn(item)) => _ = names.insert(item.sig.ident.to_string(), None),
                Stmt::Item(Item::Struct(item)) => _ = names.insert(item.ident.to_string(), None),
                Stmt::Item(Item::Enum(item)) => _ = names.insert(item.ident.to_string(), None),
                Stmt::Item(Item::Const(item)) => _ = names.insert(item.ident.to_string(), None),
                Stmt::Item(Item::Trait(item)) => _ = names.insert(item.ident.to_string(), None),
                Stmt::Item(Item::Type(item)) => _ = names.insert(item.ident.to_string(), None),
                _ => {}
            }
        }
        self.blocks.push(names);
    }
}

/// Is the name there part of something else: a field, a lifetime, a macro's
/// variable, the rest of a path?
fn continues(tokens: &[TokenTree], index: usize) -> bool {
    let before = |distance| {
        let token = index.checked_sub(distance).and_then(|place| tokens.get(place));
        match token {
            Some(TokenTree::Punct(found)) => Some(found.as_char()),
            _ => None,
        }
    };
    let is_crate = matches!(tokens.get(index), Some(TokenTree::Ident(ident)) if ident == "crate");
    match before(1) {
        Some('.' | '\'') => true,
        Some('$') => !is_crate,
        Some(':') => before(2) == Some(':'),
        _ => false,
    }
}

fn is_punctuation(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(found) if found.as_char() == wanted)
}

fn parts(path: &Path) -> Vec<String> {
    let start = path.leading_colon.map(|_| String::new());
    start.into_iter().chain(path.segments.iter().map(|segment| segment.ident.to_string())).collect()
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_use(item);
    }

    fn visit_block(&mut self, block: &'ast Block) {
        self.enter(&block.stmts);
        visit::visit_block(self, block);
        self.blocks.pop();
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let line = path.segments.first().map_or(0, |segment| segment.ident.span().start().line);
        self.add(parts(path), line, Kind::Plain);
        visit::visit_path(self, path);
    }

    fn visit_expr_path(&mut self, expression: &'ast ExprPath) {
        self.add_qualified(expression.qself.as_ref(), &expression.path);
    }

    fn visit_type_path(&mut self, item: &'ast TypePath) {
        self.add_qualified(item.qself.as_ref(), &item.path);
    }

    fn visit_pat(&mut self, pattern: &'ast Pat) {
        // A constant in a pattern looks like a variable.
        if let Pat::Ident(PatIdent { ident, subpat: None, .. }) = pattern
            && ident.to_string().starts_with(char::is_uppercase)
        {
            self.add(vec![ident.to_string()], ident.span().start().line, Kind::Plain);
        }
        visit::visit_pat(self, pattern);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.visit_path(&item.path);
        self.add_tokens(item.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        // Derives and documentation make no imports of ours, nor do conditions and lints.
        let path = attribute.path();
        let quiet = ["derive", "doc", "cfg", "cfg_attr", "allow", "expect", "warn", "deny", "forbid"];
        if quiet.iter().any(|name| path.is_ident(name)) {
            return;
        }
        if let Meta::List(list) = &attribute.meta {
            self.add_tokens(list.tokens.clone());
            if path.is_ident("serde") {
                self.add_literals(list.tokens.clone());
            }
        }
    }

    // `pub(in path)` limits who may use this; it uses nothing.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}
}

impl Reader {
    /// serde names functions and types in strings.
    fn add_literals(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.add_literals(group.stream()),
                TokenTree::Literal(literal) => {
                    let line = literal.span().start().line;
                    if let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string())
                        && let Ok(path) = syn::parse_str::<Path>(&text.value())
                    {
                        self.add(parts(&path), line, Kind::Plain);
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}
