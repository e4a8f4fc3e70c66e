//! `QuantizeLinear` and `DequantizeLinear`: by tensor, along a dimension, or by blocks.

use half::{bf16, f16};

use super::{
    number::{Quantized, check_same_type, for_quantized_type, integers, singles},
    scales::check_scale,
};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        operands::{Operands, broken, check_arity, output},
    },
    tensor::{Element, ElementType, Elements, Tensor, Value, element_count},
};

/// Where scales apply.
#[derive(Clone, Copy, Debug)]
struct Granularity {
    axis: i64,
    /// How many elements along the dimension share a scale; 0 where scales are of the
    /// whole tensor or of each position along the dimension.
    block: usize,
}

impl Granularity {
    fn read(definition: &Definition<'_>) -> Result<Self, Refusal> {
        let axis = definition.attributes.integer("axis")?.unwrap_or(1);
        let block = definition.attributes.integer("block_size")?.unwrap_or(0);
        let block = usize::try_from(block).map_err(|_| {
            Refusal::new(format!("the attribute block_size is {block}; at least 0 is expected"))
        })?;
        Ok(Self { axis, block })
    }

    /// How the elements of a tensor find their scales.
    fn layout(self, shape: &[usize], scales: &Tensor) -> Result<Layout, OperatorError> {
        let whole = Layout { inner: 1, length: 1, block: 1, blocks: 1, has_outer: false };
        let wrong = || {
            OperatorError::inputs(format!(
                "scales of the shape {:?} do not fit a tensor of the shape {shape:?} along its dimension {}",
                scales.shape(),
                self.axis
            ))
        };
        if self.block == 0 && scales.len() == 1 {
            return Ok(whole);
        }
        let rank = shape.len() as i64;
        let axis = if self.axis < 0 { self.axis + rank } else { self.axis };
        let axis = usize::try_from(axis).ok().filter(|axis| *axis < shape.len()).ok_or_else(wrong)?;
        let (length, inner) = (shape[axis], element_count(&shape[axis + 1..]).ok_or_else(wrong)?);
        if self.block == 0 {
            if scales.shape() != [length] {
                return Err(wrong());
            }
            return Ok(Layout { inner, length, block: 1, blocks: length, has_outer: false });
        }
        let mut expected = shape.to_vec();
        expected[axis] = length.div_ceil(self.block);
        if scales.shape() != expected {
            return Err(wrong());
        }
        Ok(Layout { inner, length, block: self.block, blocks: expected[axis], has_outer: true })
    }
}

/// Where the scale of each element lies: elements are `[outer, length, inner]`, scales
/// `[blocks]` or, by blocks, `[outer, blocks, inner]`.
#[derive(Clone, Copy, Debug)]
struct Layout {
    inner: usize,
    length: usize,
    block: usize,
    blocks: usize,
    has_outer: bool,
}

impl Layout {
    /// Visits runs of elements: the first, the number, the index of the first one's
    /// scale and whether the next element has the next scale.
    fn for_each_run(self, count: usize, mut visit: impl FnMut(usize, usize, usize, bool)) {
        if self.blocks == 1 && !self.has_outer {
            return visit(0, count, 0, false);
        }
        let rows = count.checked_div(self.inner).unwrap_or(0);
        for row in 0..rows {
            let (outer, position) = (row / self.length, row % self.length);
            let block = position / self.block;
            let (scale, advances) = if self.has_outer {
                ((outer * self.blocks + block) * self.inner, true)
            } else {
                (block, false)
            };
            visit(row * self.inner, self.inner, scale, advances);
        }
    }
}

#[derive(Debug)]
struct Quantize {
    granularity: Granularity,
    to: ElementType,
}

