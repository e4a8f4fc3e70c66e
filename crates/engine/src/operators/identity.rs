//! Operators that pass a tensor on: Identity, Dropout. Identity of sequences and
//! optionals passes them on too.

use super::{
    Built, Context, Definition, Operator, OperatorError, Refusal,
    arguments::{fault, several, tensor_of, unfit},
    definition::Builder,
    number::Number,
    random::Generator,
    types::for_reals,
    widen::in_float,
};
use crate::tensor::{ElementType, Tensor, Value};

/// The operators of this family.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "Identity", identity), ("", "Dropout", dropout)];

#[derive(Debug)]
struct Identity;

impl Operator for Identity {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        match inputs.into_iter().next().flatten() {
            Some(value) => Ok(vec![value]),
            None => Err(fault("input 0 is not there")),
        }
    }
}

fn identity(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let value_type = definition.input_type(0).ok_or_else(|| Refusal::new("input 0 is missing"))?;
    Ok(Built { operator: Box::new(Identity), types: vec![value_type.clone()] })
}

/// Dropout passes its input on, and says that it kept every element. With training_mode
/// true it drops elements by a generator with the node's seed (0 if it has none).
fn dropout(definition: &Definition<'_>) -> Result<Built, Refusal> {
    if !definition.has_input(2) {
        let element_type = definition.tensor_type(0)?;
        let mask_type = if definition.opset < 10 { element_type } else { ElementType::Bool };
        let masked = definition.outputs > 1;
        return several(definition, vec![element_type, mask_type], move |mut arguments, context| {
            let tensor = arguments.take(0)?;
            if !masked {
                return Ok(vec![tensor]);
            }
            keep_all(tensor, mask_type, context)
        });
    }
    if definition.tensor_type(2)? != ElementType::Bool {
        return Err(definition.unsupported_type(2));
    }
    in_float(definition, trained)
}

fn keep_all(
    tensor: Tensor,
    mask_type: ElementType,
    context: &Context<'_>,
) -> Result<Vec<Tensor>, OperatorError> {
    let count = context.reserve(mask_type, tensor.shape())?;
    let mask = if mask_type == ElementType::Bool {
        tensor_of(tensor.shape(), vec![true; count])?
    } else {
        super::cast::convert(tensor_of(tensor.shape(), vec![true; count])?, mask_type, context)?
    };
    Ok(vec![tensor, mask])
}

fn trained(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let seed = definition.attributes.integer("seed")?.unwrap_or(0);
    let element_type = definition.tensor_type(0)?;
    let has_ratio = definition.has_input(1);
    for_reals!(
        element_type,
        T => several(definition, vec![element_type, ElementType::Bool], move |mut arguments, context| {
            let training = super::cast::only::<bool>(arguments.tensor(2)?, "training_mode")?;
            let ratio = if has_ratio {
                match super::cast::as_doubles(arguments.tensor(1)?)?.as_slice() {
                    [ratio] if (0.0..1.0).contains(ratio) => *ratio,
                    _ => return unfit("the ratio of Dropout is not one number from 0 to below 1"),
                }
            } else {
                0.5
            };
            let tensor = arguments.take(0)?;
            if !training || ratio == 0.0 {
                return keep_all(tensor, ElementType::Bool, context);
            }
            let shape = tensor.shape().to_vec();
            let mut generator = Generator::new(seed);
            let count = context.reserve(ElementType::Bool, &shape)?;
            let kept: Vec<bool> = (0..count).map(|_| generator.uniform() >= ratio).collect();
            let scale = T::from_f64(1.0 / (1.0 - ratio));
            let mut values = super::arguments::owned_values::<T>(tensor)?;
            for (value, kept) in values.iter_mut().zip(&kept) {
                *value = if *kept { *value * scale } else { T::ZERO };
            }
            Ok(vec![tensor_of(shape.as_slice(), values)?, tensor_of(shape, kept)?])
        }),
        Err(definition.unsupported_type(0))
    )
}
