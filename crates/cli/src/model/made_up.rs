//! Makes up inputs for a model, by their types and shapes.

use std::collections::{BTreeMap, BTreeSet};

use adytum_engine::{
    engine::Specification,
    onnx::model::Dimension,
    tensor::{ElementType, Tensor, Text, Value, ValueType},
};
use half::{bf16, f16};

/// The largest input that is made up, in elements: 16 Mi, as in a replica.
const LARGEST: usize = 16 << 20;

/// What fills the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filling {
    /// Reals from 0 to 1; whole numbers of 0 and 1, which every vocabulary has.
    Mixed,
    Zeros,
    Ones,
}

/// Fillings in the order in which they are tried.
pub(crate) const FILLINGS: [Filling; 3] = [Filling::Mixed, Filling::Zeros, Filling::Ones];

/// What open dimensions other than the batch are tried as, such as the length of a text or the side
/// of a picture.
pub(crate) const TRIED_SIZES: [usize; 10] = [8, 32, 128, 224, 1, 2, 4, 48, 512, 16_000];

/// How many examples are tried: one, then more, since some models can't do with one.
pub(crate) const TRIED_ROWS: [usize; 2] = [1, 8];

/// How inputs are made up.
#[derive(Clone, Debug)]
pub(crate) struct Recipe<'a> {
    pub(crate) filling: Filling,
    /// The size of dimensions that are open.
    pub(crate) size: usize,
    /// The sizes of dimensions, by their names or by `INPUT:PLACE`.
    pub(crate) named: &'a BTreeMap<String, usize>,
    /// The first row of the batch: rows of one number are equal.
    pub(crate) first_row: usize,
    /// The number of rows: examples in the batch.
    pub(crate) rows: usize,
}

/// For each input the dimension along which examples are stacked; all `None` if the model takes no
/// batch. That is the first dimension where it is open. Dimensions of its name are such, too, and if
/// some dimension is called a batch, only dimensions of that name.
pub(crate) fn batch_axes(inputs: &[&Specification]) -> Vec<Option<usize>> {
    let dimensions = |input: &Specification| input.shape.clone().unwrap_or_default();
    let named = |dimension: &Dimension| match dimension {
        Dimension::Named(name) => Some(name.clone()),
        Dimension::Fixed(_) | Dimension::Any => None,
    };
    let all = inputs.iter().flat_map(|input| dimensions(input));
    let batches: BTreeSet<String> =
        all.filter_map(|dimension| named(&dimension)).filter(|name| name.contains("batch")).collect();
    let firsts = inputs.iter().filter_map(|input| named(dimensions(input).first()?)).collect();
    let names = if batches.is_empty() { &firsts } else { &batches };
    let axis = |input: &&Specification| {
        let shape = dimensions(input);
        let of_name =
            shape.iter().position(|dimension| named(dimension).is_some_and(|name| names.contains(&name)));
        of_name.or_else(|| (batches.is_empty() && shape.first() == Some(&Dimension::Any)).then_some(0))
    };
    inputs.iter().map(axis).collect()
}

/// The shape of an input; `None` if it is too large to be made up.
pub(crate) fn shape(input: &Specification, axis: Option<usize>, recipe: &Recipe<'_>) -> Option<Vec<usize>> {
    let Some(declared) = &input.shape else { return Some(vec![recipe.size]) };
    let size = |(index, dimension): (usize, &Dimension)| match dimension {
        Dimension::Fixed(size) => *size,
        _ if axis == Some(index) => recipe.rows,
        _ => given(input, index, dimension, recipe.named).unwrap_or(recipe.size),
    };
    let shape: Vec<usize> = declared.iter().enumerate().map(size).collect();
    let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size))?;
    (count <= LARGEST).then_some(shape)
}

/// The size of an open dimension, if it was given.
pub(crate) fn given(
    input: &Specification,
    index: usize,
    dimension: &Dimension,
    named: &BTreeMap<String, usize>,
) -> Option<usize> {
    let by_name = match dimension {
        Dimension::Named(name) => named.get(name),
        Dimension::Fixed(_) | Dimension::Any => None,
    };
    by_name.or_else(|| named.get(&format!("{}:{index}", input.name))).copied()
}

