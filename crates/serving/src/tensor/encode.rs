//! From a model's output to the `TensorProto` of an answer.

use std::sync::Arc;

use adytum_api::tensorflow::{TensorProto, TensorShapeProto, tensor_shape_proto::Dim};
use adytum_engine::tensor::{ElementType, Elements, Tensor};

use super::{raw::encode_raw, to_tensorflow};

/// The tensor as TensorFlow Serving answers it: in the typed field of its type,
/// which clients read (`outputs["activation_49"].float_val`). With `content`, numbers are in
/// `tensor_content`.
pub fn encode(tensor: Tensor, content: bool) -> TensorProto {
    let (shape, elements) = tensor.into_parts();
    let dim = shape
        .into_iter()
        .map(|size| Dim { size: i64::try_from(size).unwrap_or(i64::MAX), name: String::new() })
        .collect();
    let mut proto = TensorProto {
        dtype: to_tensorflow(elements.element_type()).into(),
        tensor_shape: Some(TensorShapeProto { dim, unknown_rank: false }),
        ..TensorProto::default()
    };
    if content && elements.element_type() != ElementType::Text {
        proto.tensor_content = encode_raw(&elements).into();
        return proto;
    }
    match elements {
        Elements::Float(values) => proto.float_val = owned(values),
        Elements::Double(values) => proto.double_val = owned(values),
        Elements::Half(values) => {
            proto.half_val = values.iter().map(|value| value.to_bits().into()).collect()
        }
        Elements::Bfloat16(values) => {
            proto.half_val = values.iter().map(|value| value.to_bits().into()).collect();
        }
        Elements::Int8(values) => proto.int_val = widened(&values),
        Elements::Int16(values) => proto.int_val = widened(&values),
        Elements::Int32(values) => proto.int_val = owned(values),
        Elements::Int64(values) => proto.int64_val = owned(values),
        Elements::Uint8(values) => proto.int_val = widened(&values),
        Elements::Uint16(values) => proto.int_val = widened(&values),
        Elements::Uint32(values) => proto.uint32_val = owned(values),
        Elements::Uint64(values) => proto.uint64_val = owned(values),
        Elements::Bool(values) => proto.bool_val = owned(values),
        Elements::Text(values) => proto.string_val = values.iter().map(|text| text.to_vec()).collect(),
    }
    proto
}

/// The values, without a copy where no other tensor shares them.
fn owned<T: Clone>(values: Arc<Vec<T>>) -> Vec<T> {
    Arc::try_unwrap(values).unwrap_or_else(|shared| shared.as_ref().clone())
}

fn widened<T: Copy + Into<i32>>(values: &[T]) -> Vec<i32> {
    values.iter().map(|value| (*value).into()).collect()
}
