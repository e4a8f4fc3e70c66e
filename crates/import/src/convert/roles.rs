//! What the variables of a loop are, read from its condition and its body
//! before they are converted.

use super::Converter;
use crate::{
    graph::ValueId,
    tensor::ElementType,
    tensorflow::{edges::Source, model::Body},
};

/// What a variable of a loop is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Role {
    /// The same in every turn.
    Invariant,
    /// An integer that grows by 1, from a constant.
    Counter(i64, ElementType),
    /// A list that the turns fill, with its length.
    Filled(usize, ValueId),
    /// A tensor that each turn computes from the last.
    State(usize),
}

/// Follows copies in a function's body.
pub(crate) fn origin<'b>(body: &'b Body, text: &'b str) -> Option<Source<'b>> {
    let mut text = text;
    for _ in 0..64 {
        let source = body.source(text)?;
        let Source::Output(node, _) = source else { return Some(source) };
        let node = body.nodes.get(node)?;
        if node.operator != "Identity" {
            return Some(source);
        }
        text = node.inputs.first()?;
    }
    None
}

/// Whether a result is an argument plus 1.
pub(crate) fn counts(converter: &Converter<'_>, body: &Body, result: &str, argument: usize) -> bool {
    let Some(Source::Output(node, _)) = origin(body, result) else { return false };
    let Some(node) = body.nodes.get(node).filter(|node| matches!(node.operator.as_str(), "Add" | "AddV2"))
    else {
        return false;
    };
    let is_one = |text: &String| match origin(body, text) {
        Some(Source::Output(constant, _)) => body.nodes.get(constant).is_some_and(|constant| {
            let literal = converter.contents.model.view(constant).tensor("value");
            let tensor = literal.and_then(|l| crate::tensorflow::tensors::tensor(l, 64).ok());
            constant.operator == "Const" && tensor.and_then(|t| t.integers()) == Some(vec![1])
        }),
        _ => false,
    };
    let is_argument = |text: &String| origin(body, text) == Some(Source::Argument(argument));
    match node.inputs.as_slice() {
        [a, b] | [a, b, ..] => (is_argument(a) && is_one(b)) || (is_argument(b) && is_one(a)),
        _ => false,
    }
}

/// The limits of counters that a loop's condition is a conjunction of: pairs of
/// a counter's argument and where the limit comes from.
pub(crate) fn limits<'b>(body: &'b Body, roles: &[Role]) -> Option<Vec<(usize, &'b str)>> {
    let mut found = Vec::new();
    let mut open = vec![body.results.first()?.as_str()];
    while let Some(text) = open.pop() {
        if found.len() + open.len() > 16 {
            return None;
        }
        let Source::Output(node, _) = origin(body, text)? else { return None };
        let node = body.nodes.get(node)?;
        let (a, b) = (node.inputs.first()?, node.inputs.get(1)?);
        match node.operator.as_str() {
            "LogicalAnd" => open.extend([a.as_str(), b.as_str()]),
            "Less" => {
                let Source::Argument(counter) = origin(body, a)? else { return None };
                if !matches!(roles.get(counter), Some(Role::Counter(..))) {
                    return None;
                }
                let fixed = match origin(body, b)? {
                    Source::Argument(limit) => roles.get(limit) == Some(&Role::Invariant),
                    Source::Output(limit, _) => body.nodes.get(limit)?.operator == "Const",
                    Source::Control(_) => false,
                };
                if !fixed {
                    return None;
                }
                found.push((counter, b.as_str()));
            }
            _ => return None,
        }
    }
    Some(found)
}
