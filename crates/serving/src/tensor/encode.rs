//! From a model's output to the `TensorProto` of an answer.

use adytum_api::tensorflow::{TensorProto, TensorShapeProto, tensor_shape_proto::Dim};

use super::{Elements, Tensor};

/// The tensor as TensorFlow Serving answers it: in the typed field of its type,
/// which clients read (`outputs["activation_49"].float_val`).
pub fn encode(tensor: Tensor) -> TensorProto {
    let (shape, elements) = tensor.into_parts();
    let dim = shape
        .into_iter()
        .map(|size| Dim { size: i64::try_from(size).unwrap_or(i64::MAX), name: String::new() })
        .collect();
    let mut proto = TensorProto {
        dtype: elements.element_type().to_tensorflow().into(),
        tensor_shape: Some(TensorShapeProto { dim, unknown_rank: false }),
        ..TensorProto::default()
    };
    match elements {
        Elements::Float(values) => proto.float_val = values,
        Elements::Double(values) => proto.double_val = values,
        Elements::Half(bits) | Elements::Bfloat16(bits) => proto.half_val = widen(bits),
        Elements::Int8(values) => proto.int_val = widen(values),
        Elements::Int16(values) => proto.int_val = widen(values),
        Elements::Int32(values) => proto.int_val = values,
        Elements::Int64(values) => proto.int64_val = values,
        Elements::Uint8(values) => proto.int_val = widen(values),
        Elements::Uint16(values) => proto.int_val = widen(values),
        Elements::Uint32(values) => proto.uint32_val = values,
        Elements::Uint64(values) => proto.uint64_val = values,
        Elements::Bool(values) => proto.bool_val = values,
    }
    proto
}

fn widen<T: Into<i32>>(values: Vec<T>) -> Vec<i32> {
    values.into_iter().map(Into::into).collect()
}
