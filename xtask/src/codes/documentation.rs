//! What a documentation comment says of a code.

use syn::{Attribute, Expr, Lit, Meta};

use super::retry::Retry;

/// The parts of a documentation comment that the catalogue shows.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Documentation {
    /// The first paragraph, with links as plain text.
    pub(super) meaning: String,
    /// The paragraph that starts with `Do: `.
    pub(super) next_step: Option<String>,
    /// The paragraph that starts with `Retry: `.
    pub(super) retry: Option<Result<Retry, String>>,
    /// The paragraph that starts with `See: `: the variant that explains the code.
    pub(super) see: Option<String>,
}

impl Documentation {
    /// Reads the `///` lines among these attributes.
    pub(super) fn read(attributes: &[Attribute]) -> Self {
        let text: Vec<String> = attributes.iter().filter_map(line).collect();
        let text = text.join("\n");
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let mut found = Self::default();
        for paragraph in lines.split(|line| line.is_empty()).filter(|lines| !lines.is_empty()) {
            let paragraph = without_links(&paragraph.join(" "));
            if let Some(text) = paragraph.strip_prefix("Do: ") {
                found.next_step = Some(text.to_owned());
            } else if let Some(text) = paragraph.strip_prefix("Retry: ") {
                found.retry = Some(text.trim_end_matches('.').parse().map_err(|()| text.to_owned()));
            } else if let Some(text) = paragraph.strip_prefix("See: ") {
                found.see = Some(text.trim_end_matches('.').replace('`', ""));
            } else if found.meaning.is_empty() {
                found.meaning = paragraph;
            }
        }
        found
    }
}

fn line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    match &pair.value {
        Expr::Lit(literal) if pair.path.is_ident("doc") => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

/// Without the brackets that make links for rustdoc: a catalogue has nowhere to
/// link to.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once('[') {
        plain.push_str(before);
        let Some((name, after)) = inside.split_once(']') else {
            plain.push('[');
            rest = inside;
            continue;
        };
        let target = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        if let Some((_, after)) = target {
            plain.push_str(name);
            rest = after;
        } else if name.starts_with('`') && name.ends_with('`') {
            plain.push_str(name);
            rest = after;
        } else {
            plain.push_str(&format!("[{name}]"));
            rest = after;
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_paragraphs() {
        let item: syn::ItemStruct = syn::parse_str(
            "/// More than [`LIMIT`] entries\n/// in a [list](crate::list) `[a]`.\n///\n\
             /// An aside.\n///\n/// Do: remove some,\n/// then try again.\n///\n/// Retry: no.\nstruct S;",
        )
        .unwrap();
        let found = Documentation::read(&item.attrs);
        assert_eq!(found.meaning, "More than `LIMIT` entries in a list `[a]`.");
        assert_eq!(found.next_step.as_deref(), Some("remove some, then try again."));
        assert_eq!(found.retry, Some(Ok(Retry::No)));
        assert_eq!(found.see, None);
    }

    #[test]
    fn another_word_for_retry_is_kept_for_the_complaint() {
        let item: syn::ItemStruct =
            syn::parse_str("/// A.\n///\n/// Retry: maybe\n///\n/// See: [`Other::One`].\nstruct S;")
                .unwrap();
        let found = Documentation::read(&item.attrs);
        assert_eq!(found.retry, Some(Err("maybe".to_owned())));
        assert_eq!(found.see.as_deref(), Some("Other::One"));
    }
}
