//! TensorFlow's names of element types.

use adytum_api::tensorflow::DataType;
use adytum_engine::tensor::ElementType;

/// TensorFlow's name of a type in the API.
pub fn to_tensorflow(element_type: ElementType) -> DataType {
    match element_type {
        ElementType::Float => DataType::DtFloat,
        ElementType::Double => DataType::DtDouble,
        ElementType::Half => DataType::DtHalf,
        ElementType::Bfloat16 => DataType::DtBfloat16,
        ElementType::Int8 => DataType::DtInt8,
        ElementType::Int16 => DataType::DtInt16,
        ElementType::Int32 => DataType::DtInt32,
        ElementType::Int64 => DataType::DtInt64,
        ElementType::Uint8 => DataType::DtUint8,
        ElementType::Uint16 => DataType::DtUint16,
        ElementType::Uint32 => DataType::DtUint32,
        ElementType::Uint64 => DataType::DtUint64,
        ElementType::Bool => DataType::DtBool,
        ElementType::Text => DataType::DtString,
    }
}

/// The type of a tensor in a request; `None` for complex numbers, resources and
/// variants. TensorFlow's quantized types are stored as their integers, and ONNX knows
/// only these.
pub fn from_tensorflow(data_type: DataType) -> Option<ElementType> {
    match data_type {
        DataType::DtQint8 => Some(ElementType::Int8),
        DataType::DtQuint8 => Some(ElementType::Uint8),
        DataType::DtQint16 => Some(ElementType::Int16),
        DataType::DtQuint16 => Some(ElementType::Uint16),
        DataType::DtQint32 => Some(ElementType::Int32),
        other => ElementType::ALL.iter().copied().find(|known| to_tensorflow(*known) == other),
    }
}
