//! Tensors that do not come from other tensors' elements: Constant, ConstantOfShape,
//! EyeLike, Range; and what is known of a tensor without them: Shape, Size.

use super::{
    Attribute, Built, Context, Definition, OperatorError, Refusal,
    arguments::{Arguments, integers_of, single, tensor_of, unfit, values_of},
    axes::sizes_of_input,
    cast::only,
    number::Number,
    registry::Builder,
    types::{for_every_type, for_numbers, for_types},
    widen::in_float,
};
use crate::tensor::{Element, ElementType, Shape, Tensor};

/// The operators of this family.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "Constant", constant),
    ("", "ConstantOfShape", constant_of_shape),
    ("", "EyeLike", eye_like),
    ("", "Range", range),
    ("", "Shape", shape),
    ("", "Size", size),
];

/// The value of a Constant node.
pub(crate) fn constant_value(definition: &Definition<'_>) -> Result<Tensor, Refusal> {
    let mut values = definition.attributes.iter().filter(|(name, _)| name.starts_with("value"));
    let (Some((_, value)), None) = (values.next(), values.next()) else {
        return Err(Refusal::new("Constant has no value, or more than one"));
    };
    Ok(match value {
        Attribute::Tensor(tensor) => tensor.clone(),
        Attribute::Float(value) => Tensor::scalar(*value),
        Attribute::Integer(value) => Tensor::scalar(*value),
        Attribute::Text(value) => Tensor::scalar(value.clone()),
        Attribute::Floats(values) => Tensor::vector(values.clone()),
        Attribute::Integers(values) => Tensor::vector(values.clone()),
        Attribute::Texts(values) => Tensor::vector(values.clone()),
        other @ (Attribute::Type(_) | Attribute::NestedType(_)) => {
            return Err(Refusal::new(format!(
                "the value of Constant is {}; expected a tensor",
                other.kind()
            )));
        }
    })
}

fn constant(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let value = constant_value(definition)?;
    single(definition, value.element_type(), move |_, _| Ok(value.clone()))
}

fn constant_of_shape(definition: &Definition<'_>) -> Result<Built, Refusal> {
    if definition.tensor_type(0)? != ElementType::Int64 {
        return Err(definition.unsupported_type(0));
    }
    let value = match definition.attributes.tensor("value")? {
        Some(value) if value.len() == 1 => value.clone(),
        Some(value) => {
            return Err(Refusal::new(format!("the value has {} elements; expected one", value.len())));
        }
        None => Tensor::scalar(0_f32),
    };
    for_every_type!(
        value.element_type(),
        T => {
            let element: T = only(&value, "the value").map_err(|error| Refusal::new(error.to_string()))?;
            single(definition, value.element_type(), move |arguments, context| {
                let shape = sizes_of_input(&integers_of(arguments.tensor(0)?)?, "a size of the shape")?;
                filled(shape, &element, context)
            })
        },
        Err(Refusal::new("the value's type is not computed here"))
    )
}

fn filled<T: Element>(shape: Shape, element: &T, context: &Context<'_>) -> Result<Tensor, OperatorError> {
    let count = context.reserve(T::TYPE, &shape)?;
    tensor_of(shape, vec![element.clone(); count])
}

/// The type that a `dtype` attribute names.
pub(crate) fn type_attribute(definition: &Definition<'_>) -> Result<Option<ElementType>, Refusal> {
    let Some(number) = definition.attributes.integer("dtype")? else { return Ok(None) };
    i32::try_from(number)
        .ok()
        .and_then(ElementType::from_onnx)
        .map(Some)
        .ok_or_else(|| Refusal::new(format!("the type with the number {number} is not computed here")))
}

