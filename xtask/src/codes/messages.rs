//! The texts that people read: messages of errors, and the next steps that
//! documentation comments give.

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, ExprCall, Item, LitStr, Macro,
    visit::{self, Visit},
};

/// A text and its line.
pub(crate) struct Message {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// Macros whose first text is a message for people.
const MACROS: [&str; 6] = ["anyhow", "bail", "ensure", "error", "warn", "info"];

/// Those that make an error without a code.
const IN_PLACE: [&str; 3] = ["anyhow", "bail", "ensure"];

/// The words that an instruction starts with.
const INSTRUCTIONS: [&str; 39] = [
    "add", "ask", "begin", "build", "check", "choose", "confirm", "correct", "create", "end", "give",
    "install", "leave", "let", "list", "look", "make", "move", "name", "put", "raise", "read", "remove",
    "report", "run", "seal", "see", "send", "set", "sign", "start", "take", "trust", "try", "update", "use",
    "verify", "wait", "write",
];

/// The messages in these items: of `#[error]`, of what makes an error in place, of
/// refusals and of log lines.
pub(crate) fn messages(items: &[Item]) -> Vec<Message> {
    let mut reader = Reader { found: Vec::new(), macros: &MACROS, only_macros: false };
    for item in items {
        reader.visit_item(item);
    }
    reader.found
}

/// The messages of errors that these items make in place, without a type that has a code.
pub(crate) fn errors_in_place(items: &[Item]) -> Vec<Message> {
    let mut reader = Reader { found: Vec::new(), macros: &IN_PLACE, only_macros: true };
    for item in items {
        reader.visit_item(item);
    }
    reader.found
}

/// Does a message have an instruction? Its code can't explain it, since it has none.
pub(super) fn has_next_step(text: &str) -> bool {
    let clauses = text.split([';', ':', ',', '(', '.']).flat_map(|clause| clause.split(" and "));
    let mut instructions = clauses.flat_map(|clause| clause.split(" or ")).map(str::trim_start);
    text.contains("expected")
        || instructions.any(|clause| {
            let first = clause.split_whitespace().next().unwrap_or_default();
            INSTRUCTIONS.contains(&first)
        })
}

struct Reader<'a> {
    found: Vec<Message>,
    macros: &'a [&'a str],
    only_macros: bool,
}

impl Reader<'_> {
    fn add(&mut self, literal: &LitStr) {
        let text = without_arguments(&literal.value());
        self.found.push(Message { text, line: literal.span().start().line });
    }

    fn add_first(&mut self, tokens: TokenStream) {
        for token in tokens {
            if let TokenTree::Literal(literal) = token
                && let Ok(text) = syn::parse_str::<LitStr>(&literal.to_string())
            {
                let mut text = text;
                text.set_span(literal.span());
                // `target = "x"`, `code = "x"`: no sentence.
                if text.value().contains(' ') {
                    self.add(&text);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if !self.only_macros
            && attribute.path().is_ident("error")
            && let syn::Meta::List(list) = &attribute.meta
        {
            self.add_first(list.tokens.clone());
        }
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        let known =
            item.path.segments.last().is_some_and(|last| self.macros.iter().any(|name| last.ident == name));
        if known {
            self.add_first(item.tokens.clone());
        }
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if !self.only_macros
            && let syn::Expr::Path(path) = &*call.func
            && path.path.segments.iter().any(|segment| segment.ident == "Refusal")
        {
            for argument in call.args.iter().skip(1) {
                if let syn::Expr::Lit(literal) = argument
                    && let syn::Lit::Str(text) = &literal.lit
                {
                    self.add(text);
                }
            }
        }
        visit::visit_expr_call(self, call);
    }
}

/// A format text without what is filled in.
fn without_arguments(text: &str) -> String {
    let mut plain = String::new();
    let mut depth = 0_usize;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '{' if letters.peek() == Some(&'{') && depth == 0 => {
                letters.next();
                plain.push('{');
            }
            '}' if letters.peek() == Some(&'}') && depth == 0 => {
                letters.next();
                plain.push('}');
            }
            '{' => {
                depth += 1;
                plain.push('…');
            }
            '}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(letter),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_without_what_is_filled_in() {
        let items: syn::File = syn::parse_str(
            r#"
            #[derive(Error)] enum E {
                #[error("no {path:?} in {{x}}: {0}", path.display())] A,
                #[error(transparent)] B(E),
            }
            fn f() -> Result<()> {
                bail!("it failed for {x}");
                warn!(code = "a-b", %error, "it may fail");
                other!("not a message");
                Err(Refusal::permanent("a-b", "it was refused"))
            }
            "#,
        )
        .unwrap();
        let found: Vec<String> = messages(&items.items).into_iter().map(|message| message.text).collect();
        assert_eq!(found, ["no … in {x}: …", "it failed for …", "it may fail", "it was refused"]);
    }
    #[test]
    fn an_error_in_place_has_an_instruction() {
        let items: syn::File = syn::parse_str(
            r#"#[error("it has a code")] struct E; fn f() { warn!("a line of a log"); bail!("no owner; give --owner"); }"#,
        )
        .unwrap();
        let found: Vec<String> = errors_in_place(&items.items).into_iter().map(|found| found.text).collect();
        assert_eq!(found, ["no owner; give --owner"]);
        for right in ["no owner; give --owner", "it is a file, or name another", "expected a path"] {
            assert!(has_next_step(right), "{right}");
        }
        for wrong in ["the broker gave no evidence", "it has more than 4 bytes", "the names are not given"] {
            assert!(!has_next_step(wrong), "{wrong}");
        }
    }
}