/// The type that an attribute names; `None` if it is 0 or left out.
fn named_type(definition: &Definition<'_>) -> Result<Option<ElementType>, Refusal> {
    match definition.attributes.integer("output_dtype")? {
        None | Some(0) => Ok(None),
        Some(number) => {
            i32::try_from(number).ok().and_then(ElementType::from_onnx).map(Some).ok_or_else(|| {
                Refusal::new(format!("the attribute output_dtype is {number}, a type that is not computed"))
            })
        }
    }
}

pub(super) fn build_quantize(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 2..=3, 1)?;
    match definition.tensor_type(0)? {
        ElementType::Float | ElementType::Half | ElementType::Bfloat16 | ElementType::Int32 => {}
        _ => return Err(definition.unsupported_type(0)),
    }
    check_scale(definition, 1)?;
    let named = named_type(definition)?;
    let to = match definition.input_type(2) {
        Some(zero_point) => zero_point.tensor().ok_or_else(|| definition.unsupported_type(2))?,
        None => named.unwrap_or(ElementType::Uint8),
    };
    if for_quantized_type!(to, T => T::MINIMUM).is_none() {
        return Err(Refusal::new(format!("{to} is not a type that is quantised to")));
    }
    if named.is_some_and(|named| named != to) {
        return Err(Refusal::new("the attribute output_dtype is not the type of the zero point"));
    }
    Ok(Built::tensor(Quantize { granularity: Granularity::read(definition)?, to }, to))
}

impl Quantize {
    fn quantize<X: Copy, T: Quantized>(
        values: &[X],
        read: impl Fn(X, f32) -> f32,
        (scales, zero_points): (&[f32], &[i32]),
        layout: Layout,
    ) -> Vec<T> {
        let mut quantized = Vec::with_capacity(values.len());
        layout.for_each_run(values.len(), |start, count, scale, advances| {
            let run = &values[start..start + count];
            if advances {
                quantized.extend(run.iter().enumerate().map(|(index, value)| {
                    let zero_point = zero_points.get(scale + index).copied().unwrap_or(0);
                    T::round(read(*value, scales[scale + index]), zero_point)
                }));
            } else {
                let zero_point = zero_points.get(scale).copied().unwrap_or(0);
                let scale = scales[scale];
                quantized.extend(run.iter().map(|value| T::round(read(*value, scale), zero_point)));
            }
        });
        quantized
    }

    fn run_as<T: Quantized>(
        tensor: &Tensor,
        parameters: (&[f32], &[i32]),
        layout: Layout,
    ) -> Result<Value, OperatorError> {
        let quantized: Vec<T> = match tensor.elements() {
            Elements::Float(values) => Self::quantize(values, |x, scale| x / scale, parameters, layout),
            Elements::Half(values) => {
                Self::quantize(values, |x: f16, scale| x.to_f32() / scale, parameters, layout)
            }
            Elements::Bfloat16(values) => {
                Self::quantize(values, |x: bf16, scale| x.to_f32() / scale, parameters, layout)
            }
            Elements::Int32(values) => {
                let divide = |x: i32, scale: f32| (f64::from(x) / f64::from(scale)) as f32;
                Self::quantize(values, divide, parameters, layout)
            }
            _ => return Err(broken("a tensor is not of numbers that are quantised")),
        };
        output(tensor.shape(), quantized)
    }
}

/// The zero points, which must be as many as the scales, or none.
fn zero_points(tensor: Option<&Tensor>, scales: &Tensor) -> Result<Vec<i32>, OperatorError> {
    match tensor {
        None => Ok(Vec::new()),
        Some(tensor) if tensor.len() == scales.len() => integers(tensor),
        Some(tensor) => Err(OperatorError::inputs(format!(
            "the zero point has the shape {:?}, the scale {:?}; the same is expected",
            tensor.shape(),
            scales.shape()
        ))),
    }
}

