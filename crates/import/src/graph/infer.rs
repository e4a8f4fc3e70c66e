//! Types and shapes of a node's results.

use super::{Attribute, Attributes, Dimension, Family, Operator, Shape, Value, elements, fold};
use crate::tensor::{ElementType, Tensor};

/// Where new symbols come from.
#[derive(Debug, Default)]
pub(crate) struct Symbols(pub(crate) u32);

impl Symbols {
    /// A size that nothing is known of.
    pub(crate) fn fresh(&mut self) -> Dimension {
        self.0 += 1;
        Dimension::Symbol(self.0)
    }

    fn known_or_fresh(&mut self, size: Option<i64>) -> Dimension {
        size.map_or_else(|| self.fresh(), Dimension::Known)
    }

    /// The shape of two that are broadcast together.
    pub(crate) fn broadcast(&mut self, a: &Shape, b: &Shape) -> Shape {
        let (Some(a), Some(b)) = (a, b) else { return None };
        let rank = a.len().max(b.len());
        let at = |shape: &[Dimension], index: usize| match (index + shape.len()).checked_sub(rank) {
            Some(index) => shape.get(index).copied().unwrap_or(Dimension::Known(1)),
            None => Dimension::Known(1),
        };
        let pair = |index: usize| match (at(a, index), at(b, index)) {
            (x, y) if x == y => x,
            (Dimension::Known(1), other) | (other, Dimension::Known(1)) => other,
            (known @ Dimension::Known(_), _) | (_, known @ Dimension::Known(_)) => known,
            _ => self.fresh(),
        };
        Some((0..rank).map(pair).collect())
    }
}

/// The value that an operator's output is, before its elements are known.
pub(crate) fn infer(
    operator: Operator,
    attributes: &Attributes,
    inputs: &[Option<&Value>],
    outputs: usize,
    symbols: &mut Symbols,
) -> Vec<(ElementType, Shape)> {
    let kinds = kinds(operator, attributes, inputs, outputs);
    let shapes = shapes(operator, attributes, inputs, outputs, symbols).unwrap_or_default();
    let padded = shapes.into_iter().chain(std::iter::repeat(None));
    kinds.into_iter().zip(padded).collect()
}

fn kinds(
    operator: Operator,
    attributes: &Attributes,
    inputs: &[Option<&Value>],
    outputs: usize,
) -> Vec<ElementType> {
    let of =
        |index: usize| inputs.get(index).copied().flatten().map_or(ElementType::Float32, |value| value.kind);
    let kind = match operator {
        Operator::Cast => fold::target(attributes).unwrap_or(ElementType::Float32),
        Operator::IsInf | Operator::IsNaN => ElementType::Bool,
        Operator::Shape | Operator::Size | Operator::ArgMax | Operator::ArgMin => ElementType::Int64,
        Operator::Where => of(1),
        Operator::TopK => return vec![of(0), ElementType::Int64],
        Operator::LabelEncoder => label_kind(attributes),
        _ if operator.family() == Family::Comparison => ElementType::Bool,
        _ => of(0),
    };
    vec![kind; outputs]
}

fn label_kind(attributes: &Attributes) -> ElementType {
    let has = |name: &str| attributes.get(name).is_some();
    match () {
        () if has("values_strings") => ElementType::String,
        () if has("values_int64s") => ElementType::Int64,
        () => ElementType::Float32,
    }
}

fn known(size: usize) -> Dimension {
    Dimension::Known(size as i64)
}

