//! Public items have documentation, as the compiler's lint `missing_docs` asks.
//! Fields are free here: a name often says all, and then a text only repeats it.

use syn::{
    Attribute, ImplItem, Item, Meta, TraitItem, Variant, Visibility,
    visit::{self, Visit},
};

/// Public items without documentation: their lines and names.
pub(super) fn undocumented(items: &[Item]) -> Vec<(usize, String)> {
    let mut reader = Reader { found: Vec::new() };
    for item in items {
        reader.visit_item(item);
    }
    reader.found
}

struct Reader {
    found: Vec<(usize, String)>,
}

impl Reader {
    fn check(&mut self, attributes: &[Attribute], name: &syn::Ident) {
        let documented = attributes.iter().any(|attribute| attribute.path().is_ident("doc"));
        if !documented && !excused(attributes) {
            self.found.push((name.span().start().line, name.to_string()));
        }
    }
}

/// `#[allow(missing_docs)]`
fn excused(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("allow") && list.tokens.to_string().contains("missing_docs"),
        _ => false,
    })
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Const(item) if is_public(&item.vis) => self.check(&item.attrs, &item.ident),
            Item::Fn(item) if is_public(&item.vis) => self.check(&item.attrs, &item.sig.ident),
            Item::Static(item) if is_public(&item.vis) => self.check(&item.attrs, &item.ident),
            Item::Struct(item) if is_public(&item.vis) => self.check(&item.attrs, &item.ident),
            Item::Type(item) if is_public(&item.vis) => self.check(&item.attrs, &item.ident),
            Item::Enum(item) if is_public(&item.vis) => {
                self.check(&item.attrs, &item.ident);
                if !excused(&item.attrs) {
                    visit::visit_item_enum(self, item);
                }
            }
            Item::Trait(item) if is_public(&item.vis) => {
                self.check(&item.attrs, &item.ident);
                for item in &item.items {
                    match item {
                        TraitItem::Fn(item) => self.check(&item.attrs, &item.sig.ident),
                        TraitItem::Const(item) => self.check(&item.attrs, &item.ident),
                        TraitItem::Type(item) => self.check(&item.attrs, &item.ident),
                        _ => {}
                    }
                }
            }
            Item::Impl(item) if item.trait_.is_none() && !excused(&item.attrs) => {
                for item in &item.items {
                    match item {
                        ImplItem::Fn(item) if is_public(&item.vis) => {
                            self.check(&item.attrs, &item.sig.ident)
                        }
                        ImplItem::Const(item) if is_public(&item.vis) => self.check(&item.attrs, &item.ident),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn visit_variant(&mut self, variant: &'ast Variant) {
        self.check(&variant.attrs, &variant.ident);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_items_without_documentation_are_found() {
        let file: syn::File = syn::parse_str(
            "pub fn a() {}\n/// B.\npub struct B { pub c: u8 }\npub enum D { /// E.\nE, F { g: u8 } }\n\
             impl B { pub fn h() {} fn i() {} }\npub(crate) fn j() {}\n#[allow(missing_docs)] pub enum K { L }\n\
             /// M.\npub trait M { fn n(); }\nimpl M for B { fn n() {} }",
        )
        .unwrap();
        let names: Vec<String> = undocumented(&file.items).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["a", "D", "F", "h", "n"]);
    }
}