/// An input; `None` if it is too large, or no tensor.
pub(crate) fn value(
    input: &Specification,
    number: usize,
    axis: Option<usize>,
    recipe: &Recipe<'_>,
) -> Option<Value> {
    let ValueType::Tensor(element_type) = input.value_type else { return None };
    let shape = shape(input, axis, recipe)?;
    let count: usize = shape.iter().product();
    let (rows, inner) = match axis {
        Some(axis) => (*shape.get(axis)?, shape.get(axis + 1..)?.iter().product::<usize>()),
        None => (1, count),
    };
    // A number for each element that depends on its row and on its place in the row.
    let dice = |index: usize| {
        let (outer, row) = match inner {
            0 => (0, 0),
            inner => (index / inner / rows.max(1), index / inner % rows.max(1)),
        };
        let place = outer * inner + index.checked_rem(inner).unwrap_or(0);
        scrambled((number as u64) << 48 ^ ((row + recipe.first_row) as u64) << 32 ^ place as u64)
    };
    tensor(element_type, shape, count, recipe.filling, dice).map(Value::Tensor)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn scrambled(seed: u64) -> u64 {
    let mut value = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

fn tensor(
    element_type: ElementType,
    shape: Vec<usize>,
    count: usize,
    filling: Filling,
    dice: impl Fn(usize) -> u64,
) -> Option<Tensor> {
    let real = |index: usize| match filling {
        // 24 bits: exact in 32-bit floats.
        Filling::Mixed => (dice(index) >> 40) as f32 / (1_u32 << 24) as f32,
        Filling::Zeros => 0.0,
        Filling::Ones => 1.0,
    };
    let bit = |index: usize| match filling {
        Filling::Mixed => (dice(index) >> 63) as u8,
        Filling::Zeros => 0,
        Filling::Ones => 1,
    };
    let byte = |index: usize| if filling == Filling::Mixed { (dice(index) >> 56) as u8 } else { bit(index) };
    let all = 0..count;
    match element_type {
        ElementType::Float => Tensor::from_vec(shape, all.map(real).collect()),
        ElementType::Double => Tensor::from_vec(shape, all.map(|at| f64::from(real(at))).collect()),
        ElementType::Half => Tensor::from_vec(shape, all.map(|at| f16::from_f32(real(at))).collect()),
        ElementType::Bfloat16 => Tensor::from_vec(shape, all.map(|at| bf16::from_f32(real(at))).collect()),
        ElementType::Int8 => Tensor::from_vec(shape, all.map(|at| byte(at).cast_signed()).collect()),
        ElementType::Uint8 => Tensor::from_vec(shape, all.map(byte).collect()),
        ElementType::Int16 => Tensor::from_vec(shape, all.map(|at| i16::from(bit(at))).collect()),
        ElementType::Uint16 => Tensor::from_vec(shape, all.map(|at| u16::from(bit(at))).collect()),
        ElementType::Int32 => Tensor::from_vec(shape, all.map(|at| i32::from(bit(at))).collect()),
        ElementType::Uint32 => Tensor::from_vec(shape, all.map(|at| u32::from(bit(at))).collect()),
        ElementType::Int64 => Tensor::from_vec(shape, all.map(|at| i64::from(bit(at))).collect()),
        ElementType::Uint64 => Tensor::from_vec(shape, all.map(|at| u64::from(bit(at))).collect()),
        ElementType::Bool => Tensor::from_vec(shape, all.map(|at| bit(at) == 1).collect()),
        // Texts that are numbers, too.
        ElementType::Text => {
            let text = |at: usize| Text::from_static(if bit(at) == 1 { b"1" } else { b"0" });
            Tensor::from_vec(shape, all.map(text).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(name: &str, element_type: ElementType, shape: &[Dimension]) -> Specification {
        Specification {
            name: name.to_owned(),
            value_type: ValueType::Tensor(element_type),
            shape: Some(shape.to_vec()),
        }
    }

    fn named(name: &str) -> Dimension {
        Dimension::Named(name.to_owned())
    }

    #[test]
    fn the_batch_is_the_first_open_dimension_or_the_one_of_that_name() {
        let axes = |shapes: &[&[Dimension]]| {
            let inputs: Vec<Specification> =
                shapes.iter().map(|shape| input("x", ElementType::Float, shape)).collect();
            batch_axes(&inputs.iter().collect::<Vec<_>>())
        };
        let (fixed, any) = (Dimension::Fixed(3), Dimension::Any);
        assert_eq!(
            axes(&[&[any.clone(), fixed.clone()], &[Dimension::Fixed(2)], &[]]),
            [Some(0), None, None]
        );
        assert_eq!(axes(&[&[named("N"), fixed.clone()], &[fixed.clone(), named("N")]]), [Some(0), Some(1)]);
        assert_eq!(axes(&[&[named("time"), named("batch"), fixed.clone()]]), [Some(1)]);
        assert_eq!(axes(&[&[fixed.clone(), any]]), [None]);
    }

    #[test]
    fn rows_of_one_number_are_equal_in_every_batch() {
        let named = BTreeMap::new();
        let make = |axis, first_row, rows| {
            let recipe = Recipe { filling: Filling::Mixed, size: 4, named: &named, first_row, rows };
            let x =
                input("x", ElementType::Float, &[Dimension::Fixed(2), Dimension::Any, Dimension::Fixed(3)]);
            let tensor = value(&x, 0, Some(axis), &recipe).unwrap().into_tensor().unwrap();
            (tensor.shape().to_vec(), tensor.into_vec::<f32>().unwrap())
        };
        let (shape, both) = make(1, 0, 2);
        let (_, first) = make(1, 0, 1);
        let (_, second) = make(1, 1, 1);
        assert_eq!(shape, [2, 2, 3]);
        assert_eq!(both[0..3], first[0..3]);
        assert_eq!(both[3..6], second[0..3]);
        assert_eq!(both[6..9], first[3..6]);
        assert_eq!(both[9..12], second[3..6]);
        assert_ne!(first, second);
    }

    #[test]
    fn every_type_is_made_up_and_huge_inputs_are_not() {
        let named = BTreeMap::from([("n".to_owned(), 1 << 40)]);
        for filling in FILLINGS {
            let recipe = Recipe { filling, size: 2, named: &named, first_row: 0, rows: 1 };
            for element_type in ElementType::ALL {
                let small = input("x", *element_type, &[Dimension::Any, Dimension::Fixed(0)]);
                assert!(value(&small, 0, Some(0), &recipe).is_some(), "{element_type}");
                let huge = input("x", *element_type, &[super::tests::named("n")]);
                assert!(value(&huge, 0, None, &recipe).is_none());
            }
        }
    }
}