/// `None` where nothing is known of any output.
fn shapes(
    operator: Operator,
    attributes: &Attributes,
    inputs: &[Option<&Value>],
    outputs: usize,
    symbols: &mut Symbols,
) -> Option<Vec<Shape>> {
    let input = |index: usize| inputs.get(index).copied().flatten();
    let constants = |index: usize| input(index)?.constant.as_ref().and_then(Tensor::integers);
    let first = input(0)?;
    let rank = first.shape.as_ref().map(Vec::len);
    let shape = match operator.family() {
        Family::Unary => first.shape.clone(),
        Family::Broadcast | Family::Comparison => {
            let mut shape = first.shape.clone();
            for other in inputs.get(1..)? {
                shape = symbols.broadcast(&shape, &(*other)?.shape);
            }
            shape
        }
        Family::Reduction => {
            let axes = match attributes.integers("axes") {
                Some(axes) => Some(axes.to_vec()),
                None if input(1).is_some() => Some(constants(1)?),
                None => None,
            };
            reduced(first.shape.as_ref()?, axes.as_deref(), attributes.integer("keepdims") != Some(0))
        }
        Family::Other => match operator {
            Operator::Softmax
            | Operator::LogSoftmax
            | Operator::CumSum
            | Operator::LRN
            | Operator::ReverseSequence
            | Operator::BatchNormalization
            | Operator::ScatterND => first.shape.clone(),
            Operator::ArgMax | Operator::ArgMin => {
                let axis = attributes.integer("axis").unwrap_or(0);
                reduced(first.shape.as_ref()?, Some(&[axis]), attributes.integer("keepdims") != Some(0))
            }
            Operator::Shape => Some(vec![known(rank?)]),
            Operator::Size => Some(Vec::new()),
            Operator::Transpose => {
                let shape = first.shape.as_ref()?;
                let pick = |axis: &i64| shape.get(usize::try_from(*axis).ok()?).copied();
                attributes.integers("perm")?.iter().map(pick).collect()
            }
            Operator::Concat => concatenated(attributes.integer("axis")?, inputs, symbols),
            Operator::Split => {
                let axis = fold::axis_of(attributes.integer("axis").unwrap_or(0), rank?)?;
                let sizes = constants(1)?;
                let part = |size: &i64| {
                    let mut shape = first.shape.clone()?;
                    *shape.get_mut(axis)? = Dimension::Known(*size);
                    Some(shape)
                };
                return Some(sizes.iter().map(part).collect());
            }
            Operator::Reshape => reshaped(first.shape.as_ref(), input(1)?, symbols),
            Operator::Squeeze => {
                let axes = constants(1)?.into_iter().map(|axis| fold::axis_of(axis, rank?));
                let axes = axes.collect::<Option<Vec<_>>>()?;
                let kept = first.shape.as_ref()?.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
                Some(kept.map(|(_, size)| *size).collect())
            }
            Operator::Unsqueeze => {
                let axes = constants(1)?;
                let rank = rank? + axes.len();
                let axes = axes.into_iter().map(|a| fold::axis_of(a, rank)).collect::<Option<Vec<_>>>()?;
                let mut old = first.shape.as_ref()?.iter();
                (0..rank)
                    .map(|a| if axes.contains(&a) { Some(known(1)) } else { old.next().copied() })
                    .collect()
            }
            Operator::Slice => sliced(inputs, symbols),
            Operator::Gather => {
                let axis = fold::axis_of(attributes.integer("axis").unwrap_or(0), rank?)?;
                let mut shape = first.shape.as_ref()?.get(..axis)?.to_vec();
                shape.extend(input(1)?.shape.as_ref()?);
                shape.extend(first.shape.as_ref()?.get(axis + 1..)?);
                Some(shape)
            }
            Operator::GatherND => {
                let indices = input(1)?.shape.as_ref()?;
                let (depth, outer) = indices.split_last()?;
                let batch = attributes.integer("batch_dims").unwrap_or(0);
                let skip = usize::try_from(depth.known()?.checked_add(batch)?).ok()?;
                let mut shape = outer.to_vec();
                shape.extend(first.shape.as_ref()?.get(skip..)?);
                Some(shape)
            }
            Operator::Expand => {
                let target = elements::elements(input(1)?);
                let target = target.or_else(|| unknown_vector(input(1)?, symbols));
                symbols.broadcast(&first.shape, &target)
            }
            Operator::Tile => {
                let times = elements::elements(input(1)?);
                let axis = |(index, size): (usize, &Dimension)| {
                    let times = times.as_ref().and_then(|times| times.get(index)?.known());
                    match (size, times) {
                        (size, Some(1)) => *size,
                        (Dimension::Known(size), Some(times)) => {
                            symbols.known_or_fresh(size.checked_mul(times))
                        }
                        _ => symbols.fresh(),
                    }
                };
                Some(first.shape.as_ref()?.iter().enumerate().map(axis).collect())
            }
            Operator::Pad => {
                let pads = constants(1);
                let axis = |(index, size): (usize, &Dimension)| {
                    let total = pads
                        .as_ref()
                        .and_then(|pads| pads.get(index)?.checked_add(*pads.get(index + pads.len() / 2)?));
                    match total {
                        Some(0) => *size,
                        Some(total) => {
                            symbols.known_or_fresh(size.known().and_then(|size| size.checked_add(total)))
                        }
                        None => symbols.fresh(),
                    }
                };
                Some(first.shape.as_ref()?.iter().enumerate().map(axis).collect())
            }
            Operator::Einsum => contracted(attributes, inputs, symbols),
            Operator::Range => Some(vec![symbols.fresh()]),
            Operator::TopK => {
                let mut shape = first.shape.clone()?;
                let axis = fold::axis_of(attributes.integer("axis").unwrap_or(-1), shape.len())?;
                let count = constants(1).and_then(|count| count.first().copied());
                *shape.get_mut(axis)? = symbols.known_or_fresh(count);
                return Some(vec![Some(shape.clone()), Some(shape)]);
            }
            Operator::MatMul => multiplied(first.shape.as_ref()?, input(1)?.shape.as_ref()?, symbols),
            Operator::Conv | Operator::MaxPool | Operator::AveragePool => {
                windowed(operator, attributes, first, input(1), symbols)
            }
            Operator::DepthToSpace => {
                let block = attributes.integer("blocksize")?;
                let [n, c, h, w] = first.shape.as_deref()? else { return None };
                let times = |d: &Dimension| d.known().and_then(|size| size.checked_mul(block));
                let channels = c.known()?.checked_div(block.checked_mul(block)?)?;
                let (h, w) = (times(h), times(w));
                Some(vec![
                    *n,
                    Dimension::Known(channels),
                    symbols.known_or_fresh(h),
                    symbols.known_or_fresh(w),
                ])
            }
            Operator::Resize | Operator::ConvTranspose | Operator::SpaceToDepth => {
                let shape = first.shape.as_ref()?;
                let given = input(3).and_then(elements::elements).filter(|sizes| sizes.len() == shape.len());
                match given {
                    Some(sizes) => Some(sizes),
                    None => Some(shape.iter().map(|_| symbols.fresh()).collect()),
                }
            }
            _ => return None,
        },
    };
    Some(vec![shape; outputs])
}

