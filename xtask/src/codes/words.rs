//! The words that the sources use as names of fields, keys and environment
//! variables: what serde reads and writes, the fields of messages, and texts in
//! the code that are one name.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::{Fields, ItemEnum, ItemStruct, LitStr, visit::Visit};

use crate::sources::ModuleTree;

/// The words of the modules of a crate.
pub(super) fn add_words(tree: &ModuleTree, words: &mut BTreeSet<String>) {
    let mut reader = Reader { words };
    for module in &tree.modules {
        for item in &module.items {
            reader.visit_item(item);
            reader.add_literals(item.to_token_stream());
        }
    }
}

/// The fields of `.proto` files below a directory.
pub(super) fn add_message_fields(directory: &Path, words: &mut BTreeSet<String>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            add_message_fields(&path, words)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            words.extend(text.lines().filter_map(|line| {
                let (declaration, _) = line.split_once('=')?;
                Some(declaration.split_whitespace().next_back()?.to_owned())
            }));
        }
    }
    Ok(())
}

struct Reader<'a> {
    words: &'a mut BTreeSet<String>,
}

impl Reader<'_> {
    /// Texts that are one name.
    fn add_literals(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.add_literals(group.stream()),
                TokenTree::Literal(literal) => {
                    if let Ok(text) = syn::parse_str::<LitStr>(&literal.to_string()) {
                        let text = text.value();
                        if !text.contains(char::is_whitespace) && text.contains('_') {
                            self.words.insert(text);
                        }
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}

fn by_serde(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("derive")
            && attribute
                .meta
                .to_token_stream()
                .to_string()
                .split(|letter: char| !letter.is_alphanumeric())
                .any(|word| ["Deserialize", "Serialize", "Args", "Parser"].contains(&word))
    })
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        if let Fields::Named(fields) = &item.fields
            && by_serde(&item.attrs)
        {
            self.words
                .extend(fields.named.iter().filter_map(|field| Some(field.ident.as_ref()?.to_string())));
        }
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        if by_serde(&item.attrs) {
            for variant in &item.variants {
                self.words.insert(snake_case(&variant.ident.to_string()));
                let fields =
                    variant.fields.iter().filter_map(|field| Some(field.ident.as_ref()?.to_string()));
                self.words.extend(fields);
            }
        }
    }
}

fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}
