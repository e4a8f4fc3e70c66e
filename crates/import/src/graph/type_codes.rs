//! ONNX's numbers of the element types.

use crate::tensor::ElementType;

/// The numbers of `TensorProto.DataType`.
const CODES: [(ElementType, i64); 14] = [
    (ElementType::Float32, 1),
    (ElementType::UInt8, 2),
    (ElementType::Int8, 3),
    (ElementType::UInt16, 4),
    (ElementType::Int16, 5),
    (ElementType::Int32, 6),
    (ElementType::Int64, 7),
    (ElementType::String, 8),
    (ElementType::Bool, 9),
    (ElementType::Float16, 10),
    (ElementType::Float64, 11),
    (ElementType::UInt32, 12),
    (ElementType::UInt64, 13),
    (ElementType::BFloat16, 16),
];

/// ONNX's number of an element type.
pub(crate) fn code_of_type(kind: ElementType) -> i64 {
    CODES.iter().find(|(known, _)| *known == kind).map_or(0, |(_, code)| *code)
}

/// The element type of an ONNX number.
pub(crate) fn type_of_code(code: i64) -> Option<ElementType> {
    CODES.iter().find(|(_, known)| *known == code).map(|(kind, _)| *kind)
}