/// A vector of known length whose elements nothing is known of.
fn unknown_vector(value: &Value, symbols: &mut Symbols) -> Shape {
    match value.shape.as_deref()? {
        [Dimension::Known(length @ 0..=64)] => Some((0..*length).map(|_| symbols.fresh()).collect()),
        _ => None,
    }
}

fn reduced(shape: &[Dimension], axes: Option<&[i64]>, keep: bool) -> Shape {
    let axes = match axes {
        Some(axes) => {
            axes.iter().map(|axis| fold::axis_of(*axis, shape.len())).collect::<Option<Vec<_>>>()?
        }
        None => (0..shape.len()).collect(),
    };
    let size = |(axis, size): (usize, &Dimension)| match (axes.contains(&axis), keep) {
        (false, _) => Some(*size),
        (true, true) => Some(known(1)),
        (true, false) => None,
    };
    Some(shape.iter().enumerate().filter_map(size).collect())
}

fn concatenated(axis: i64, inputs: &[Option<&Value>], symbols: &mut Symbols) -> Shape {
    let shapes = inputs.iter().map(|value| (*value)?.shape.clone()).collect::<Option<Vec<_>>>()?;
    let mut shape = shapes.first()?.clone();
    let axis = fold::axis_of(axis, shape.len())?;
    let total = shapes.iter().try_fold(0i64, |sum, part| sum.checked_add(part.get(axis)?.known()?));
    for part in &shapes {
        for (size, other) in shape.iter_mut().zip(part) {
            if let (Dimension::Symbol(_), Dimension::Known(_)) = (*size, other) {
                *size = *other;
            }
        }
    }
    *shape.get_mut(axis)? = symbols.known_or_fresh(total);
    Some(shape)
}

