//! The protocol's names of element types.

use adytum_engine::tensor::ElementType;

/// The name of a type.
pub fn name(element_type: ElementType) -> &'static str {
    match element_type {
        ElementType::Float => "FP32",
        ElementType::Double => "FP64",
        ElementType::Half => "FP16",
        ElementType::Bfloat16 => "BF16",
        ElementType::Int8 => "INT8",
        ElementType::Int16 => "INT16",
        ElementType::Int32 => "INT32",
        ElementType::Int64 => "INT64",
        ElementType::Uint8 => "UINT8",
        ElementType::Uint16 => "UINT16",
        ElementType::Uint32 => "UINT32",
        ElementType::Uint64 => "UINT64",
        ElementType::Bool => "BOOL",
        ElementType::Text => "BYTES",
    }
}

/// The type of a name; `None` for one that there is not.
pub fn from_name(wanted: &str) -> Option<ElementType> {
    ElementType::ALL.iter().copied().find(|known| name(*known) == wanted)
}