fn eye_like(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = match type_attribute(definition)? {
        Some(element_type) => element_type,
        None => definition.tensor_type(0)?,
    };
    let diagonal = definition.attributes.integer("k")?.unwrap_or(0);
    fn eye<T: Element>(
        arguments: &Arguments,
        context: &Context<'_>,
        diagonal: i64,
        one: T,
    ) -> Result<Tensor, OperatorError> {
        let shape = arguments.tensor(0)?.shape();
        let [rows, columns] = shape else {
            return unfit(format!("EyeLike takes a matrix; found the shape {shape:?}"));
        };
        let count = context.reserve(T::TYPE, shape)?;
        let mut values = vec![T::default(); count];
        for row in 0..*rows {
            let column = i64::try_from(row).ok().and_then(|row| row.checked_add(diagonal));
            if let Some(column) = column.and_then(|column| usize::try_from(column).ok())
                && column < *columns
            {
                values[row * columns + column] = one.clone();
            }
        }
        tensor_of(shape, values)
    }
    if element_type == ElementType::Bool {
        return single(definition, element_type, move |arguments, context| {
            eye::<bool>(&arguments, context, diagonal, true)
        });
    }
    for_numbers!(
        element_type,
        T => single(definition, element_type, move |arguments, context| {
            eye::<T>(&arguments, context, diagonal, T::ONE)
        }),
        Err(Refusal::new(format!("EyeLike of {element_type} is not known")))
    )
}

fn range(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        for index in [1, 2] {
            if definition.tensor_type(index)? != element_type {
                return Err(definition.unsupported_type(index));
            }
        }
        for_types!(
            element_type,
            [f32, f64, i8, i16, i32, i64, u8, u16, u32, u64],
            T => single(definition, element_type, |arguments, context| {
                let start: T = only(arguments.tensor(0)?, "the start")?;
                let limit: T = only(arguments.tensor(1)?, "the limit")?;
                let step: T = only(arguments.tensor(2)?, "the step")?;
                let count = steps(start, limit, step)?;
                let count = context.reserve(T::TYPE, &[count])?;
                let mut values = Vec::with_capacity(count);
                if T::WHOLE {
                    let mut value = start;
                    for _ in 0..count {
                        values.push(value);
                        value = value.plus(step);
                    }
                } else {
                    values.extend((0..count).map(|index| start.plus(T::from_i64(index as i64).times(step))));
                }
                Ok(Tensor::vector(values))
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

/// How many steps are before the limit.
fn steps<T: Number>(start: T, limit: T, step: T) -> Result<usize, OperatorError> {
    if step == T::ZERO || step.is_nan() || start.is_nan() || limit.is_nan() {
        return unfit(format!("a range from {start} to {limit} in steps of {step} has no end"));
    }
    if T::WHOLE {
        // Every whole type fits 128 bits: `Display` is the one conversion that loses nothing.
        let exact = |value: T| value.to_string().parse::<i128>().unwrap_or(0);
        let (distance, step) = (exact(limit) - exact(start), exact(step));
        if distance == 0 || (distance < 0) != (step < 0) {
            return Ok(0);
        }
        let (distance, step) = (distance.unsigned_abs(), step.unsigned_abs());
        return usize::try_from(distance.div_ceil(step))
            .or_else(|_| unfit("the range has too many elements for any machine"));
    }
    let count = ((limit.to_f64() - start.to_f64()) / step.to_f64()).ceil();
    if count >= 9e18 {
        return unfit(format!("a range from {start} to {limit} in steps of {step} is too long"));
    }
    Ok(if count > 0.0 { count as usize } else { 0 })
}

fn shape(definition: &Definition<'_>) -> Result<Built, Refusal> {
    definition.tensor_type(0)?;
    let attributes = definition.attributes;
    let start = attributes.integer("start")?.unwrap_or(0);
    let end = attributes.integer("end")?;
    single(definition, ElementType::Int64, move |arguments, _| {
        let shape = arguments.tensor(0)?.shape();
        let rank = shape.len() as i64;
        let place = |place: i64| {
            let place = if place < 0 { place.saturating_add(rank) } else { place };
            place.clamp(0, rank) as usize
        };
        let (start, end) = (place(start), place(end.unwrap_or(rank)));
        let sizes = shape.get(start..end).unwrap_or(&[]);
        Ok(Tensor::vector(sizes.iter().map(|size| *size as i64).collect::<Vec<i64>>()))
    })
}

fn size(definition: &Definition<'_>) -> Result<Built, Refusal> {
    definition.tensor_type(0)?;
    single(definition, ElementType::Int64, |arguments, _| {
        Ok(Tensor::scalar(arguments.tensor(0)?.len() as i64))
    })
}

/// The elements of a tensor of one dimension or none.
pub(crate) fn list<'a, T: Element>(tensor: &'a Tensor, what: &str) -> Result<&'a [T], OperatorError> {
    if tensor.rank() > 1 {
        return unfit(format!("{what} has the shape {:?}; expected one dimension", tensor.shape()));
    }
    values_of(tensor)
}