/// The shape that a reshape leads to. Symbols that are in both shapes cancel out.
fn reshaped(from: Option<&Vec<Dimension>>, target: &Value, symbols: &mut Symbols) -> Shape {
    let Some(mut shape) = elements::elements(target) else { return unknown_vector(target, symbols) };
    for (index, size) in shape.iter_mut().enumerate() {
        if *size == Dimension::Known(0) {
            *size = *from?.get(index)?;
        }
    }
    let inferred = shape.iter().position(|size| *size == Dimension::Known(-1));
    if let Some(index) = inferred {
        let size = from.and_then(|from| rest(from, &shape));
        *shape.get_mut(index)? = size.unwrap_or_else(|| symbols.fresh());
    }
    Some(shape)
}

/// The size that -1 is in `to`, if it follows.
fn rest(from: &[Dimension], to: &[Dimension]) -> Option<Dimension> {
    let mut left = Vec::new();
    let mut product = 1i64;
    for size in from {
        match size {
            Dimension::Known(size) => product = product.checked_mul(*size)?,
            Dimension::Symbol(_) => left.push(*size),
        }
    }
    let mut divisor = 1i64;
    for size in to.iter().filter(|size| **size != Dimension::Known(-1)) {
        match size {
            Dimension::Known(size) => divisor = divisor.checked_mul(*size)?,
            symbol => {
                let place = left.iter().position(|other| other == symbol)?;
                left.remove(place);
            }
        }
    }
    match left.as_slice() {
        [] if product.checked_rem(divisor)? == 0 => Some(Dimension::Known(product / divisor)),
        [symbol] if product == divisor => Some(*symbol),
        _ => None,
    }
}

fn sliced(inputs: &[Option<&Value>], symbols: &mut Symbols) -> Shape {
    let vector = |index: usize| inputs.get(index).copied().flatten()?.constant.as_ref()?.integers();
    let mut shape = (*inputs.first()?)?.shape.clone()?;
    let (starts, ends) = (vector(1), vector(2));
    let axes = match inputs.get(3).copied().flatten() {
        Some(_) => vector(3)?,
        None => (0..shape.len() as i64).collect(),
    };
    let steps = match inputs.get(4).copied().flatten() {
        Some(_) => vector(4)?,
        None => vec![1; axes.len()],
    };
    let rank = shape.len();
    for (index, (axis, step)) in axes.iter().zip(&steps).enumerate() {
        let size = shape.get_mut(fold::axis_of(*axis, rank)?)?;
        let bounds = starts.as_ref().zip(ends.as_ref());
        let bounds = bounds.and_then(|(starts, ends)| Some((*starts.get(index)?, *ends.get(index)?)));
        let all = matches!(bounds, Some((0, end)) if *step == 1 && end >= i64::from(i32::MAX))
            || matches!(bounds, Some((start, end))
                if *step == -1 && (start == -1 || start >= i64::from(i32::MAX)) && end <= i64::from(i32::MIN + 1));
        if all {
            continue;
        }
        let length = match (bounds, size.known()) {
            (Some((start, end)), Some(size)) => {
                fold::slice_axis(size, start, end, *step).map(|(_, length)| length)
            }
            _ => None,
        };
        *size = symbols.known_or_fresh(length);
    }
    Some(shape)
}

