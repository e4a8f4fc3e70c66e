//! Codes that are given in place: to a refusal, to a field `code`, to a log line.

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Expr, ExprAssign, ExprCall, FieldValue, Item, Lit, Macro, Member,
    visit::{self, Visit},
};

/// A code as it is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Given {
    /// Written there.
    Literal(String),
    /// A constant's name.
    Constant(String),
}

/// The codes that are given in these items, with their lines.
pub(super) fn codes(items: &[Item]) -> Vec<(Given, usize)> {
    let mut reader = Reader { found: Vec::new() };
    for item in items {
        reader.visit_item(item);
    }
    reader.found
}

struct Reader {
    found: Vec<(Given, usize)>,
}

impl Reader {
    fn add(&mut self, expression: &Expr) {
        match expression {
            Expr::Lit(literal) => {
                if let Lit::Str(text) = &literal.lit {
                    self.found.push((Given::Literal(text.value()), text.span().start().line));
                }
            }
            Expr::Path(path) => {
                if let Some(last) = path.path.segments.last() {
                    self.add_name(&last.ident);
                }
            }
            Expr::Reference(inner) => self.add(&inner.expr),
            Expr::Paren(inner) => self.add(&inner.expr),
            Expr::MethodCall(call)
                if ["to_owned", "to_string", "into"].iter().any(|name| call.method == name) =>
            {
                self.add(&call.receiver);
            }
            Expr::Call(call) => {
                let wraps = |path: &syn::ExprPath| {
                    path.path.segments.last().is_some_and(|last| last.ident == "Some" || last.ident == "from")
                };
                if let (Expr::Path(path), Some(inner)) = (&*call.func, call.args.first())
                    && wraps(path)
                {
                    self.add(inner);
                }
            }
            _ => {}
        }
    }

    fn add_name(&mut self, ident: &syn::Ident) {
        let name = ident.to_string();
        if !name.chars().any(|letter| letter.is_ascii_lowercase()) {
            self.found.push((Given::Constant(name), ident.span().start().line));
        }
    }

    /// `code = ..` among the arguments of a macro.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (index, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.add_tokens(group.stream()),
                TokenTree::Ident(ident) if ident == "code" => {
                    let equals = matches!(
                        tokens.get(index + 1),
                        Some(TokenTree::Punct(found)) if found.as_char() == '='
                            && found.spacing() == proc_macro2::Spacing::Alone
                    );
                    if equals {
                        let given: TokenStream = tokens
                            .iter()
                            .skip(index + 2)
                            .take_while(
                                |token| !matches!(token, TokenTree::Punct(found) if found.as_char() == ','),
                            )
                            .cloned()
                            .collect();
                        if let Ok(expression) = syn::parse2::<Expr>(given) {
                            self.add(&expression);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// Is that a constant, or a text of one word?
fn may_be_code(argument: &Expr) -> bool {
    match argument {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => {
                let text = text.value();
                !text.is_empty() && text.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-')
            }
            _ => false,
        },
        Expr::Path(_) => true,
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_macro(&mut self, item: &'ast Macro) {
        self.add_tokens(item.tokens.clone());
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(path) = &*call.func {
            let mut names = path.path.segments.iter().rev().map(|segment| segment.ident.to_string());
            names.next();
            if names.next().as_deref() == Some("Refusal") {
                call.args.iter().filter(|argument| may_be_code(argument)).for_each(|code| self.add(code));
            }
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_field_value(&mut self, field: &'ast FieldValue) {
        if matches!(&field.member, Member::Named(name) if name == "code") {
            self.add(&field.expr);
        }
        visit::visit_field_value(self, field);
    }

    fn visit_expr_assign(&mut self, assignment: &'ast ExprAssign) {
        if let Expr::Field(field) = &*assignment.left
            && matches!(&field.member, Member::Named(name) if name == "code")
        {
            self.add(&assignment.right);
        }
        visit::visit_expr_assign(self, assignment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str) -> Vec<Given> {
        let item: Item = syn::parse_str(&format!("fn f() {{ {body} }}")).unwrap();
        codes(&[item]).into_iter().map(|(given, _)| given).collect()
    }

    fn literal(code: &str) -> Given {
        Given::Literal(code.to_owned())
    }

    #[test]
    fn what_is_given_is_found() {
        assert_eq!(found("tracing::warn!(peer, code = \"a-b\", \"text\");"), [literal("a-b")]);
        assert_eq!(found("warn!(code = super::CODE);"), [Given::Constant("CODE".to_owned())]);
        assert_eq!(found("Refusal::permanent(\"a-b\", text)"), [literal("a-b")]);
        assert_eq!(
            found("Refusal::new(Status::BAD, \"ab\", \"It failed.\")"),
            [Given::Constant("BAD".to_owned()), literal("ab")]
        );
        assert_eq!(found("Refusal { code: \"a-b\".to_owned(), retry: true }"), [literal("a-b")]);
        assert_eq!(found("self.outcome.code = Some(\"a-b\".to_owned());"), [literal("a-b")]);
    }

    #[test]
    fn what_is_passed_on_is_not_given_here() {
        assert_eq!(found("warn!(code = error.code(), \"text\"); assert!(code == \"a-b\");"), []);
        assert_eq!(found("Refusal::permanent(error.code(), text); Other { kind: \"a-b\" }"), []);
    }
}
