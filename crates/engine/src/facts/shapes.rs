//! Derives facts about a node's outputs from facts about its inputs: shapes, small
//! tensors of whole numbers, bounds of whole numbers.
//!
//! No fact is required: an unknown one is left open, and then less enters an island and
//! less is said about memory. A fact must hold for every run that succeeds.

mod contributed;
mod layout;
mod numbers;
mod windows;

use super::{
    fact::{Fact, dimension_bounds},
    size::{Size, Sizes, product},
};
use crate::onnx::model::Node;

/// The facts about an output.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inferred {
    pub(crate) shape: Option<Vec<Size>>,
    pub(crate) contents: Option<Vec<Size>>,
    pub(crate) range: Option<(i128, i128)>,
}

impl Inferred {
    fn shape(shape: Option<Vec<Size>>) -> Self {
        Self { shape, ..Self::default() }
    }
}

/// A node and what is known of its inputs.
pub(crate) struct Query<'a> {
    pub(crate) node: &'a Node,
    pub(crate) inputs: &'a [Option<&'a Fact>],
}

impl<'a> Query<'a> {
    fn input(&self, index: usize) -> Option<&'a Fact> {
        self.inputs.get(index).copied().flatten()
    }

    fn shape(&self, index: usize) -> Option<&'a Vec<Size>> {
        self.input(index)?.shape.as_ref()
    }

    fn integer(&self, name: &str, default: i64) -> Option<i64> {
        self.node.attributes.integer(name).ok().map(|value| value.unwrap_or(default))
    }

    fn integers(&self, name: &str) -> Option<Vec<i64>> {
        self.node.attributes.integers(name).ok().flatten().map(<[i64]>::to_vec)
    }

    /// Whole numbers that are an attribute in old opsets and an input in new ones: `Ok(None)`
    /// where the node has neither, `Err(())` where they are not known.
    fn integers_or_input(&self, name: &str, input: usize) -> Result<Option<Vec<i64>>, ()> {
        if self.node.attributes.contains(name) {
            return self.integers(name).map(Some).ok_or(());
        }
        match self.input(input) {
            None => Ok(None),
            Some(fact) => fact.known_integers().map(Some).ok_or(()),
        }
    }
}

/// An axis that counts from the end if it is negative.
pub(crate) fn axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis + rank } else { axis };
    (0..rank).contains(&axis).then(|| usize::try_from(axis).ok()).flatten()
}

/// The shape of numpy's broadcasting, if it succeeds.
pub(crate) fn broadcast(left: &[Size], right: &[Size], sizes: &mut Sizes) -> Vec<Size> {
    let rank = left.len().max(right.len());
    let one = Size::from(1);
    (0..rank)
        .map(|index| {
            let of = |shape: &[Size]| {
                (index + shape.len()).checked_sub(rank).and_then(|index| shape.get(index).cloned())
            };
            let (left, right) =
                (of(left).unwrap_or_else(|| one.clone()), of(right).unwrap_or_else(|| one.clone()));
            match (left.value(), right.value()) {
                (Some(1), _) => right,
                (_, Some(1)) => left,
                (Some(_), _) => left,
                (_, Some(_)) => right,
                _ => sizes.larger(&left, &right),
            }
        })
        .collect()
}

/// The domains whose operators are known here.
fn is_known_domain(domain: &str) -> bool {
    matches!(domain, "" | "com.microsoft")
}

