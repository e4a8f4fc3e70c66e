//! RotaryEmbedding of ONNX and of com.microsoft: pairs of elements turned by their place.

use super::scaled::heads;
use crate::{
    operators::{
        Arguments, Built, Definition, OperatorError, Refusal,
        arguments::{owned_values, single, tensor_of, unfit},
        axes::index_of,
        number::Real,
        registry::Builder,
        types::for_reals,
        widen::in_float,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "RotaryEmbedding", rotary), ("com.microsoft", "RotaryEmbedding", rotary)];

/// The settings of a node, and where its inputs are.
#[derive(Clone, Copy, Debug)]
struct Plan {
    heads: Option<usize>,
    interleaved: bool,
    /// How many elements of a head are turned; all if it is not given.
    turned: Option<usize>,
    positions: usize,
    cosines: usize,
}

fn rotary(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let attributes = definition.attributes;
        // ONNX has the positions last, com.microsoft second.
        let foreign = definition.tensor_type(1)? == ElementType::Int64;
        let plan = Plan {
            heads: heads(definition, "num_heads")?,
            interleaved: attributes.flag("interleaved", false)?,
            turned: heads(definition, "rotary_embedding_dim")?,
            positions: if foreign { 1 } else { 3 },
            cosines: if foreign { 2 } else { 1 },
        };
        if foreign
            && (attributes.flag("is_packed_batching", false)?
                || attributes.float("scale")?.unwrap_or(1.0) != 1.0)
        {
            return Err(Refusal::new("RotaryEmbedding with a packed batch or a scale is not computed here"));
        }
        for index in [plan.cosines, plan.cosines + 1] {
            if definition.tensor_type(index)? != element_type {
                return Err(definition.unsupported_type(index));
            }
        }
        if definition.has_input(plan.positions)
            && definition.tensor_type(plan.positions)? != ElementType::Int64
        {
            return Err(definition.unsupported_type(plan.positions));
        }
        for_reals!(
            element_type,
            T => single(definition, element_type, move |mut arguments, _| {
                let tensor = arguments.take(0)?;
                turn::<T>(&plan, tensor, &arguments)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

fn turn<T: Real>(plan: &Plan, tensor: Tensor, arguments: &Arguments) -> Result<Tensor, OperatorError> {
    let shape = tensor.shape().to_vec();
    let cosine_tensor = arguments.tensor(plan.cosines)?;
    let (cosines, sines) = (arguments.values::<T>(plan.cosines)?, arguments.values::<T>(plan.cosines + 1)?);
    let half = cosine_tensor.shape().last().copied().unwrap_or(0);
    if arguments.tensor(plan.cosines + 1)?.shape() != cosine_tensor.shape() || half == 0 {
        return unfit(format!("the cosines have the shape {:?}, the sines another", cosine_tensor.shape()));
    }
    // Batch, heads, rows, size of a head; and whether heads are side by side.
    let (batch, heads, rows, size, side_by_side) = match shape.as_slice() {
        [batch, heads, rows, size] => (*batch, *heads, *rows, *size, false),
        [batch, rows, width] => {
            let heads = match plan.heads {
                Some(heads) => heads,
                // Without a number of heads, a head is as long as the cosines say.
                None => width / plan.turned.unwrap_or(2 * half).max(1),
            };
            if heads == 0 || width % heads != 0 {
                return unfit(format!("rows of {width} are not {heads} heads"));
            }
            (*batch, heads, *rows, width / heads, true)
        }
        _ => return unfit(format!("the shape {shape:?} is not of heads")),
    };
    let turned = plan.turned.unwrap_or(size);
    if turned > size || turned != 2 * half {
        return unfit(format!("{turned} of {size} elements of a head are to be turned by {half} cosines"));
    }
    let places = cosines.len() / half;
    let positions = arguments.optional_values::<i64>(plan.positions)?;
    let place_of = |image: usize, row: usize| -> Result<usize, OperatorError> {
        match positions {
            None if places == batch * rows => Ok(image * rows + row),
            None => unfit(format!("{places} rows of cosines are given for {batch} by {rows} places")),
            Some([offset]) if batch * rows != 1 => {
                index_of(offset.checked_add(row as i64).filter(|_| *offset >= 0).unwrap_or(i64::MAX), places)
            }
            Some(positions) if positions.len() == batch * rows => match positions[image * rows + row] {
                negative if negative < 0 => unfit(format!("the position {negative} is below 0")),
                position => index_of(position, places),
            },
            Some(positions) => {
                unfit(format!("{} positions are given for {batch} by {rows}", positions.len()))
            }
        }
    };
    let mut values = owned_values::<T>(tensor)?;
    for image in 0..batch {
        for row in 0..rows {
            let place = place_of(image, row)?;
            let (cosines, sines) = (&cosines[place * half..][..half], &sines[place * half..][..half]);
            for head in 0..heads {
                let start = if side_by_side {
                    ((image * rows + row) * heads + head) * size
                } else {
                    ((image * heads + head) * rows + row) * size
                };
                let own = &mut values[start..start + turned];
                for (number, (cosine, sine)) in cosines.iter().zip(sines).enumerate() {
                    let (a, b) =
                        if plan.interleaved { (2 * number, 2 * number + 1) } else { (number, half + number) };
                    let (real, imaginary) = (own[a], own[b]);
                    own[a] = *cosine * real - *sine * imaginary;
                    own[b] = *sine * real + *cosine * imaginary;
                }
            }
        }
    }
    tensor_of(shape, values)
}
