//! Sizes that are known only when inputs come: polynomials over the dimensions of inputs.
//!
//! They serve two questions at load: can a whole number that is computed from dimensions
//! leave the range of 32 bits, and how much memory will a run take. Each dimension of each
//! input is a symbol of its own, whatever name the file gives it.

use std::collections::{BTreeMap, HashMap};

/// The largest number of elements of an input. The run refuses larger ones.
pub const LARGEST_INPUT: i64 = 1 << 26;

/// The largest dimension of any value: the run refuses larger ones.
pub const LARGEST_DIMENSION: i64 = i32::MAX as i64;

/// Terms that a polynomial may have. Beyond that nothing is known.
const TERMS: usize = 24;

/// Factors that a term may have.
const FACTORS: usize = 8;

/// How deep larger and smaller ones of two are looked into.
const NESTED: usize = 4;

/// An unknown: a dimension of an input, or what can't be written as a polynomial.
pub type Symbol = u32;

/// A sum of products of symbols, each product with a factor. The product of no symbols is 1.
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub struct Size {
    terms: BTreeMap<Vec<Symbol>, i64>,
}

/// What a symbol is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Definition {
    /// A dimension of an input of the program: which input, which dimension.
    Input { input: usize, dimension: usize },
    /// The quotient, rounded down.
    Quotient(Size, Size),
    /// The larger one.
    Larger(Size, Size),
    /// The smaller one.
    Smaller(Size, Size),
    /// Something of which only bounds are known.
    Unknown { low: i64, high: i64 },
}

/// The symbols of a program.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    definitions: Vec<Definition>,
    /// The symbols of the dimensions of each input: their product is at most [`LARGEST_INPUT`].
    inputs: Vec<Vec<Symbol>>,
}

impl From<i64> for Size {
    fn from(value: i64) -> Self {
        let mut terms = BTreeMap::new();
        if value != 0 {
            terms.insert(Vec::new(), value);
        }
        Self { terms }
    }
}

impl Size {
    /// A size that is known.
    pub fn known(value: usize) -> Option<Self> {
        i64::try_from(value).ok().map(Self::from)
    }

    fn symbol(symbol: Symbol) -> Self {
        Self { terms: BTreeMap::from([(vec![symbol], 1)]) }
    }

    /// Its value, if it has no symbols.
    pub fn value(&self) -> Option<i64> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Vec::new()).copied(),
            _ => None,
        }
    }

    /// The sum; `None` when it is too long to keep.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        let mut terms = self.terms.clone();
        for (factors, factor) in &other.terms {
            let sum = terms.entry(factors.clone()).or_insert(0);
            *sum = sum.checked_add(*factor)?;
            if *sum == 0 {
                terms.remove(factors);
            }
        }
        (terms.len() <= TERMS).then_some(Self { terms })
    }

    /// The difference; `None` when it is too long to keep.
    pub fn minus(&self, other: &Self) -> Option<Self> {
        self.plus(&other.times(&Self::from(-1))?)
    }

    /// The product; `None` when it is too long to keep.
    pub fn times(&self, other: &Self) -> Option<Self> {
        let mut product = Self::default();
        for (left, left_factor) in &self.terms {
            for (right, right_factor) in &other.terms {
                let mut factors = [left.as_slice(), right.as_slice()].concat();
                factors.sort_unstable();
                if factors.len() > FACTORS {
                    return None;
                }
                let term = BTreeMap::from([(factors, left_factor.checked_mul(*right_factor)?)]);
                product = product.plus(&Self { terms: term })?;
            }
        }
        Some(product)
    }

    /// The quotient, if the division leaves nothing whatever the symbols are.
    fn exact_quotient(&self, divisor: &Self) -> Option<Self> {
        let mut terms = BTreeMap::new();
        let mut divisor_terms = divisor.terms.iter();
        let (Some((divisor, divisor_factor)), None) = (divisor_terms.next(), divisor_terms.next()) else {
            return None;
        };
        for (factors, factor) in &self.terms {
            let mut rest = factors.clone();
            for symbol in divisor {
                let position = rest.iter().position(|candidate| candidate == symbol)?;
                rest.remove(position);
            }
            if factor.checked_rem(*divisor_factor)? != 0 {
                return None;
            }
            terms.insert(rest, factor.checked_div(*divisor_factor)?);
        }
        Some(Self { terms })
    }
}

/// The product of sizes; `None` when it is too long to keep.
pub fn product<'a>(sizes: impl IntoIterator<Item = &'a Size>) -> Option<Size> {
    sizes.into_iter().try_fold(Size::from(1), |product, size| product.times(size))
}

