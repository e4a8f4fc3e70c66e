//! What a model can be asked: TensorFlow's signatures, with the names that their
//! tensors have in the ONNX graph. One graph computes all of them; a server runs
//! the part of it that a signature's outputs need. The ONNX file carries the
//! table as JSON in `metadata_props`, under [`METADATA_KEY`].

use serde::{Deserialize, Serialize};

use crate::tensor::ElementType;

/// The key in `metadata_props` of the JSON array of [`Signature`]s.
pub const METADATA_KEY: &str = "adytum.signatures";

/// A signature of a SavedModel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Its name, such as `serving_default`.
    pub name: String,
    /// The call that it answers.
    pub method: Method,
    /// What a request gives, by the names that it uses. Features of
    /// [`Self::examples`] are not among them.
    pub inputs: Vec<Binding>,
    /// What an answer holds.
    pub outputs: Vec<Binding>,
    /// If an input takes serialised `tf.Example`s: how they are parsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<Examples>,
}

/// The call that a signature answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// `tensorflow/serving/predict`, and signatures without a method.
    Predict,
    /// `tensorflow/serving/classify`.
    Classify,
    /// `tensorflow/serving/regress`.
    Regress,
    /// Another, under its name.
    Other(String),
}

impl Method {
    pub(crate) fn parse(name: &str) -> Self {
        match name {
            "" | "tensorflow/serving/predict" => Self::Predict,
            "tensorflow/serving/classify" => Self::Classify,
            "tensorflow/serving/regress" => Self::Regress,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// A tensor of a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The name in requests and answers, such as `input_1`.
    pub name: String,
    /// The name of the graph's input or output.
    pub tensor: String,
    /// The type of its elements.
    pub element_type: ElementType,
    /// The sizes, `None` where any will do; `None` as a whole if even the rank is open.
    pub shape: Option<Vec<Option<u64>>>,
}

/// How an input of serialised `tf.Example`s is parsed. The ONNX graph takes the
/// features; the server parses the examples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examples {
    /// The signature's input that takes the examples: a vector of strings, `[batch]`.
    pub input: String,
    /// The features that the graph takes.
    pub features: Vec<Feature>,
}

/// A feature of a `tf.Example` that becomes an input of the graph, [batch, shape...].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// The key in the example.
    pub name: String,
    /// The name of the graph's input.
    pub tensor: String,
    /// Which of an example's lists holds it.
    pub list: FeatureList,
    /// The shape of one example's feature. If the first size is `None`, its
    /// length varies, and shorter ones are padded with the default.
    pub shape: Vec<Option<u64>>,
    /// The value if an example lacks the feature; if this is `None`, such an example is an error.
    pub default: Option<FeatureValues>,
}

/// The lists of a `tf.train.Feature`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureList {
    /// `int64_list`.
    Int64,
    /// `float_list`.
    Float,
    /// `bytes_list`.
    Bytes,
}

/// Values of a feature, in row-major order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureValues {
    /// Of an `int64_list`.
    Int64(Vec<i64>),
    /// Of a `float_list`, each as the bits of an IEEE 754 single: JSON has no NaN.
    Float(Vec<u32>),
    /// Of a `bytes_list`.
    Bytes(Vec<Vec<u8>>),
}