/// The facts about each output.
pub(crate) fn infer(query: &Query<'_>, sizes: &mut Sizes) -> Vec<Inferred> {
    if !is_known_domain(&query.node.domain) {
        return Vec::new();
    }
    if query.node.domain == "com.microsoft"
        && let Some(outputs) = contributed::infer(query, sizes)
    {
        return bounded(outputs, sizes);
    }
    let outputs = match query.node.operator.as_str() {
        "Identity" | "Cast" | "CastLike" | "Neg" | "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Max" | "Min"
        | "Sum" | "Mean" | "Where" | "Pow" | "Equal" | "Less" | "LessOrEqual" | "Greater"
        | "GreaterOrEqual" | "And" | "Or" | "Xor" | "PRelu" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor"
        | "BitShift" | "Abs" | "Sign" | "Clip" | "BiasGelu" | "FastGelu" => {
            vec![numbers::elementwise(query, sizes)]
        }
        "CumSum" => vec![numbers::cumulative_sum(query, sizes)],
        "Range" => vec![numbers::range(query, sizes)],
        "ArgMax" | "ArgMin" => vec![numbers::index_of_extreme(query, sizes)],
        "NonZero" => vec![numbers::non_zero(query, sizes)],
        "TopK" => numbers::top(query, sizes),
        operator if operator.starts_with("Reduce") => vec![numbers::reduce(query, sizes)],
        "Conv" | "ConvInteger" | "QLinearConv" | "MaxPool" | "AveragePool" | "LpPool" => {
            windows::windows(query, sizes)
        }
        "QLinearAdd" | "QLinearMul" => vec![of_pair(query, sizes)],
        "QLinearAveragePool" if query.integer("channels_last", 0) == Some(0) => {
            windows::windows(query, sizes)
        }
        "QLinearGlobalAveragePool" if query.integer("channels_last", 0) == Some(0) => {
            vec![windows::global(query)]
        }
        "QLinearConcat" => vec![concatenation(query)],
        "QGemm" => vec![gemm(query, 3)],
        "ConvTranspose" => vec![windows::transposed(query, sizes)],
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => vec![windows::global(query)],
        "Resize" | "Upsample" => vec![windows::resize(query, sizes)],
        "Pad" => vec![windows::pad(query, sizes)],
        "MatMul" | "MatMulInteger" | "MatMulIntegerToFloat" | "DynamicQuantizeMatMul" => {
            vec![matmul(query, 0, 1, sizes)]
        }
        "QLinearMatMul" => vec![matmul(query, 0, 3, sizes)],
        "Gemm" => vec![gemm(query, 1)],
        "LSTM" | "GRU" | "RNN" => recurrent(query),
        "LayerNormalization"
        | "Dropout"
        | "DynamicQuantizeLinear"
        | "BatchNormalization"
        | "SimplifiedLayerNormalization"
        | "SkipLayerNormalization"
        | "SkipSimplifiedLayerNormalization" => normalization(query),
        "OneHot" => vec![one_hot(query, sizes)],
        operator if keeps_shape(operator) => vec![Inferred::shape(query.shape(0).cloned())],
        _ => layout::infer(query, sizes),
    };
    bounded(outputs, sizes)
}

/// No value of a run has a dimension beyond the largest, whatever a formula says.
fn bounded(outputs: Vec<Inferred>, sizes: &Sizes) -> Vec<Inferred> {
    let (_, largest) = dimension_bounds();
    outputs
        .into_iter()
        .map(|mut output| {
            if let Some(shape) = &output.shape
                && shape.iter().any(|size| {
                    let (low, high) = sizes.bounds(size);
                    low > largest || high < 0
                })
            {
                output.shape = None;
            }
            output
        })
        .collect()
}

/// Operators whose first output has the shape of their first input.
fn keeps_shape(operator: &str) -> bool {
    matches!(
        operator,
        "Acos"
            | "Acosh"
            | "Asin"
            | "Asinh"
            | "Atan"
            | "Atanh"
            | "BitwiseNot"
            | "Ceil"
            | "Celu"
            | "Cos"
            | "Cosh"
            | "DequantizeLinear"
            | "QLinearSigmoid"
            | "QLinearLeakyRelu"
            | "QLinearSoftmax"
            | "Elu"
            | "Erf"
            | "Exp"
            | "Floor"
            | "Gelu"
            | "GroupNormalization"
            | "HardSigmoid"
            | "HardSwish"
            | "Hardmax"
            | "InstanceNormalization"
            | "IsInf"
            | "IsNaN"
            | "LRN"
            | "LeakyRelu"
            | "Log"
            | "LogSoftmax"
            | "LpNormalization"
            | "MeanVarianceNormalization"
            | "Mish"
            | "Not"
            | "QuantizeLinear"
            | "QuickGelu"
            | "RMSNormalization"
            | "Reciprocal"
            | "Relu"
            | "ReverseSequence"
            | "RotaryEmbedding"
            | "Round"
            | "ScatterElements"
            | "Scatter"
            | "ScatterND"
            | "Selu"
            | "Shrink"
            | "Sigmoid"
            | "Sin"
            | "Sinh"
            | "Softmax"
            | "Softplus"
            | "Softsign"
            | "Sqrt"
            | "Swish"
            | "Tan"
            | "Tanh"
            | "ThresholdedRelu"
            | "Trilu"
            | "EyeLike"
            | "RandomNormalLike"
            | "RandomUniformLike"
            | "Bernoulli"
    )
}

