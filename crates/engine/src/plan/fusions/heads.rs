//! Where queries, keys and values come from: through transposes, reshapes, splits and factors.

use super::{
    super::{Facts, PlanError, Planner, placement::Placed},
    constant_and_other,
    links::Links,
};
use crate::{
    facts::size::Size,
    fused::attention::Source,
    onnx::model::{Node, ValueId},
};

/// The dimensions of a value that a product of attention takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Batch, heads, rows, numbers of a row.
    Rows,
    /// Batch, heads, numbers of a row, rows.
    Turned,
}

/// Rows of heads, where they are.
pub(super) struct Origin {
    pub(super) value: ValueId,
    pub(super) source: Source,
    /// What they are multiplied with.
    pub(super) factor: f32,
}

impl Planner<'_> {
    /// Where the rows of a value of four dimensions come from; `None` if their numbers are not side by side.
    pub(super) fn heads(
        &mut self,
        placed: &[Option<Placed>],
        links: &Links,
        facts: &Facts,
        value: ValueId,
        order: Order,
    ) -> Result<Option<Origin>, PlanError> {
        if self.fact(facts, value).and_then(|fact| fact.rank()) != Some(4) {
            return Ok(None);
        }
        for operator in ["Mul", "Div"] {
            let Some((_, node)) = links.maker(placed, value, operator) else { continue };
            let Some((constant, other)) = constant_and_other(node, |value| self.constants.contains(value))
            else {
                continue;
            };
            let is_divisor = operator == "Div" && node.inputs.get(1) != Some(&Some(constant));
            let Some(number) = self.number(Some(constant))?.filter(|_| !is_divisor) else { continue };
            let factor = if operator == "Mul" { number } else { 1.0 / number };
            let origin = self.heads(placed, links, facts, other, order)?;
            return Ok(origin.map(|origin| Origin { factor: origin.factor * factor, ..origin }));
        }
        if let Some((_, node)) = links.maker(placed, value, "Transpose") {
            let input = node.inputs.first().copied().flatten();
            let axes = node.attributes.integers("perm").ok().flatten();
            let rows = matches!(
                (order, axes),
                (Order::Rows, Some([0, 2, 1, 3])) | (Order::Turned, Some([0, 2, 3, 1]))
            );
            if let (true, Some(input)) = (rows, input) {
                return Ok(Some(self.rows(placed, links, facts, input)));
            }
            if let (Order::Turned, Some([0, 1, 3, 2]), Some(input)) = (order, axes, input) {
                return self.heads(placed, links, facts, input, Order::Rows);
            }
        }
        if order == Order::Turned {
            return Ok(None);
        }
        if let Some(origin) = self.part(placed, links, facts, value) {
            return Ok(Some(origin));
        }
        Ok(Some(Origin { value, source: Source::Split, factor: 1.0 }))
    }

    /// The rows of a value `[batch][row][head][size]`.
    fn rows(&self, placed: &[Option<Placed>], links: &Links, facts: &Facts, value: ValueId) -> Origin {
        let own = Origin { value, source: Source::Rows, factor: 1.0 };
        let side_by_side = || -> Option<Origin> {
            let (_, node) = links.maker(placed, value, "Reshape")?;
            let input = node.inputs.first().copied().flatten()?;
            let shape = self.fact(facts, value)?.shape?;
            let [batch, rows, heads, size] = shape.as_slice() else { return None };
            let (heads, size) = (known(heads)?, known(size)?);
            let found = self.fact(facts, input)?.shape?;
            let [outer, middle, last] = found.as_slice() else { return None };
            if (outer, middle, known(last)?) != (batch, rows, heads.checked_mul(size)?) {
                return None;
            }
            let (value, offset) = self.split(placed, links, facts, input).unwrap_or((input, 0));
            Some(Origin { value, source: Source::SideBySide { offset, heads, size }, factor: 1.0 })
        };
        side_by_side().unwrap_or(own)
    }

    /// The value that a part of its last dimension was split from, and where the part begins.
    fn split(
        &self,
        placed: &[Option<Placed>],
        links: &Links,
        facts: &Facts,
        part: ValueId,
    ) -> Option<(ValueId, usize)> {
        let node = maker(placed, links, part, "Split")?;
        let input = node.inputs.first().copied().flatten()?;
        if !matches!(node.attributes.integer("axis"), Ok(Some(-1 | 2))) {
            return None;
        }
        let mut offset = 0_usize;
        for output in node.outputs.iter() {
            let output = (*output)?;
            if output == part {
                return Some((input, offset));
            }
            let shape = self.fact(facts, output)?.shape?;
            offset = offset.checked_add(known(shape.get(2)?)?)?;
        }
        None
    }

    /// One of the parts of a product for queries, keys and values: `[batch][row][part][head][size]` was brought to
    /// `[part][batch][head][row][size]`, and one part was taken.
    fn part(
        &self,
        placed: &[Option<Placed>],
        links: &Links,
        facts: &Facts,
        value: ValueId,
    ) -> Option<Origin> {
        let (parts, number) = if let Some((_, node)) = links.maker(placed, value, "Gather") {
            let [Some(parts), Some(number)] = node.inputs.as_slice() else { return None };
            let fact = self.constants.fact(*number)?;
            let is_first =
                matches!(node.attributes.integer("axis"), Ok(None | Some(0))) && fact.rank() == Some(0);
            let &[number] = fact.known_integers()?.as_slice() else { return None };
            (*parts, usize::try_from(number).ok().filter(|_| is_first)?)
        } else {
            let (_, node) = links.maker(placed, value, "Squeeze")?;
            let part = node.inputs.first().copied().flatten()?;
            let node = maker(placed, links, part, "Split")?;
            if !matches!(node.attributes.integer("axis"), Ok(None | Some(0))) {
                return None;
            }
            let is_one = |output: &Option<ValueId>| {
                let shape = output.and_then(|output| self.fact(facts, output)?.shape);
                shape.is_some_and(|shape| shape.len() == 5 && shape.first().and_then(known) == Some(1))
            };
            if !node.outputs.iter().all(is_one) {
                return None;
            }
            (
                node.inputs.first().copied().flatten()?,
                node.outputs.iter().position(|output| *output == Some(part))?,
            )
        };
        let (_, node) = links.maker(placed, parts, "Transpose")?;
        if node.attributes.integers("perm").ok().flatten() != Some(&[2, 0, 3, 1, 4]) {
            return None;
        }
        let whole = node.inputs.first().copied().flatten()?;
        let shape = self.fact(facts, whole)?.shape?;
        let [batch, rows, parts, heads, size] = shape.as_slice() else { return None };
        let (parts, heads, size) = (known(parts)?, known(heads)?, known(size)?);
        let (_, node) = links.maker(placed, whole, "Reshape")?;
        let input = node.inputs.first().copied().flatten()?;
        let found = self.fact(facts, input)?.shape?;
        let [outer, middle, last] = found.as_slice() else { return None };
        let row = heads.checked_mul(size)?;
        if (outer, middle, known(last)?) != (batch, rows, parts.checked_mul(row)?) || number >= parts {
            return None;
        }
        Some(Origin {
            value: input,
            source: Source::SideBySide { offset: number * row, heads, size },
            factor: 1.0,
        })
    }
}

fn known(size: &Size) -> Option<usize> {
    usize::try_from(size.value()?).ok()
}

/// The node that makes a value, which may be one of several outputs.
fn maker<'a>(
    placed: &'a [Option<Placed>],
    links: &Links,
    value: ValueId,
    operator: &str,
) -> Option<&'a Node> {
    let node = super::links::plain(placed, links.maker_of(value)?)?;
    (node.operator == operator).then_some(node)
}
