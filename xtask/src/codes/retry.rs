//! May the same attempt succeed later? And the answer of a `fn retry` for a variant,
//! where that can be read without knowing what the variant holds.

use std::{fmt, str::FromStr};

use syn::{BinOp, Block, Expr, Lit, Pat, Stmt, Token, UnOp, parse::Parser};

/// May the same attempt succeed later?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Retry {
    /// It may, at once.
    Yes,
    /// Only after the next step is done.
    No,
    /// It may after some time: something else has to happen or to end.
    Later,
}

impl FromStr for Retry {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "yes" => Ok(Self::Yes),
            "no" => Ok(Self::No),
            "later" => Ok(Self::Later),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Later => "later",
        })
    }
}

/// What this body of `fn retry(&self)` answers for a variant; `None` if that
/// depends on more.
pub(super) fn answer(body: &Block, variant: &str) -> Option<bool> {
    match body.stmts.as_slice() {
        [Stmt::Expr(expression, None)] => evaluate(expression, variant),
        [Stmt::Macro(item)] => matches_macro(&item.mac, variant),
        _ => None,
    }
}

fn evaluate(expression: &Expr, variant: &str) -> Option<bool> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Bool(answer) => Some(answer.value),
            _ => None,
        },
        Expr::Paren(inner) => evaluate(&inner.expr, variant),
        Expr::Block(block) => answer(&block.block, variant),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => {
            evaluate(&unary.expr, variant).map(|answer| !answer)
        }
        Expr::Binary(binary) => {
            let (left, right) = (evaluate(&binary.left, variant), evaluate(&binary.right, variant));
            match binary.op {
                BinOp::And(_) if left == Some(false) || right == Some(false) => Some(false),
                BinOp::Or(_) if left == Some(true) || right == Some(true) => Some(true),
                BinOp::And(_) => Some(left? && right?),
                BinOp::Or(_) => Some(left? || right?),
                _ => None,
            }
        }
        Expr::Macro(item) => matches_macro(&item.mac, variant),
        Expr::Match(item) if is_self(&item.expr) => {
            for arm in &item.arms {
                match covers(&arm.pat, variant) {
                    Some(false) => {}
                    Some(true) if arm.guard.is_none() => return evaluate(&arm.body, variant),
                    _ => return None,
                }
            }
            None
        }
        _ => None,
    }
}

/// `matches!(self, ..)`.
fn matches_macro(item: &syn::Macro, variant: &str) -> Option<bool> {
    if !item.path.is_ident("matches") {
        return None;
    }
    let parser = |input: syn::parse::ParseStream<'_>| {
        let subject: Expr = input.parse()?;
        input.parse::<Token![,]>()?;
        let pattern = Pat::parse_multi_with_leading_vert(input)?;
        let guard = input.peek(Token![if]);
        input.parse::<proc_macro2::TokenStream>()?;
        Ok((subject, pattern, guard))
    };
    let (subject, pattern, guard) = parser.parse2(item.tokens.clone()).ok()?;
    if !is_self(&subject) {
        return None;
    }
    match covers(&pattern, variant) {
        Some(true) if guard => None,
        covered => covered,
    }
}

fn is_self(expression: &Expr) -> bool {
    match expression {
        Expr::Path(path) => path.path.is_ident("self"),
        Expr::Unary(unary) => is_self(&unary.expr),
        Expr::Reference(reference) => is_self(&reference.expr),
        _ => false,
    }
}

/// Does a pattern match the variant, whatever that holds? `None` if it depends.
fn covers(pattern: &Pat, variant: &str) -> Option<bool> {
    let is_it = |path: &syn::Path| path.segments.last().is_some_and(|last| last.ident == variant);
    let inside = |plain: bool, path: &syn::Path| match (is_it(path), plain) {
        (false, _) => Some(false),
        (true, true) => Some(true),
        (true, false) => None,
    };
    match pattern {
        Pat::Wild(_) | Pat::Rest(_) => Some(true),
        Pat::Ident(ident) if ident.subpat.is_none() => Some(true),
        Pat::Paren(inner) => covers(&inner.pat, variant),
        Pat::Reference(inner) => covers(&inner.pat, variant),
        Pat::Path(path) => Some(is_it(&path.path)),
        Pat::Struct(item) => inside(item.fields.iter().all(|field| takes_all(&field.pat)), &item.path),
        Pat::TupleStruct(item) => inside(item.elems.iter().all(takes_all), &item.path),
        Pat::Or(cases) => {
            let answers: Vec<Option<bool>> = cases.cases.iter().map(|case| covers(case, variant)).collect();
            if answers.contains(&Some(true)) {
                Some(true)
            } else if answers.contains(&None) {
                None
            } else {
                Some(false)
            }
        }
        _ => None,
    }
}

fn takes_all(pattern: &Pat) -> bool {
    match pattern {
        Pat::Wild(_) | Pat::Rest(_) => true,
        Pat::Ident(ident) => ident.subpat.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(body: &str, variant: &str) -> Option<bool> {
        answer(&syn::parse_str(&format!("{{ {body} }}")).unwrap(), variant)
    }

    #[test]
    fn the_arm_of_the_variant_answers() {
        let body = "match self { Self::A { .. } | Self::B(_) => true, Self::C(e) => e.retry(), _ => false }";
        assert_eq!(answers(body, "A"), Some(true));
        assert_eq!(answers(body, "B"), Some(true));
        assert_eq!(answers(body, "C"), None);
        assert_eq!(answers(body, "D"), Some(false));
    }

    #[test]
    fn matches_and_its_contrary_answer() {
        assert_eq!(answers("matches!(self, Self::A | Self::B { .. })", "B"), Some(true));
        assert_eq!(answers("!matches!(*self, Self::A)", "A"), Some(false));
        assert_eq!(
            answers("matches!(self, Self::A) || matches!(self, Self::B(x) if x.y())", "A"),
            Some(true)
        );
        assert_eq!(answers("matches!(self, Self::A) || matches!(self, Self::B(x) if x.y())", "B"), None);
    }

    #[test]
    fn what_a_variant_holds_is_not_known() {
        assert_eq!(answers("match self { Self::A(Inner::X) => true, _ => false }", "A"), None);
        assert_eq!(answers("match other { _ => false }", "A"), None);
        assert_eq!(answers("self.0.retry()", "A"), None);
    }
}
