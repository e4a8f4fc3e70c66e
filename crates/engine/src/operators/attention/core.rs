//! Scaled products of queries and keys, their softmax, and the sum of values by it.

mod tiles;

use adytum_kernels::Level;

use crate::{
    operators::{
        Context, OperatorError,
        algebra::kernel::dot,
        arguments::{tensor_of, unfit, values_of},
        number::Real,
        rounding::Rounding,
        softmax::normalize,
    },
    tensor::Tensor,
};

/// Rows of several heads, in a tensor in which they are split or side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads<'a, T> {
    values: &'a [T],
    /// Elements of the whole tensor for one of the batch.
    batch_step: usize,
    head_step: usize,
    row_step: usize,
    /// How many there are of the batch, the heads and the rows.
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    pub(crate) rows: usize,
    /// The length of a row.
    pub(crate) size: usize,
}

impl<'a, T: Real> Heads<'a, T> {
    /// Of a tensor with heads as a dimension (batch, heads, rows, size), or with heads side
    /// by side (batch, rows, heads by size), of which `heads` says the number.
    pub(crate) fn new(tensor: &'a Tensor, heads: Option<usize>) -> Result<Self, OperatorError> {
        let values = values_of::<T>(tensor)?;
        match (tensor.shape(), heads) {
            ([batch, heads, rows, size], _) => Ok(Self::split(values, *batch, *heads, *rows, *size)),
            ([batch, rows, width], Some(heads)) if heads > 0 && width % heads == 0 => {
                let size = width / heads;
                Ok(Self {
                    values,
                    batch_step: rows * width,
                    head_step: size,
                    row_step: *width,
                    batch: *batch,
                    heads,
                    rows: *rows,
                    size,
                })
            }
            (shape, heads) => unfit(format!("a tensor of the shape {shape:?} is not of {heads:?} heads")),
        }
    }

    /// Of elements in the order batch, heads, rows.
    pub(crate) fn split(values: &'a [T], batch: usize, heads: usize, rows: usize, size: usize) -> Self {
        Self {
            values,
            batch_step: heads * rows * size,
            head_step: rows * size,
            row_step: size,
            batch,
            heads,
            rows,
            size,
        }
    }

    /// A row of a head.
    pub(crate) fn row(&self, batch: usize, head: usize, row: usize) -> &'a [T] {
        let start = batch * self.batch_step + head * self.head_step + row * self.row_step;
        &self.values[start..start + self.size]
    }

    /// The rows of these heads after those of `past`, as elements in the order batch,
    /// heads, rows.
    pub(crate) fn joined(
        &self,
        past: Option<&Heads<'_, T>>,
        context: &Context<'_>,
    ) -> Result<(Vec<T>, usize), OperatorError> {
        let before = past.map_or(0, |past| past.rows);
        if let Some(past) = past
            && (past.batch, past.heads, past.size) != (self.batch, self.heads, self.size)
        {
            return unfit(format!(
                "the past has {} heads of {} for {} heads of {}",
                past.heads, past.size, self.heads, self.size
            ));
        }
        let rows = before + self.rows;
        let count = context.reserve(T::TYPE, &[self.batch, self.heads, rows, self.size])?;
        let mut values = Vec::with_capacity(count);
        for batch in 0..self.batch {
            for head in 0..self.heads {
                if let Some(past) = past {
                    (0..before).for_each(|row| values.extend_from_slice(past.row(batch, head, row)));
                }
                (0..self.rows).for_each(|row| values.extend_from_slice(self.row(batch, head, row)));
            }
        }
        Ok((values, rows))
    }
}

/// Which scores are asked for besides the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Products,
    Capped,
    Biased,
    Normalized,
}

/// Whether the scores of one of the batch, of a head, and of a query are changed in a way of their own; `None` if nothing
/// changes scores.
pub(crate) type Differs = Option<[bool; 3]>;

/// What several changes of the scores are together.
pub(crate) fn joined<const N: usize>(changes: [Differs; N]) -> Differs {
    changes.into_iter().flatten().reduce(|all, one| std::array::from_fn(|axis| all[axis] || one[axis]))
}

/// The attention to compute.
pub(crate) struct Problem<'a, T> {
    pub(crate) query: Heads<'a, T>,
    pub(crate) key: Heads<'a, T>,
    pub(crate) value: Heads<'a, T>,
    pub(crate) scale: T,
    /// The instructions that kernels may use.
    pub(crate) level: Level,
    /// How the scores are changed.
    pub(crate) differs: Differs,
    /// A bound that scores approach; none if 0.
    pub(crate) softcap: T,
    /// Scores that are an output.
    pub(crate) stage: Option<Stage>,
    /// Whether heads are side by side in the result.
    pub(crate) side_by_side: bool,
    /// How the numbers of each step are rounded.
    pub(crate) rounding: Rounding,
    /// How those of the softmax are.
    pub(crate) softmax_rounding: Rounding,
}

