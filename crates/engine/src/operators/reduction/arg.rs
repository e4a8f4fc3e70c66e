//! ArgMax and ArgMin: of equals the first, or the last if the node asks.

use super::Rows;
use crate::{
    operators::{
        Built, Definition, Refusal,
        arguments::{single, unfit},
        axes::axis_of,
        definition::Builder,
        types::for_numbers,
    },
    tensor::ElementType,
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("", "ArgMax", arg), ("", "ArgMin", arg)];

fn arg(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let axis = definition.attributes.integer("axis")?.unwrap_or(0);
    let keep = definition.attributes.flag("keepdims", true)?;
    let last = definition.attributes.flag("select_last_index", false)?;
    let greatest = definition.operator == "ArgMax";
    for_numbers!(
        element_type,
        T => single(definition, ElementType::Int64, move |arguments, context| {
            let tensor = arguments.tensor(0)?;
            let axis = axis_of(axis, tensor.rank())?;
            let rows = Rows::<T>::new(tensor, &[axis], context)?;
            if rows.length == 0 && rows.count > 0 {
                return unfit("the greatest or least of no elements is asked for");
            }
            rows.reduce(keep, context, |row| {
                let mut best = 0;
                for (place, value) in row.iter().enumerate().skip(1) {
                    let (own, found) = (row[best], *value);
                    let better = if greatest { found > own } else { found < own };
                    if better || (last && found == own) {
                        best = place;
                    }
                }
                best as i64
            })
        }),
        Err(definition.unsupported_type(0))
    )
}
