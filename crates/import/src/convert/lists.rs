//! The operators of lists of tensors, which loops read from and write to.

use super::{
    call::{Call, Refusal, unsupported},
    datum::{Datum, List},
};
use crate::{
    graph::{Operator, ValueId},
    tensor::ElementType,
};

/// Converts an operator of this family; `None` if it is of another.
pub(crate) fn convert<'m>(call: &mut Call<'_, 'm>) -> Option<Result<Datum<'m>, Refusal>> {
    Some(match call.operator() {
        "TensorListFromTensor" => call.tensor(0).map(|id| Datum::List(List::Stacked(id))),
        "TensorListReserve" => reserve(call),
        "TensorListGetItem" => get(call).map(Datum::Tensor),
        "TensorListSetItem" => set(call),
        "TensorListStack" => stack(call).map(Datum::Tensor),
        "TensorListLength" => length(call).map(Datum::Tensor),
        "TensorListGather" => gather(call).map(Datum::Tensor),
        _ => return None,
    })
}

fn list<'c>(call: &'c Call<'_, '_>) -> Result<&'c List, Refusal> {
    match call.inputs.first() {
        Some(Datum::List(list)) => Ok(list),
        _ => unsupported("its first input is not a list of tensors"),
    }
}

fn stacked(call: &Call<'_, '_>) -> Result<ValueId, Refusal> {
    match list(call)? {
        List::Stacked(id) => Ok(*id),
        List::Reserved(..) => unsupported("a list is read of which nothing is set"),
        List::Open(_) | List::Written { .. } => unsupported("a list is read in the loop that fills it"),
    }
}

fn reserve<'m>(call: &mut Call<'_, 'm>) -> Result<Datum<'m>, Refusal> {
    Ok(Datum::List(List::Reserved(call.tensor(1)?, call.type_attribute("element_dtype")?)))
}

fn get(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (all, index) = (stacked(call)?, call.tensor(1)?);
    call.gather(all, index, 0)
}

fn set<'m>(call: &mut Call<'_, 'm>) -> Result<Datum<'m>, Refusal> {
    let (index, element) = (call.tensor(1)?, call.tensor(2)?);
    match list(call)? {
        List::Open(list) => Ok(Datum::List(List::Written { list: *list, index, element })),
        List::Written { .. } => unsupported("a turn of a loop writes two elements of a list"),
        List::Stacked(_) | List::Reserved(..) => unsupported("a list is written outside a loop"),
    }
}

fn stack(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    stacked(call)
}

fn length(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let length = match list(call)? {
        List::Reserved(length, _) => *length,
        List::Stacked(id) => {
            let id = *id;
            let length = call.size_of(id, 0)?;
            call.squeeze(length, &[0])?
        }
        List::Open(_) | List::Written { .. } => {
            return unsupported("the length of a list is read in the loop that fills it");
        }
    };
    call.cast(length, ElementType::Int32)
}

fn gather(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (all, indices) = (stacked(call)?, call.tensor(1)?);
    call.gather(all, indices, 0)
}

/// The elements of a list of a known length, of which a loop has written the
/// first: the rest are zeros, as TensorFlow leaves them.
pub(crate) fn filled_up(
    call: &mut Call<'_, '_>,
    written: ValueId,
    length: ValueId,
) -> Result<ValueId, Refusal> {
    let length = call.cast(length, ElementType::Int64)?;
    let length = call.reshape_to(length, &[1])?;
    let shape = call.shape_of(written)?;
    let count = call.slice(shape, &[0], &[1], &[0], &[1])?;
    let element = call.slice(shape, &[1], &[i64::MAX], &[0], &[1])?;
    let missing = call.apply(Operator::Sub, &[length, count])?;
    let zero = call.scalar(call.kind(written), 0.0)?;
    let shape = call.concat(&[missing, element], 0)?;
    let zeros = call.apply(Operator::Expand, &[zero, shape])?;
    call.concat(&[written, zeros], 0)
}
