//! Defaults of attributes, for files without their operators' definitions, and
//! the outputs of operators that have several.

use crate::tensor::ElementType;

/// A default value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Default {
    Integer(i64),
    Float(f32),
    Boolean(bool),
    Text(&'static str),
    Type(ElementType),
    Integers(&'static [i64]),
}

/// The default of an attribute of an operator.
pub(crate) fn default(operator: &str, attribute: &str) -> Option<Default> {
    Some(match (operator, attribute) {
        ("Conv3D" | "Conv3DBackpropInputV2" | "MaxPool3D" | "AvgPool3D", "data_format") => {
            Default::Text("NDHWC")
        }
        ("Conv3D" | "Conv3DBackpropInputV2", "dilations") => Default::Integers(&[1, 1, 1, 1, 1]),
        (_, "data_format") => Default::Text("NHWC"),
        (_, "dilations") => Default::Integers(&[1, 1, 1, 1]),
        ("LeakyRelu", "alpha") => Default::Float(0.2),
        ("FusedBatchNorm" | "FusedBatchNormV2" | "FusedBatchNormV3", "epsilon") => Default::Float(1e-4),
        ("FusedBatchNorm" | "FusedBatchNormV2" | "FusedBatchNormV3", "is_training") => Default::Boolean(true),
        ("LRN", "depth_radius") => Default::Integer(5),
        ("LRN", "bias" | "alpha") => Default::Float(1.0),
        ("LRN", "beta") => Default::Float(0.5),
        ("OneHot", "axis") => Default::Integer(-1),
        ("TopKV2", "sorted") => Default::Boolean(true),
        ("Shape" | "ShapeN" | "Size", "out_type") => Default::Type(ElementType::Int32),
        ("ArgMax" | "ArgMin", "output_type") => Default::Type(ElementType::Int64),
        ("Pack" | "Unpack" | "ReverseSequence" | "GatherV2" | "ResourceGather", _) => Default::Integer(0),
        ("InitializeTableFromTextFileV2" | "InitializeTableFromTextFile", "vocab_size") => {
            Default::Integer(-1)
        }
        ("InitializeTableFromTextFileV2" | "InitializeTableFromTextFile", "delimiter") => Default::Text("\t"),
        ("InitializeTableFromTextFileV2" | "InitializeTableFromTextFile", "offset") => Default::Integer(0),
        ("AsString", "precision" | "width") => Default::Integer(-1),
        _ => return None,
    })
}

/// The names of the outputs of an operator, each a single tensor.
pub(crate) fn outputs(operator: &str) -> &'static [&'static str] {
    match operator {
        "FusedBatchNorm" | "FusedBatchNormV2" | "FusedBatchNormV3" => {
            &["y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2", "reserve_space_3"]
        }
        "TopKV2" => &["values", "indices"],
        "Unique" | "UniqueV2" => &["y", "idx"],
        "SparseReshape" => &["output_indices", "output_shape"],
        _ => &[],
    }
}
