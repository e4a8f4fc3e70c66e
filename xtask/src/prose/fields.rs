//! Documentation of fields that says nothing: three words or fewer.

use syn::{
    Attribute, Expr, Field, Item, Lit, Meta,
    visit::{self, Visit},
};

/// The fields with a documentation of at most this many words are found.
const WORDS: usize = 3;

/// The lines and the words of such documentation in these items.
pub(super) fn short(items: &[Item]) -> Vec<(usize, String)> {
    let mut reader = Reader { found: Vec::new() };
    for item in items {
        reader.visit_item(item);
    }
    reader.found
}

struct Reader {
    found: Vec<(usize, String)>,
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_field(&mut self, field: &'ast Field) {
        let lines: Vec<(usize, String)> = field.attrs.iter().filter_map(line).collect();
        let text = lines.iter().map(|(_, text)| text.trim()).collect::<Vec<_>>().join(" ");
        // A unit or a type's name can be all that there is to say of one field.
        let short = (1..=WORDS).contains(&text.split_whitespace().count()) && !text.contains('`');
        // A help text of a command line.
        let is_help = field.attrs.iter().any(|found| found.path().is_ident("arg"));
        if let Some((line, _)) = lines.first()
            && short
            && !is_help
        {
            self.found.push((*line, text));
        }
        visit::visit_field(self, field);
    }
}

fn line(attribute: &Attribute) -> Option<(usize, String)> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    match &pair.value {
        Expr::Lit(literal) if pair.path.is_ident("doc") => match &literal.lit {
            Lit::Str(text) => Some((text.span().start().line, text.value())),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_documentation_of_fields_is_found() {
        let file: syn::File = syn::parse_str(
            "/// Why.\nenum E {\n    /// Not.\n    A {\n        /// How many.\n        a: u8,\n        /// The size, in \
             bytes.\n        b: u8,\n        /// See [`E`].\n        c: u8,\n        d: u8,\n        /// Print JSON.\n        #[arg(long)] e: bool,\n    },\n}",
        )
        .unwrap();
        assert_eq!(short(&file.items), [(5, "How many.".to_owned())]);
    }
}