impl<T: Real> Problem<'_, T> {
    /// The result, and the scores if they are asked for. `bias` changes a row of scores,
    /// for a place in the batch, a head and a query: it adds numbers, or puts negative infinity in the place of scores.
    pub(crate) fn solve(
        &self,
        context: &Context<'_>,
        bias: impl Fn(usize, usize, usize, &mut [T]) -> Result<(), OperatorError>,
    ) -> Result<(Tensor, Option<Tensor>), OperatorError> {
        let (query, key, value) = (&self.query, &self.key, &self.value);
        let fits = query.size == key.size
            && key.rows == value.rows
            && key.heads == value.heads
            && key.heads > 0
            && query.heads.is_multiple_of(key.heads)
            && [key.batch, value.batch] == [query.batch; 2];
        if !fits {
            return unfit(format!(
                "queries, keys and values do not fit: {} heads of {} by {}, {} of {} by {}, {} of {} by {}",
                query.heads,
                query.rows,
                query.size,
                key.heads,
                key.rows,
                key.size,
                value.heads,
                value.rows,
                value.size
            ));
        }
        if let Some(result) = self.by_tiles(context, &bias)? {
            return Ok((result, None));
        }
        let (batch, heads, rows, keys) = (query.batch, query.heads, query.rows, key.rows);
        let shape = if self.side_by_side {
            vec![batch, rows, heads * value.size]
        } else {
            vec![batch, heads, rows, value.size]
        };
        let count = context.reserve(T::TYPE, &shape)?;
        let mut result = vec![T::ZERO; count];
        let score_shape = [batch, heads, rows, keys];
        let mut kept: Vec<T> = Vec::new();
        if self.stage.is_some() {
            kept.reserve_exact(context.reserve(T::TYPE, &score_shape)?);
        }
        context.reserve(T::TYPE, &[keys])?;
        let mut scores = vec![T::ZERO; keys];
        let share = heads / key.heads;
        let rounds = !self.rounding.is_exact();
        let mut scaled = ScaledKeys { root: T::ZERO, keys: Vec::new(), query: Vec::new() };
        if rounds {
            context.reserve(T::TYPE, &[keys + 1, key.size])?;
        }
        for place in 0..batch {
            for head in 0..heads {
                context.check()?;
                if rounds {
                    scaled.fill(self, place, head / share);
                }
                for row in 0..rows {
                    let own = query.row(place, head, row);
                    if rounds {
                        scaled.products(self, own, &mut scores);
                    } else {
                        for (number, score) in scores.iter_mut().enumerate() {
                            *score = dot(own, key.row(place, head / share, number)) * self.scale;
                        }
                    }
                    let mut keep = |stage: Stage, scores: &[T]| {
                        if self.stage == Some(stage) {
                            kept.extend_from_slice(scores);
                        }
                    };
                    keep(Stage::Products, &scores);
                    if self.softcap != T::ZERO {
                        let (cap, round) = (self.softcap, |value: T| self.rounding.round(value));
                        for score in &mut scores {
                            *score = round(cap * round(round(*score / cap).tanh()));
                        }
                    }
                    keep(Stage::Capped, &scores);
                    bias(place, head, row, &mut scores)?;
                    self.rounding.round_all(&mut scores);
                    keep(Stage::Biased, &scores);
                    // A query that may look at nothing gives zeros.
                    if scores.iter().all(|score| *score == T::LOWEST) {
                        scores.fill(T::ZERO);
                    } else if self.softmax_rounding.is_exact() {
                        normalize(&mut scores);
                    } else {
                        self.softmax_rounding.normalize(&mut scores);
                    }
                    self.rounding.round_all(&mut scores);
                    keep(Stage::Normalized, &scores);
                    let start = if self.side_by_side {
                        ((place * rows + row) * heads + head) * value.size
                    } else {
                        ((place * heads + head) * rows + row) * value.size
                    };
                    let target = &mut result[start..start + value.size];
                    for (number, weight) in scores.iter().enumerate() {
                        if *weight != T::ZERO {
                            for (sum, value) in target.iter_mut().zip(value.row(place, head / share, number))
                            {
                                *sum += *weight * *value;
                            }
                        }
                    }
                }
            }
        }
        let kept = self.stage.map(|_| tensor_of(score_shape, kept)).transpose()?;
        Ok((tensor_of(shape, result)?, kept))
    }
}

/// The keys of a head by the root of the scale, rounded: as ONNX defines attention of narrow
/// types, queries and keys are scaled each before their products are made.
struct ScaledKeys<T> {
    root: T,
    keys: Vec<T>,
    query: Vec<T>,
}

impl<T: Real> ScaledKeys<T> {
    fn fill(&mut self, problem: &Problem<'_, T>, place: usize, head: usize) {
        let (key, rounding) = (&problem.key, problem.rounding);
        self.root = rounding.round(problem.scale.sqrt());
        self.keys.clear();
        for row in 0..key.rows {
            let scaled = key.row(place, head, row).iter().map(|value| rounding.round(*value * self.root));
            self.keys.extend(scaled);
        }
    }

    fn products(&mut self, problem: &Problem<'_, T>, query: &[T], scores: &mut [T]) {
        let rounding = problem.rounding;
        self.query.clear();
        self.query.extend(query.iter().map(|value| rounding.round(*value * self.root)));
        let size = problem.key.size;
        for (number, score) in scores.iter_mut().enumerate() {
            *score = rounding.round(dot(&self.query, &self.keys[number * size..(number + 1) * size]));
        }
    }
}
