//! Which code exists outside of tests.

use syn::{
    Attribute, Block, ExprMatch, Field, FieldsNamed, ImplItem, Item, ItemEnum, ItemImpl, ItemTrait, Meta,
    Stmt, Token, TraitItem, Variant,
    punctuated::Punctuated,
    visit_mut::{self, VisitMut},
};

/// Takes out what exists only in tests, at any depth.
pub(super) fn without_tests(mut items: Vec<Item>) -> Vec<Item> {
    items.retain(|item| !only_in_tests(attributes_of(item)));
    for item in &mut items {
        WithoutTests.visit_item_mut(item);
    }
    items
}

struct WithoutTests;

impl VisitMut for WithoutTests {
    fn visit_block_mut(&mut self, block: &mut Block) {
        block.stmts.retain(|statement| match statement {
            Stmt::Item(item) => !only_in_tests(attributes_of(item)),
            Stmt::Local(local) => !only_in_tests(&local.attrs),
            Stmt::Macro(item) => !only_in_tests(&item.attrs),
            Stmt::Expr(..) => true,
        });
        visit_mut::visit_block_mut(self, block);
    }

    fn visit_item_impl_mut(&mut self, item: &mut ItemImpl) {
        item.items.retain(|item| match item {
            ImplItem::Const(item) => !only_in_tests(&item.attrs),
            ImplItem::Fn(item) => !only_in_tests(&item.attrs),
            ImplItem::Type(item) => !only_in_tests(&item.attrs),
            _ => true,
        });
        visit_mut::visit_item_impl_mut(self, item);
    }

    fn visit_item_trait_mut(&mut self, item: &mut ItemTrait) {
        item.items.retain(|item| match item {
            TraitItem::Const(item) => !only_in_tests(&item.attrs),
            TraitItem::Fn(item) => !only_in_tests(&item.attrs),
            TraitItem::Type(item) => !only_in_tests(&item.attrs),
            _ => true,
        });
        visit_mut::visit_item_trait_mut(self, item);
    }

    fn visit_item_enum_mut(&mut self, item: &mut ItemEnum) {
        retain(&mut item.variants, |variant: &Variant| !only_in_tests(&variant.attrs));
        visit_mut::visit_item_enum_mut(self, item);
    }

    fn visit_fields_named_mut(&mut self, fields: &mut FieldsNamed) {
        retain(&mut fields.named, |field: &Field| !only_in_tests(&field.attrs));
        visit_mut::visit_fields_named_mut(self, fields);
    }

    fn visit_expr_match_mut(&mut self, expression: &mut ExprMatch) {
        expression.arms.retain(|arm| !only_in_tests(&arm.attrs));
        visit_mut::visit_expr_match_mut(self, expression);
    }
}

fn retain<T>(list: &mut Punctuated<T, Token![,]>, keep: impl Fn(&T) -> bool) {
    *list = std::mem::take(list).into_iter().filter(keep).collect();
}

/// Does this exist only with `cfg(test)`? Every other condition may hold.
pub(super) fn only_in_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") => {
            list.parse_args::<Meta>().is_ok_and(|condition| holds(&condition) == Some(false))
        }
        _ => false,
    })
}

/// Whether a condition holds in what is not a test; `None` if that depends on more.
fn holds(condition: &Meta) -> Option<bool> {
    match condition {
        Meta::Path(path) if path.is_ident("test") => Some(false),
        Meta::List(list) => {
            let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
            let mut parts = parts.iter().map(holds);
            if list.path.is_ident("not") {
                parts.next()?.map(|holds| !holds)
            } else if list.path.is_ident("all") {
                if parts.any(|part| part == Some(false)) { Some(false) } else { None }
            } else if list.path.is_ident("any") {
                if parts.all(|part| part == Some(false)) { Some(false) } else { None }
            } else {
                None
            }
        }
        _ => None,
    }
}

/// The attributes of an item of any kind.
fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_conditions_that_need_the_test_build_leave_an_item_out() {
        let left_out = |text: &str| {
            let item: syn::ItemStruct = syn::parse_str(&format!("{text} struct S;")).unwrap();
            only_in_tests(&item.attrs)
        };
        assert!(left_out("#[cfg(test)]"));
        assert!(left_out("#[cfg(all(test, unix))]"));
        assert!(left_out("#[doc(hidden)] #[cfg(any(test))]"));
        assert!(left_out("#[test]"));
        assert!(!left_out("#[cfg(not(test))]"));
        assert!(!left_out("#[cfg(any(test, feature = \"simulation\"))]"));
        assert!(!left_out("#[cfg(feature = \"test\")]"));
        assert!(!left_out("#[cfg_attr(test, derive(Debug))]"));
    }
}