impl Sizes {
    fn define(&mut self, definition: Definition) -> Size {
        let known = self.definitions.iter().position(|candidate| {
            *candidate == definition && !matches!(candidate, Definition::Unknown { .. })
        });
        let index = known.unwrap_or_else(|| {
            self.definitions.push(definition);
            self.definitions.len() - 1
        });
        u32::try_from(index).map(Size::symbol).unwrap_or_default()
    }

    /// The dimensions of an input, some of them known.
    pub fn input(&mut self, input: usize, dimensions: &[Option<usize>]) -> Vec<Size> {
        let mut symbols = Vec::new();
        let shape = dimensions
            .iter()
            .enumerate()
            .map(|(dimension, known)| match known.and_then(Size::known) {
                Some(size) => size,
                None => {
                    let size = self.define(Definition::Input { input, dimension });
                    symbols.extend(size.terms.keys().flatten());
                    size
                }
            })
            .collect();
        self.inputs.push(symbols);
        shape
    }

    /// A size of which only this is known.
    pub fn unknown(&mut self, low: i64, high: i64) -> Size {
        if low == high { Size::from(low) } else { self.define(Definition::Unknown { low, high }) }
    }

    /// The quotient, rounded down, of a size by a positive one.
    pub fn quotient(&mut self, dividend: &Size, divisor: &Size) -> Size {
        if let (Some(dividend), Some(divisor)) = (dividend.value(), divisor.value())
            && divisor > 0
        {
            return Size::from(dividend.div_euclid(divisor));
        }
        match dividend.exact_quotient(divisor) {
            Some(size) => size,
            None => self.define(Definition::Quotient(dividend.clone(), divisor.clone())),
        }
    }

