//! `TfIdfVectorizer`: how often each n-gram of a vocabulary is in a row.

use std::collections::HashMap;

use crate::{
    operators::{
        Attributes, Built, Context, Definition, Operator, OperatorError, Refusal,
        operands::{Operands, broken, check_arity, output, values},
    },
    tensor::{ElementType, Elements, Text, Value},
};

/// What a count becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weighting {
    /// Itself.
    Count,
    /// The n-gram's weight if it is there.
    Presence,
    /// The product of the two.
    Product,
}

/// The step from an n-gram to one with one item more, by the item's number.
#[derive(Debug, Default)]
struct Node {
    /// The column and the weight of the n-gram that ends here.
    column: Option<(usize, f32)>,
    next: HashMap<u32, u32>,
}

/// The items of the vocabulary, numbered.
#[derive(Debug)]
enum Items {
    Integers(HashMap<i64, u32>),
    Texts(HashMap<Text, u32>),
}

#[derive(Debug)]
struct Vectorizer {
    items: Items,
    /// Node 0 is the empty n-gram.
    nodes: Vec<Node>,
    shortest: usize,
    longest: usize,
    /// The largest distance between items that count as neighbours.
    largest_distance: usize,
    columns: usize,
    weighting: Weighting,
}

pub(super) fn build(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    let attributes = definition.attributes;
    let (items, numbers) = match definition.tensor_type(0)? {
        ElementType::Text => {
            let pool = attributes.texts("pool_strings")?.unwrap_or_default();
            let (items, numbers) = number(pool.iter().cloned())?;
            (Items::Texts(items), numbers)
        }
        ElementType::Int32 | ElementType::Int64 => {
            let pool = attributes.integers("pool_int64s")?.unwrap_or_default();
            let (items, numbers) = number(pool.iter().copied())?;
            (Items::Integers(items), numbers)
        }
        _ => return Err(definition.unsupported_type(0)),
    };
    if numbers.is_empty() {
        return Err(Refusal::new("no attribute has a pool of n-grams of the input's type"));
    }
    Ok(Built::tensor(Vectorizer::new(attributes, items, &numbers)?, ElementType::Float))
}

/// Numbers items, equal ones alike.
fn number<K: std::hash::Hash + Eq>(
    pool: impl Iterator<Item = K>,
) -> Result<(HashMap<K, u32>, Vec<u32>), Refusal> {
    let mut items = HashMap::new();
    let mut numbers = Vec::new();
    for item in pool {
        let next = u32::try_from(items.len()).map_err(|_| Refusal::new("the pool is too large"))?;
        numbers.push(*items.entry(item).or_insert(next));
    }
    Ok((items, numbers))
}

/// A whole number that must be there and be at least `least`.
fn count(attributes: &Attributes, name: &str, least: usize) -> Result<usize, Refusal> {
    let value =
        attributes.integer(name)?.ok_or_else(|| Refusal::new(format!("the attribute {name} is missing")))?;
    usize::try_from(value)
        .ok()
        .filter(|value| *value >= least)
        .ok_or_else(|| Refusal::new(format!("the attribute {name} is {value}; at least {least} is expected")))
}