fn matmul(query: &Query<'_>, left: usize, right: usize, sizes: &mut Sizes) -> Inferred {
    let (Some(left), Some(right)) = (query.shape(left), query.shape(right)) else {
        return Inferred::default();
    };
    let (rows, left_batch) = match left.as_slice() {
        [] => return Inferred::default(),
        [_] => (None, &[][..]),
        [batch @ .., rows, _] => (Some(rows), batch),
    };
    let (columns, right_batch) = match right.as_slice() {
        [] => return Inferred::default(),
        [_] => (None, &[][..]),
        [batch @ .., _, columns] => (Some(columns), batch),
    };
    let mut shape = broadcast(left_batch, right_batch, sizes);
    shape.extend(rows.cloned());
    shape.extend(columns.cloned());
    Inferred::shape(Some(shape))
}

/// A function of two quantised tensors, each with a scale and a zero point.
fn of_pair(query: &Query<'_>, sizes: &mut Sizes) -> Inferred {
    let shapes = query.shape(0).zip(query.shape(3));
    Inferred::shape(shapes.map(|(left, right)| broadcast(left, right, sizes)))
}

/// A concatenation of quantised tensors, each with a scale and a zero point.
fn concatenation(query: &Query<'_>) -> Inferred {
    let shape = || {
        let mut shape = query.shape(2)?.clone();
        let along = axis(query.integer("axis", 0)?, shape.len())?;
        for index in (5..query.node.inputs.len()).step_by(3) {
            let size = query.shape(index)?.get(along)?;
            let place = shape.get_mut(along)?;
            *place = place.plus(size)?;
        }
        Some(shape)
    };
    Inferred::shape(shape())
}

fn gemm(query: &Query<'_>, right: usize) -> Inferred {
    let side = |input: usize, transposed: &str, index: usize| {
        let shape = query.shape(input).filter(|shape| shape.len() == 2)?;
        let index = if query.integer(transposed, 0)? == 0 { index } else { 1 - index };
        shape.get(index).cloned()
    };
    let rows = side(0, "transA", 0);
    let columns = side(right, "transB", 1);
    Inferred::shape(rows.zip(columns).map(|(rows, columns)| vec![rows, columns]))
}

fn recurrent(query: &Query<'_>) -> Vec<Inferred> {
    let shapes = || {
        let [steps, batch, _] = query.shape(0)?.as_slice() else { return None };
        let directions = query.node.attributes.text("direction").ok()?.unwrap_or("forward");
        let directions = Size::from(if directions == "bidirectional" { 2 } else { 1 });
        let hidden = match query.integer("hidden_size", 0)? {
            0 => query.shape(2)?.get(2)?.clone(),
            hidden => Size::from(hidden),
        };
        Some(if query.integer("layout", 0)? == 0 {
            (
                vec![steps.clone(), directions.clone(), batch.clone(), hidden.clone()],
                vec![directions, batch.clone(), hidden],
            )
        } else {
            // With layout 1 the input is [batch, steps, size].
            let (batch, steps) = (steps, batch);
            (
                vec![batch.clone(), steps.clone(), directions.clone(), hidden.clone()],
                vec![batch.clone(), directions, hidden],
            )
        })
    };
    match shapes() {
        Some((all, last)) => {
            vec![Inferred::shape(Some(all)), Inferred::shape(Some(last.clone())), Inferred::shape(Some(last))]
        }
        None => Vec::new(),
    }
}

/// Operators whose first output has the shape of their first input, and further ones.
fn normalization(query: &Query<'_>) -> Vec<Inferred> {
    let same = Inferred::shape(query.shape(0).cloned());
    match query.node.operator.as_str() {
        "Dropout" => vec![same.clone(), same],
        "DynamicQuantizeLinear" => {
            vec![same, Inferred::shape(Some(Vec::new())), Inferred::shape(Some(Vec::new()))]
        }
        _ => vec![same],
    }
}

fn one_hot(query: &Query<'_>, sizes: &mut Sizes) -> Inferred {
    let shape = || {
        let mut shape = query.shape(0)?.clone();
        let position = axis(query.integer("axis", -1)?, shape.len() + 1)?;
        let depth = query.input(1)?.contents.as_ref().and_then(|contents| contents.first().cloned());
        shape.insert(position, depth?);
        Some(shape)
    };
    let _ = sizes;
    Inferred::shape(shape())
}

/// The number of elements of a shape.
pub(crate) fn elements(shape: &[Size]) -> Option<Size> {
    product(shape)
}