    /// The definition of a size that is one symbol.
    fn definition(&self, size: &Size) -> Option<&Definition> {
        let mut terms = size.terms.iter();
        match (terms.next(), terms.next()) {
            (Some((factors, 1)), None) => match factors.as_slice() {
                [symbol] => self.definitions.get(*symbol as usize),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a size is at most another one because of how the two were made. Without this each layer of
    /// a transformer would double the text of a size.
    fn is_at_most(&self, size: &Size, bound: &Size, depth: usize) -> bool {
        if size == bound {
            return true;
        }
        let Some(depth) = depth.checked_sub(1) else { return false };
        let below = match self.definition(size) {
            Some(Definition::Smaller(left, right)) => {
                self.is_at_most(left, bound, depth) || self.is_at_most(right, bound, depth)
            }
            Some(Definition::Larger(left, right)) => {
                self.is_at_most(left, bound, depth) && self.is_at_most(right, bound, depth)
            }
            _ => false,
        };
        below
            || match self.definition(bound) {
                Some(Definition::Larger(left, right)) => {
                    self.is_at_most(size, left, depth) || self.is_at_most(size, right, depth)
                }
                Some(Definition::Smaller(left, right)) => {
                    self.is_at_most(size, left, depth) && self.is_at_most(size, right, depth)
                }
                _ => false,
            }
    }

    /// The larger one.
    pub fn larger(&mut self, left: &Size, right: &Size) -> Size {
        match (left.value(), right.value()) {
            _ if self.is_at_most(left, right, NESTED) => right.clone(),
            _ if self.is_at_most(right, left, NESTED) => left.clone(),
            (Some(left), Some(right)) => Size::from(left.max(right)),
            _ => self.define(Definition::Larger(left.clone(), right.clone())),
        }
    }

    /// The smaller one.
    pub fn smaller(&mut self, left: &Size, right: &Size) -> Size {
        match (left.value(), right.value()) {
            _ if self.is_at_most(left, right, NESTED) => left.clone(),
            _ if self.is_at_most(right, left, NESTED) => right.clone(),
            (Some(left), Some(right)) => Size::from(left.min(right)),
            _ => self.define(Definition::Smaller(left.clone(), right.clone())),
        }
    }

    /// Bounds that hold for whatever inputs a run accepts.
    pub fn bounds(&self, size: &Size) -> (i128, i128) {
        self.bounds_to(size, 0)
    }

    fn bounds_to(&self, size: &Size, depth: usize) -> (i128, i128) {
        let mut sum = (0_i128, 0_i128);
        for (factors, factor) in &size.terms {
            let (low, high) = self.product_bounds(factors, depth);
            let ends = [low.saturating_mul(i128::from(*factor)), high.saturating_mul(i128::from(*factor))];
            sum.0 = sum.0.saturating_add(ends[0].min(ends[1]));
            sum.1 = sum.1.saturating_add(ends[0].max(ends[1]));
        }
        sum
    }

    /// Bounds of a product of symbols.
    fn product_bounds(&self, factors: &[Symbol], depth: usize) -> (i128, i128) {
        // The product of dimensions of one input is bounded by its number of elements.
        let mut rest = factors.to_vec();
        let mut bounds = (1_i128, 1_i128);
        for input in &self.inputs {
            let mut left = rest.clone();
            let mut taken = 0;
            for symbol in input {
                if let Some(position) = left.iter().position(|candidate| candidate == symbol) {
                    left.remove(position);
                    taken += 1;
                }
            }
            if taken > 1 {
                rest = left;
                bounds = (0, bounds.1.saturating_mul(i128::from(LARGEST_INPUT)));
            }
        }
        for symbol in rest {
            let (low, high) = self.symbol_bounds(symbol, depth + 1);
            let ends = [
                bounds.0.saturating_mul(low),
                bounds.0.saturating_mul(high),
                bounds.1.saturating_mul(low),
                bounds.1.saturating_mul(high),
            ];
            bounds = (
                ends.iter().copied().min().unwrap_or(i128::MIN),
                ends.iter().copied().max().unwrap_or(i128::MAX),
            );
        }
        bounds
    }

    fn symbol_bounds(&self, symbol: Symbol, depth: usize) -> (i128, i128) {
        // Definitions only name older symbols; the limit is for their number.
        if depth > 24 {
            return (i128::MIN, i128::MAX);
        }
        match self.definitions.get(symbol as usize) {
            Some(Definition::Input { .. }) => (0, i128::from(LARGEST_INPUT)),
            Some(Definition::Quotient(dividend, divisor)) => {
                let (low, high) = self.bounds_to(dividend, depth);
                match divisor.value() {
                    Some(divisor) if divisor > 0 => {
                        (low.div_euclid(i128::from(divisor)), high.div_euclid(i128::from(divisor)))
                    }
                    _ => (low.min(-1), high.max(1)),
                }
            }
            Some(Definition::Larger(left, right)) => {
                let (left, right) = (self.bounds_to(left, depth), self.bounds_to(right, depth));
                (left.0.max(right.0), left.1.max(right.1))
            }
            Some(Definition::Smaller(left, right)) => {
                let (left, right) = (self.bounds_to(left, depth), self.bounds_to(right, depth));
                (left.0.min(right.0), left.1.min(right.1))
            }
            Some(Definition::Unknown { low, high }) => (i128::from(*low), i128::from(*high)),
            None => (i128::MIN, i128::MAX),
        }
    }

    /// The values of all symbols for inputs of these shapes; `None` for what they don't decide.
    pub fn evaluate(&self, shapes: &[Vec<usize>]) -> Vec<Option<i64>> {
        let mut values: Vec<Option<i64>> = Vec::with_capacity(self.definitions.len());
        for definition in &self.definitions {
            let value = match definition {
                Definition::Input { input, dimension } => shapes
                    .get(*input)
                    .and_then(|shape| shape.get(*dimension))
                    .and_then(|size| i64::try_from(*size).ok()),
                Definition::Quotient(dividend, divisor) => {
                    let (dividend, divisor) = (value_of(dividend, &values), value_of(divisor, &values));
                    dividend.zip(divisor).and_then(|(dividend, divisor)| dividend.checked_div_euclid(divisor))
                }
                Definition::Larger(left, right) => {
                    value_of(left, &values).zip(value_of(right, &values)).map(|(left, right)| left.max(right))
                }
                Definition::Smaller(left, right) => {
                    value_of(left, &values).zip(value_of(right, &values)).map(|(left, right)| left.min(right))
                }
                Definition::Unknown { .. } => None,
            };
            values.push(value);
        }
        values
    }

    /// A size over these symbols as one over those of `inner`, which has some sizes of these;
    /// `None` if that is not possible.
    pub fn rewrite(
        &self,
        size: &Size,
        inner: &mut Self,
        known: &HashMap<Size, Size>,
        depth: usize,
    ) -> Option<Size> {
        if let Some(known) = known.get(size) {
            return Some(known.clone());
        }
        if depth > 24 {
            return None;
        }
        let mut sum = Size::from(0);
        for (factors, factor) in &size.terms {
            let mut term = Size::from(*factor);
            for symbol in factors {
                let own = Size::symbol(*symbol);
                let rewritten = match (known.get(&own), self.definitions.get(*symbol as usize)?) {
                    (Some(known), _) => known.clone(),
                    (None, Definition::Quotient(left, right)) => {
                        let left = self.rewrite(left, inner, known, depth + 1)?;
                        let right = self.rewrite(right, inner, known, depth + 1)?;
                        inner.quotient(&left, &right)
                    }
                    (None, Definition::Larger(left, right)) => {
                        let left = self.rewrite(left, inner, known, depth + 1)?;
                        let right = self.rewrite(right, inner, known, depth + 1)?;
                        inner.larger(&left, &right)
                    }
                    (None, Definition::Smaller(left, right)) => {
                        let left = self.rewrite(left, inner, known, depth + 1)?;
                        let right = self.rewrite(right, inner, known, depth + 1)?;
                        inner.smaller(&left, &right)
                    }
                    (None, Definition::Input { .. } | Definition::Unknown { .. }) => return None,
                };
                term = term.times(&rewritten)?;
            }
            sum = sum.plus(&term)?;
        }
        Some(sum)
    }

    /// How a size is written for people.
    pub fn write(&self, size: &Size) -> String {
        if let Some(value) = size.value() {
            return value.to_string();
        }
        let term = |(factors, factor): (&Vec<Symbol>, &i64)| {
            let mut parts: Vec<String> = factors.iter().map(|symbol| self.write_symbol(*symbol)).collect();
            if *factor != 1 || parts.is_empty() {
                parts.insert(0, factor.to_string());
            }
            parts.join("*")
        };
        size.terms.iter().rev().map(term).collect::<Vec<_>>().join("+")
    }

    fn write_symbol(&self, symbol: Symbol) -> String {
        match self.definitions.get(symbol as usize) {
            Some(Definition::Input { input, dimension }) => format!("input{input}[{dimension}]"),
            Some(Definition::Quotient(dividend, divisor)) => {
                format!("({}/{})", self.write(dividend), self.write(divisor))
            }
            Some(Definition::Larger(left, right)) => {
                format!("max({},{})", self.write(left), self.write(right))
            }
            Some(Definition::Smaller(left, right)) => {
                format!("min({},{})", self.write(left), self.write(right))
            }
            Some(Definition::Unknown { .. }) | None => "?".to_owned(),
        }
    }
}

/// The value of a size where symbols have these values.
pub fn value_of(size: &Size, values: &[Option<i64>]) -> Option<i64> {
    size.terms.iter().try_fold(0_i64, |sum, (factors, factor)| {
        let product = factors.iter().try_fold(*factor, |product, symbol| {
            product.checked_mul(values.get(*symbol as usize).copied().flatten()?)
        })?;
        sum.checked_add(product)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_one_input_are_bounded_by_its_elements() {
        let mut sizes = Sizes::default();
        let shape = sizes.input(0, &[None, None, Some(8)]);
        let tokens = shape[0].times(&shape[1]).unwrap();
        assert_eq!(sizes.bounds(&tokens), (0, i128::from(LARGEST_INPUT)));
        let squared = tokens.times(&shape[0]).unwrap();
        assert_eq!(sizes.bounds(&squared).1, i128::from(LARGEST_INPUT) * i128::from(LARGEST_INPUT));
    }

    #[test]
    fn quotients_are_exact_where_they_can_be() {
        let mut sizes = Sizes::default();
        let shape = sizes.input(0, &[None, None]);
        let total = product([&shape[0], &shape[1], &Size::from(768)]).unwrap();
        let rest = product([&shape[0], &Size::from(64)]).unwrap();
        assert_eq!(sizes.quotient(&total, &rest), shape[1].times(&Size::from(12)).unwrap());
        let half = sizes.quotient(&shape[0].minus(&Size::from(1)).unwrap(), &Size::from(2));
        assert_eq!(sizes.bounds(&half), (-1, i128::from(LARGEST_INPUT / 2) - 1));
        let values = sizes.evaluate(&[vec![9, 3]]);
        assert_eq!(value_of(&half, &values), Some(4));
    }

    #[test]
    fn the_larger_of_a_size_and_what_was_made_of_it_is_known() {
        let mut sizes = Sizes::default();
        let shape = sizes.input(0, &[None, None]);
        let limited = sizes.smaller(&shape[0], &Size::from(1024));
        assert_eq!(sizes.larger(&shape[0], &limited), shape[0]);
        assert_eq!(sizes.larger(&limited, &shape[0]), shape[0]);
        assert_eq!(sizes.smaller(&limited, &shape[0]), limited);
        let larger = sizes.larger(&shape[0], &shape[1]);
        assert_eq!(sizes.larger(&larger, &shape[1]), larger);
        assert_eq!(sizes.larger(&shape[0], &larger), larger);
        assert_eq!(sizes.smaller(&larger, &shape[1]), shape[1]);
        assert_ne!(larger, shape[0]);
        let values = sizes.evaluate(&[vec![9, 3]]);
        assert_eq!(value_of(&larger, &values), Some(9));
    }
}
