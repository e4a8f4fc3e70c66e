//! Scatter, ScatterElements, ScatterND: a tensor with some elements replaced or added to.

use super::{
    Built, Definition, OperatorError, Refusal,
    arguments::{integers_of, owned_values, single, tensor_of, unfit, values_of},
    axes::product,
    movement::gather::{block_places, element_places, needs_indices},
    number::Number,
    registry::Builder,
    types::{for_every_type, for_numbers},
};
use crate::tensor::{Element, ElementType, Tensor};

/// The operators of this family.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "Scatter", scatter_elements),
    ("", "ScatterElements", scatter_elements),
    ("", "ScatterND", scatter_many),
];

/// How a new value and the one at its place become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reduction {
    Replace,
    Add,
    Multiply,
    Greatest,
    Least,
}

impl Reduction {
    fn of(definition: &Definition<'_>) -> Result<Self, Refusal> {
        Ok(match definition.attributes.text("reduction")? {
            None | Some("none") => Self::Replace,
            Some("add") => Self::Add,
            Some("mul") => Self::Multiply,
            Some("max") => Self::Greatest,
            Some("min") => Self::Least,
            Some(other) => return Err(Refusal::new(format!("the reduction {other:?} is not known"))),
        })
    }

    fn function<T: Number>(self) -> fn(T, T) -> T {
        match self {
            Self::Replace => |_, new| new,
            Self::Add => T::plus,
            Self::Multiply => T::times,
            Self::Greatest => T::greatest,
            Self::Least => T::least,
        }
    }
}

/// Writes blocks of `length` elements.
fn write(
    tensor: Tensor,
    updates: &Tensor,
    places: &[usize],
    length: usize,
    reduction: Reduction,
) -> Result<Tensor, OperatorError> {
    fn each<T: Element>(
        tensor: Tensor,
        updates: &Tensor,
        places: &[usize],
        length: usize,
        function: impl Fn(&mut T, &T),
    ) -> Result<Tensor, OperatorError> {
        let shape = tensor.shape().to_vec();
        let updates = values_of::<T>(updates)?;
        let mut values = owned_values::<T>(tensor)?;
        if length > 0 {
            for (place, update) in places.iter().zip(updates.chunks_exact(length)) {
                for (value, new) in values[*place..*place + length].iter_mut().zip(update) {
                    function(value, new);
                }
            }
        }
        tensor_of(shape, values)
    }
    let element_type = tensor.element_type();
    if reduction == Reduction::Replace {
        return for_every_type!(
            element_type,
            T => each::<T>(tensor, updates, places, length, |value, new| value.clone_from(new)),
            unfit("this type can't be written")
        );
    }
    if element_type == ElementType::Bool {
        return each::<bool>(tensor, updates, places, length, |value, new| match reduction {
            Reduction::Add | Reduction::Greatest => *value |= *new,
            _ => *value &= *new,
        });
    }
    for_numbers!(
        element_type,
        T => {
            let function = reduction.function::<T>();
            each::<T>(tensor, updates, places, length, |value, new| *value = function(*value, *new))
        },
        unfit("values of this type can't be reduced")
    )
}

fn same_types(definition: &Definition<'_>) -> Result<(ElementType, Reduction), Refusal> {
    let element_type = definition.tensor_type(0)?;
    needs_indices(definition, 1)?;
    if definition.tensor_type(2)? != element_type {
        return Err(definition.unsupported_type(2));
    }
    let reduction = Reduction::of(definition)?;
    if element_type == ElementType::Text && reduction != Reduction::Replace {
        return Err(Refusal::new("texts can't be reduced"));
    }
    Ok((element_type, reduction))
}

fn scatter_elements(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let (element_type, reduction) = same_types(definition)?;
    let axis = definition.attributes.integer("axis")?.unwrap_or(0);
    single(definition, element_type, move |mut arguments, context| {
        let tensor = arguments.take(0)?;
        let (indices, updates) = (arguments.tensor(1)?, arguments.tensor(2)?);
        if indices.shape() != updates.shape() {
            return unfit(format!(
                "{:?} indices are given for {:?} updates",
                indices.shape(),
                updates.shape()
            ));
        }
        let places = element_places(tensor.shape(), indices, axis, context)?;
        write(tensor, updates, &places, 1, reduction)
    })
}

fn scatter_many(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let (element_type, reduction) = same_types(definition)?;
    single(definition, element_type, move |mut arguments, _| {
        let tensor = arguments.take(0)?;
        let (indices, updates) = (arguments.tensor(1)?, arguments.tensor(2)?);
        let data = tensor.shape();
        let Some((length, outer)) = indices.shape().split_last() else {
            return unfit("the indices of ScatterND have no dimension");
        };
        let mut expected = outer.to_vec();
        expected.extend(data.get(*length..).unwrap_or(&[]));
        if *length > data.len() || updates.shape() != expected {
            return unfit(format!(
                "indices of the shape {:?} and updates of the shape {:?} do not fit data of the shape {data:?}",
                indices.shape(),
                updates.shape()
            ));
        }
        let places = block_places(data, &integers_of(indices)?, *length, product(outer))?;
        let block = product(&data[*length..]);
        write(tensor, updates, &places, block, reduction)
    })
}