impl Vectorizer {
    fn new(attributes: &Attributes, items: Items, pool: &[u32]) -> Result<Self, Refusal> {
        let weighting = match attributes.text("mode")? {
            Some("TF") => Weighting::Count,
            Some("IDF") => Weighting::Presence,
            Some("TFIDF") => Weighting::Product,
            other => {
                return Err(Refusal::new(format!(
                    "the attribute mode is {other:?}; TF, IDF or TFIDF is expected"
                )));
            }
        };
        let shortest = count(attributes, "min_gram_length", 1)?;
        let longest = count(attributes, "max_gram_length", shortest)?;
        let largest_distance = count(attributes, "max_skip_count", 0)?.saturating_add(1);
        let columns_of_ngrams = attributes
            .integers("ngram_indexes")?
            .unwrap_or_default()
            .iter()
            .map(|column| usize::try_from(*column))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Refusal::new("a value of ngram_indexes is negative"))?;
        let columns = columns_of_ngrams
            .iter()
            .max()
            .and_then(|largest| largest.checked_add(1))
            .ok_or_else(|| Refusal::new("the attribute ngram_indexes is missing"))?;
        let starts = attributes.integers("ngram_counts")?.unwrap_or_default();
        if longest > starts.len() {
            return Err(Refusal::new(format!(
                "ngram_counts has {} values; n-grams go to {longest}",
                starts.len()
            )));
        }
        let weights = attributes.floats("weights")?.unwrap_or_default();
        if !weights.is_empty() && weights.len() != columns_of_ngrams.len() {
            return Err(Refusal::new(format!(
                "there are {} weights for {} n-grams",
                weights.len(),
                columns_of_ngrams.len()
            )));
        }
        let mut vectorizer = Self {
            items,
            nodes: vec![Node::default()],
            shortest,
            longest,
            largest_distance,
            columns,
            weighting,
        };
        vectorizer.add_pool(pool, starts, (&columns_of_ngrams, weights))?;
        Ok(vectorizer)
    }

    /// Adds the n-grams of the pool: first those of one item, then those of two.
    fn add_pool(
        &mut self,
        pool: &[u32],
        starts: &[i64],
        (columns, weights): (&[usize], &[f32]),
    ) -> Result<(), Refusal> {
        let mut ngram = 0;
        for (index, start) in starts.iter().enumerate() {
            let length = index + 1;
            let end = starts.get(length).copied().unwrap_or(pool.len() as i64);
            let range = usize::try_from(*start).ok().zip(usize::try_from(end).ok());
            let ngrams = range
                .and_then(|(start, end)| pool.get(start..end))
                .filter(|items| items.len().is_multiple_of(length))
                .ok_or_else(|| {
                    Refusal::new(format!("ngram_counts and the pool do not agree for n-grams of {length}"))
                })?;
            for items in ngrams.chunks_exact(length) {
                if (self.shortest..=self.longest).contains(&length) {
                    let column = columns.get(ngram).ok_or_else(|| {
                        Refusal::new("ngram_indexes has fewer values than the pool has n-grams")
                    })?;
                    self.add(items, *column, weights.get(ngram).copied().unwrap_or(1.0))?;
                }
                ngram += 1;
            }
        }
        Ok(())
    }

    fn add(&mut self, items: &[u32], column: usize, weight: f32) -> Result<(), Refusal> {
        let mut node = 0;
        for item in items {
            let new = u32::try_from(self.nodes.len()).map_err(|_| Refusal::new("the pool is too large"))?;
            let next = *self.nodes[node].next.entry(*item).or_insert(new);
            if next == new {
                self.nodes.push(Node::default());
            }
            node = next as usize;
        }
        match self.nodes[node].column.replace((column, weight)) {
            None => Ok(()),
            Some(_) => Err(Refusal::new("an n-gram is twice in the pool")),
        }
    }

    /// Counts the n-grams of a row. An item that is not in the vocabulary is `None`.
    fn count(
        &self,
        row: &[Option<u32>],
        counts: &mut [f32],
        context: &Context<'_>,
    ) -> Result<(), OperatorError> {
        // An n-gram of one item is counted once, whatever the distances.
        if self.shortest == 1 {
            (0..row.len()).for_each(|start| self.count_from(&row[start..], 1, 1..=1, counts));
        }
        let shortest = self.shortest.max(2);
        if shortest > self.longest {
            return Ok(());
        }
        for distance in 1..=self.largest_distance {
            // The items of the shortest n-gram must fit.
            let Some(reach) = distance.checked_mul(shortest - 1).filter(|reach| *reach < row.len()) else {
                break;
            };
            context.check()?;
            for start in 0..row.len() - reach {
                self.count_from(&row[start..], distance, shortest..=self.longest, counts);
            }
        }
        Ok(())
    }

    /// Counts the n-grams of these lengths that begin at the first item.
    fn count_from(
        &self,
        row: &[Option<u32>],
        distance: usize,
        lengths: std::ops::RangeInclusive<usize>,
        counts: &mut [f32],
    ) {
        let mut node = &self.nodes[0];
        for (index, item) in row.iter().step_by(distance).take(*lengths.end()).enumerate() {
            let Some(next) = item.and_then(|item| node.next.get(&item)) else { return };
            node = &self.nodes[*next as usize];
            if let Some((column, weight)) = node.column
                && lengths.contains(&(index + 1))
            {
                match self.weighting {
                    Weighting::Count => counts[column] += 1.0,
                    Weighting::Presence => counts[column] = weight,
                    Weighting::Product => counts[column] += weight,
                }
            }
        }
    }
}

impl Operator for Vectorizer {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let tensor = Operands::new(inputs).tensor(0)?;
        let (rows, width, shape) = match tensor.shape() {
            [] => (1, 1, vec![self.columns]),
            [width] => (1, *width, vec![self.columns]),
            [rows, width] => (*rows, *width, vec![*rows, self.columns]),
            other => {
                return Err(OperatorError::inputs(format!(
                    "the input has the shape {other:?}; at most two dimensions are expected"
                )));
            }
        };
        let numbers: Vec<Option<u32>> = match (&self.items, tensor.elements()) {
            (Items::Texts(items), Elements::Text(_)) => {
                values::<Text>(&tensor)?.iter().map(|text| items.get(text).copied()).collect()
            }
            (Items::Integers(items), Elements::Int64(integers)) => {
                integers.iter().map(|integer| items.get(integer).copied()).collect()
            }
            (Items::Integers(items), Elements::Int32(integers)) => {
                integers.iter().map(|integer| items.get(&i64::from(*integer)).copied()).collect()
            }
            _ => return Err(broken("a tensor is not of the type of the pool")),
        };
        let mut counts = vec![0.0_f32; context.reserve(ElementType::Float, &[rows, self.columns])?];
        for row in 0..rows {
            let counts = &mut counts[row * self.columns..(row + 1) * self.columns];
            self.count(&numbers[row * width..(row + 1) * width], counts, context)?;
        }
        Ok(vec![output(shape, counts)?])
    }
}
