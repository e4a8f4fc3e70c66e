//! Which items exist outside of tests.

use syn::{Attribute, Meta, Token, punctuated::Punctuated};

/// Does this exist only with `cfg(test)`? Every other condition may hold.
pub(crate) fn only_in_tests(attributes: &[Attribute]) -> bool {
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