fn multiplied(a: &[Dimension], b: &[Dimension], symbols: &mut Symbols) -> Shape {
    let (Some((_, [rows @ .., _])), Some(_)) = (a.first().zip(Some(a)), b.first()) else { return None };
    let (outer_a, row) = match rows {
        [outer @ .., row] => (outer.to_vec(), Some(*row)),
        [] => (Vec::new(), None),
    };
    let (outer_b, column) = match b {
        [outer @ .., _, column] => (outer.to_vec(), Some(*column)),
        _ => (Vec::new(), None),
    };
    let mut shape = symbols.broadcast(&Some(outer_a), &Some(outer_b))?;
    shape.extend(row);
    shape.extend(column);
    Some(shape)
}

/// An `Einsum` without ellipses: each letter of the result has the size that it has in an input.
fn contracted(attributes: &Attributes, inputs: &[Option<&Value>], symbols: &mut Symbols) -> Shape {
    let Some(Attribute::Text(equation)) = attributes.get("equation") else { return None };
    let equation: String = std::str::from_utf8(equation).ok()?.split_whitespace().collect();
    let (terms, result) = equation.split_once("->")?;
    if equation.contains('.') {
        return None;
    }
    let mut sizes: Vec<(char, Dimension)> = Vec::new();
    for (term, input) in terms.split(',').zip(inputs) {
        let shape = (*input)?.shape.as_ref()?;
        for (letter, size) in term.chars().zip(shape) {
            match sizes.iter_mut().find(|(known, _)| *known == letter) {
                Some((_, known)) if known.known().is_none() => *known = *size,
                Some(_) => {}
                None => sizes.push((letter, *size)),
            }
        }
    }
    let size = |letter: char| sizes.iter().find(|(known, _)| *known == letter).map(|(_, size)| *size);
    Some(result.chars().map(|letter| size(letter).unwrap_or_else(|| symbols.fresh())).collect())
}

/// Convolutions and pools, channels first.
fn windowed(
    operator: Operator,
    attributes: &Attributes,
    input: &Value,
    kernel: Option<&Value>,
    symbols: &mut Symbols,
) -> Shape {
    let shape = input.shape.as_ref()?;
    let window = attributes.integers("kernel_shape")?;
    let ones = vec![1; window.len()];
    let strides = attributes.integers("strides").unwrap_or(&ones);
    let dilations = attributes.integers("dilations").unwrap_or(&ones);
    let pads = attributes.integers("pads");
    let same = matches!(attributes.get("auto_pad"), Some(Attribute::Text(mode)) if mode.starts_with(b"SAME"));
    let channels = match operator {
        Operator::Conv => *kernel?.shape.as_ref()?.first()?,
        _ => *shape.get(1)?,
    };
    let mut result = vec![*shape.first()?, channels];
    for (axis, window) in window.iter().enumerate() {
        let stride = *strides.get(axis)?;
        let pad = match pads {
            Some(pads) => pads.get(axis)?.checked_add(*pads.get(axis + pads.len() / 2)?)?,
            None => 0,
        };
        let reach = window.checked_sub(1)?.checked_mul(*dilations.get(axis)?)?.checked_add(1)?;
        let size = shape.get(axis + 2)?;
        let length = size.known().and_then(|size| match same {
            true => size.checked_add(stride - 1)?.checked_div(stride),
            false => size.checked_add(pad)?.checked_sub(reach)?.checked_div(stride)?.checked_add(1),
        });
        let unchanged = stride == 1 && (same || pad == reach - 1);
        result.push(if unchanged { *size } else { symbols.known_or_fresh(length) });
    }
    Some(result)
}