impl Operator for Quantize {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (tensor, scales) = (operands.tensor(0)?, operands.tensor(1)?);
        let zero_points = zero_points(operands.optional_tensor(2)?.as_ref(), &scales)?;
        let layout = self.granularity.layout(tensor.shape(), &scales)?;
        let scales = singles(&scales)?;
        context.reserve(self.to, tensor.shape())?;
        let quantized =
            for_quantized_type!(self.to, T => Self::run_as::<T>(&tensor, (&scales, &zero_points), layout));
        Ok(vec![quantized.ok_or_else(|| broken("a type is not quantised to"))??])
    }
}

#[derive(Debug)]
struct Dequantize {
    granularity: Granularity,
    to: ElementType,
}

pub(super) fn build_dequantize(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 2..=3, 1)?;
    let from = definition.tensor_type(0)?;
    if from != ElementType::Int32 && for_quantized_type!(from, T => T::MINIMUM).is_none() {
        return Err(definition.unsupported_type(0));
    }
    check_same_type(definition, 2, from)?;
    let scale = check_scale(definition, 1)?;
    let to = match named_type(definition)? {
        None => scale,
        Some(named @ (ElementType::Float | ElementType::Half | ElementType::Bfloat16)) => named,
        Some(other) => return Err(Refusal::new(format!("{other} is not a type that is dequantised to"))),
    };
    Ok(Built::tensor(Dequantize { granularity: Granularity::read(definition)?, to }, to))
}

impl Dequantize {
    fn dequantize<T: Copy + Into<i32>>(
        values: &[T],
        (scales, zero_points): (&[f32], &[i32]),
        layout: Layout,
    ) -> Vec<f32> {
        let mut real = Vec::with_capacity(values.len());
        // 32-bit integers less a zero point may not fit 32 bits: 64 are used.
        let compute = |value: T, scale: f32, zero_point: i32| {
            (i64::from(value.into()) - i64::from(zero_point)) as f32 * scale
        };
        layout.for_each_run(values.len(), |start, count, scale, advances| {
            let run = &values[start..start + count];
            if advances {
                real.extend(run.iter().enumerate().map(|(index, value)| {
                    compute(
                        *value,
                        scales[scale + index],
                        zero_points.get(scale + index).copied().unwrap_or(0),
                    )
                }));
            } else {
                let zero_point = zero_points.get(scale).copied().unwrap_or(0);
                let scale = scales[scale];
                real.extend(run.iter().map(|value| compute(*value, scale, zero_point)));
            }
        });
        real
    }
}

impl Operator for Dequantize {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (tensor, scales) = (operands.tensor(0)?, operands.tensor(1)?);
        let zero_points = zero_points(operands.optional_tensor(2)?.as_ref(), &scales)?;
        let layout = self.granularity.layout(tensor.shape(), &scales)?;
        let scales = singles(&scales)?;
        let parameters = (scales.as_slice(), zero_points.as_slice());
        context.reserve(ElementType::Float, tensor.shape())?;
        let real = match tensor.elements() {
            Elements::Int8(values) => Self::dequantize(values, parameters, layout),
            Elements::Uint8(values) => Self::dequantize(values, parameters, layout),
            Elements::Int16(values) => Self::dequantize(values, parameters, layout),
            Elements::Uint16(values) => Self::dequantize(values, parameters, layout),
            Elements::Int32(values) => Self::dequantize(values, parameters, layout),
            _ => return Err(broken("a tensor is not of quantised numbers")),
        };
        Ok(vec![real_output(tensor.shape(), real, self.to)?])
    }
}

/// Real numbers in the type of an output.
fn real_output(shape: &[usize], values: Vec<f32>, to: ElementType) -> Result<Value, OperatorError> {
    fn convert<T: Element>(values: &[f32], change: impl Fn(f32) -> T) -> Vec<T> {
        values.iter().map(|value| change(*value)).collect()
    }
    match to {
        ElementType::Half => output(shape, convert(&values, f16::from_f32)),
        ElementType::Bfloat16 => output(shape, convert(&values, bf16::from_f32)),
        _ => output(shape, values),
    }
}
