//! The messages of `saved_model.pb` and of the variables' index, as far as an
//! import reads them. Field numbers are those of TensorFlow's public `.proto`
//! files; other fields are skipped.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

/// The file of the graphs and signatures.
pub(crate) const FILE: &str = "saved_model.pb";

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SavedModel {
    #[prost(message, repeated, tag = "2")]
    pub(crate) meta_graphs: Vec<MetaGraph>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MetaGraph {
    #[prost(message, optional, tag = "1")]
    pub(crate) information: Option<Information>,
    #[prost(message, optional, tag = "2")]
    pub(crate) graph: Option<Graph>,
    #[prost(btree_map = "string, message", tag = "5")]
    pub(crate) signatures: BTreeMap<String, Signature>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) assets: Vec<Asset>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Information {
    #[prost(message, optional, tag = "2")]
    pub(crate) operators: Option<OperatorList>,
    #[prost(string, repeated, tag = "4")]
    pub(crate) tags: Vec<String>,
    #[prost(string, tag = "5")]
    pub(crate) tensorflow_version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OperatorList {
    #[prost(message, repeated, tag = "1")]
    pub(crate) operators: Vec<OperatorDefinition>,
}

/// `OpDef`: an operator, or the signature of a function.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OperatorDefinition {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) inputs: Vec<Argument>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) outputs: Vec<Argument>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) attributes: Vec<AttributeDefinition>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Argument {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int32, tag = "3")]
    pub(crate) kind: i32,
    #[prost(string, tag = "5")]
    pub(crate) number_attribute: String,
    #[prost(string, tag = "6")]
    pub(crate) type_list_attribute: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AttributeDefinition {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) default: Option<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub(crate) nodes: Vec<Node>,
    #[prost(message, optional, tag = "2")]
    pub(crate) library: Option<Library>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Library {
    #[prost(message, repeated, tag = "1")]
    pub(crate) functions: Vec<Function>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Function {
    #[prost(message, optional, tag = "1")]
    pub(crate) signature: Option<OperatorDefinition>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) nodes: Vec<Node>,
    #[prost(hash_map = "string, string", tag = "4")]
    pub(crate) results: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Node {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) operator: String,
    #[prost(string, repeated, tag = "3")]
    pub(crate) inputs: Vec<String>,
    #[prost(btree_map = "string, message", tag = "5")]
    pub(crate) attributes: BTreeMap<String, Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Attribute {
    #[prost(oneof = "AttributeValue", tags = "1, 2, 3, 4, 5, 6, 7, 8, 10")]
    pub(crate) value: Option<AttributeValue>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum AttributeValue {
    #[prost(message, tag = "1")]
    List(List),
    #[prost(bytes = "bytes", tag = "2")]
    Text(Bytes),
    #[prost(int64, tag = "3")]
    Integer(i64),
    #[prost(float, tag = "4")]
    Float(f32),
    #[prost(bool, tag = "5")]
    Boolean(bool),
    #[prost(int32, tag = "6")]
    Type(i32),
    #[prost(message, tag = "7")]
    Shape(Shape),
    #[prost(message, tag = "8")]
    Tensor(Tensor),
    #[prost(message, tag = "10")]
    Function(FunctionName),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct List {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(crate) texts: Vec<Bytes>,
    #[prost(int64, repeated, tag = "3")]
    pub(crate) integers: Vec<i64>,
    #[prost(float, repeated, tag = "4")]
    pub(crate) floats: Vec<f32>,
    #[prost(int32, repeated, tag = "6")]
    pub(crate) types: Vec<i32>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) shapes: Vec<Shape>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FunctionName {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Shape {
    #[prost(message, repeated, tag = "2")]
    pub(crate) dimensions: Vec<Dimension>,
    #[prost(bool, tag = "3")]
    pub(crate) unknown_rank: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Dimension {
    #[prost(int64, tag = "1")]
    pub(crate) size: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Tensor {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) shape: Option<Shape>,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) content: Bytes,
    #[prost(float, repeated, tag = "5")]
    pub(crate) floats: Vec<f32>,
    #[prost(double, repeated, tag = "6")]
    pub(crate) doubles: Vec<f64>,
    #[prost(int32, repeated, tag = "7")]
    pub(crate) integers: Vec<i32>,
    #[prost(bytes = "bytes", repeated, tag = "8")]
    pub(crate) strings: Vec<Bytes>,
    #[prost(int64, repeated, tag = "10")]
    pub(crate) longs: Vec<i64>,
    #[prost(bool, repeated, tag = "11")]
    pub(crate) booleans: Vec<bool>,
    #[prost(int32, repeated, tag = "13")]
    pub(crate) halves: Vec<i32>,
    #[prost(uint32, repeated, tag = "16")]
    pub(crate) unsigned: Vec<u32>,
    #[prost(uint64, repeated, tag = "17")]
    pub(crate) unsigned_longs: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Signature {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) inputs: BTreeMap<String, TensorInformation>,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(crate) outputs: BTreeMap<String, TensorInformation>,
    #[prost(string, tag = "3")]
    pub(crate) method: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TensorInformation {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int32, tag = "2")]
    pub(crate) kind: i32,
    #[prost(message, optional, tag = "3")]
    pub(crate) shape: Option<Shape>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Asset {
    #[prost(message, optional, tag = "1")]
    pub(crate) tensor: Option<TensorInformation>,
    #[prost(string, tag = "2")]
    pub(crate) file: String,
}

/// The entry of the variables' index under the empty key.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BundleHeader {
    #[prost(int32, tag = "1")]
    pub(crate) shards: i32,
    /// The byte order of the variables' data: 0 is little-endian.
    #[prost(int32, tag = "2")]
    pub(crate) endianness: i32,
}

/// Where a tensor lies.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BundleEntry {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) shape: Option<Shape>,
    #[prost(int32, tag = "3")]
    pub(crate) shard: i32,
    #[prost(int64, tag = "4")]
    pub(crate) offset: i64,
    #[prost(int64, tag = "5")]
    pub(crate) size: i64,
    #[prost(fixed32, tag = "6")]
    pub(crate) crc32c: u32,
    #[prost(message, repeated, tag = "7")]
    pub(crate) slices: Vec<Slice>,
}

/// A part of a variable that was saved in parts; only whether there is one counts.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Slice {}
