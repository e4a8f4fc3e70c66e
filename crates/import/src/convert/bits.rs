//! Bit patterns of floating-point numbers. ONNX has no cast of bits before
//! operator set 26; the sign bit, which Keras looks at to tell -0 from 0, can be
//! computed.

use super::{
    call::{Call, Refusal, unsupported},
    datum::Datum,
};
use crate::{
    graph::{Operator, ValueId},
    tensor::ElementType,
};

/// `Bitcast`: to integers of the same width it is kept for what reads it.
pub(crate) fn cast<'m>(call: &mut Call<'_, 'm>) -> Result<Datum<'m>, Refusal> {
    let input = call.tensor(0)?;
    let (from, to) = (call.kind(input), call.type_attribute("type")?);
    match (from, to) {
        (from, to) if from == to => Ok(Datum::Tensor(input)),
        (ElementType::Float32, ElementType::Int32) => Ok(Datum::Bits(input)),
        _ => unsupported(format!("bits of {from:?} are read as {to:?}")),
    }
}

/// `BitwiseAnd` of a number's bits and the mask of the sign.
pub(crate) fn and(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let sides = (call.inputs.first(), call.inputs.get(1));
    let (number, mask) = match sides {
        (Some(Datum::Bits(number)), Some(Datum::Tensor(mask)))
        | (Some(Datum::Tensor(mask)), Some(Datum::Bits(number))) => (*number, *mask),
        _ => return unsupported("it computes with bits"),
    };
    let sign = i64::from(i32::MIN);
    let masked = call.builder.constant_of(mask).and_then(|mask| mask.integers());
    if masked.as_deref() != Some(&[sign]) {
        return unsupported("bits other than the sign are looked at");
    }
    // 1/-0 is negative infinity.
    let zero = call.scalar(ElementType::Float32, 0.0)?;
    let inverse = call.apply(Operator::Reciprocal, &[number])?;
    let below = call.apply(Operator::Less, &[number, zero])?;
    let inverse_below = call.apply(Operator::Less, &[inverse, zero])?;
    let negative = call.apply(Operator::Or, &[below, inverse_below])?;
    let (set, clear) = (call.scalar(ElementType::Int32, sign as f64)?, call.scalar(ElementType::Int32, 0.0)?);
    call.apply(Operator::Where, &[negative, set, clear])
}
