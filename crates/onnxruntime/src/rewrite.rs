//! The file that ONNX Runtime reads: the model's own, or a changed copy of it.
//!
//! - What the wanted outputs don't need is left out, since ONNX Runtime computes all of a graph
//!   and demands all of its inputs.
//! - Data in other files is brought along, in memory: ONNX Runtime would open them itself, in
//!   whatever directory the process is.
//! - A `ZipMap`, which makes maps of labels and scores, gives its scores as they are: a matrix
//!   with a column for each label, as the static engine gives it.

use std::{borrow::Cow, collections::HashSet, ops::Range, sync::Arc};

use adytum_engine::onnx::{
    OnnxError,
    files::{DataFiles, FileName},
};
use adytum_wire::{Fields, push_integers, put_bytes, put_number, text};

use crate::{
    needs::{Finder, Reach},
    outline::{Outline, is_external},
};

/// ONNX's number for floats.
const FLOAT: u64 = 1;

/// The version of ONNX's operators that is imported where none is.
const OWN_OPERATORS: u64 = 13;

/// What ONNX Runtime is given.
pub(crate) struct Prepared<'a> {
    pub(crate) file: Cow<'a, [u8]>,
    /// Files that the file refers to.
    pub(crate) data: Vec<(String, Arc<[u8]>)>,
}

/// Prepares the model for these outputs.
pub(crate) fn prepare<'a>(
    outline: &'a Outline,
    finder: &Finder<'_>,
    outputs: &[usize],
    files: &dyn DataFiles,
) -> Result<Prepared<'a>, OnnxError> {
    let reach = finder.reach(outputs);
    let names: HashSet<usize> = outline.outputs.iter().map(|port| port.name.index()).collect();
    let is_whole = outputs.len() == outline.outputs.len()
        && names.len() == outputs.len()
        && finder.inputs(&reach).into_iter().all(|needed| needed);
    let is_plain = !outline.has_external_function
        && !outline.nodes.iter().any(|node| node.is_zip_map || node.has_external)
        && !outline.initializers.iter().any(|constant| constant.is_external);
    if is_whole && is_plain {
        return Ok(Prepared { file: Cow::Borrowed(&outline.file), data: Vec::new() });
    }
    let mut writer = Writer { outline, reach: &reach, files, data: Vec::new() };
    let file = writer.model(outputs)?;
    Ok(Prepared { file: Cow::Owned(file), data: writer.data })
}

struct Writer<'a> {
    outline: &'a Outline,
    reach: &'a Reach,
    files: &'a dyn DataFiles,
    data: Vec<(String, Arc<[u8]>)>,
}

impl<'a> Writer<'a> {
    fn copy(&self, range: Range<usize>, out: &mut Vec<u8>) {
        out.extend_from_slice(self.outline.file.get(range).unwrap_or_default());
    }

    fn fields(&self, range: Range<usize>) -> Fields<'a> {
        Fields::within(&self.outline.file, range)
    }

    fn is_reached(&self, name: usize) -> bool {
        self.reach.names.get(name).copied().unwrap_or(false)
    }

    fn model(&mut self, outputs: &[usize]) -> Result<Vec<u8>, OnnxError> {
        let outline = self.outline;
        let mut out = Vec::with_capacity(outline.file.len());
        for field in Fields::of(&outline.file) {
            let field = field?;
            match field.number {
                7 => put_bytes(&mut out, 7, &self.graph(outputs)?),
                25 if outline.has_external_function => {
                    let function = field.bytes().unwrap_or_default();
                    let function = self.with_data(function, Message::Function)?;
                    put_bytes(&mut out, 25, &function);
                }
                _ => self.copy(field.whole, &mut out),
            }
        }
        if !outline.has_own_operators {
            let mut import = Vec::new();
            put_number(&mut import, 2, OWN_OPERATORS);
            put_bytes(&mut out, 8, &import);
        }
        Ok(out)
    }

    fn graph(&mut self, outputs: &[usize]) -> Result<Vec<u8>, OnnxError> {
        let outline = self.outline;
        let mut out = Vec::with_capacity(outline.graph.len());
        let (mut nodes, mut constants) = (outline.nodes.iter(), outline.initializers.iter());
        let mut zipped: HashSet<usize> = HashSet::new();
        for (node, reached) in outline.nodes.iter().zip(&self.reach.nodes) {
            if *reached && node.is_zip_map {
                zipped.extend(node.outputs.iter().map(|name| name.index()));
            }
        }
        let mut index = 0_usize;
        for field in self.fields(outline.graph.clone()) {
            let field = field?;
            match field.number {
                1 => {
                    let reached = self.reach.nodes.get(index).copied().unwrap_or(false);
                    index += 1;
                    let Some(node) = nodes.next().filter(|_| reached) else { continue };
                    if node.is_zip_map {
                        let node = self.identity(node.place.clone())?;
                        put_bytes(&mut out, 1, &node);
                    } else if node.has_external {
                        let node = self.with_data(node.place.clone(), Message::Node)?;
                        put_bytes(&mut out, 1, &node);
                    } else {
                        self.copy(field.whole, &mut out);
                    }
                }
                5 => {
                    let Some(constant) = constants.next() else { continue };
                    if !self.is_reached(constant.name.index()) {
                        continue;
                    }
                    if constant.is_external {
                        let constant = self.brought_along(constant.place.clone())?;
                        put_bytes(&mut out, 5, &constant);
                    } else {
                        self.copy(field.whole, &mut out);
                    }
                }
                // Written below, each once.
                12 => {}
                11 | 13 => {
                    let name = self.name_of(field.bytes().unwrap_or_default())?;
                    let known = self.find(&name);
                    let stays = known.is_some_and(|name| self.is_reached(name))
                        && !(field.number == 13 && known.is_some_and(|name| zipped.contains(&name)));
                    if stays {
                        self.copy(field.whole, &mut out);
                    }
                }
                15 if self.sparse_is_external(field.bytes().unwrap_or_default())? => {
                    let sparse = self.with_data(field.bytes().unwrap_or_default(), Message::Sparse)?;
                    put_bytes(&mut out, 15, &sparse);
                }
                _ => self.copy(field.whole, &mut out),
            }
        }
        let mut written = HashSet::new();
        for port in outputs.iter().filter_map(|output| outline.outputs.get(*output)) {
            if !written.insert(port.name) {
                continue;
            }
            if zipped.contains(&port.name.index()) {
                put_bytes(&mut out, 12, &float_tensor(&port.declaration.name));
            } else {
                put_bytes(&mut out, 12, outline.file.get(port.place.clone()).unwrap_or_default());
            }
        }
        Ok(out)
    }

    /// The name of an input, by its number.
    fn find(&self, name: &str) -> Option<usize> {
        self.outline.numbers.get(name).map(|name| name.index())
    }

    fn name_of(&self, value: Range<usize>) -> Result<String, OnnxError> {
        let mut name = String::new();
        for field in self.fields(value) {
            let field = field?;
            if field.number == 1 {
                name = text(&self.outline.file, &field);
            }
        }
        Ok(name)
    }

    fn sparse_is_external(&self, sparse: Range<usize>) -> Result<bool, OnnxError> {
        for field in self.fields(sparse) {
            let field = field?;
            if let (1 | 2, Some(tensor)) = (field.number, field.bytes())
                && is_external(&self.outline.file, tensor)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A `ZipMap` as an `Identity`: name 3, inputs 1, outputs 2 stay.
    fn identity(&self, node: Range<usize>) -> Result<Vec<u8>, OnnxError> {
        let mut out = Vec::new();
        for field in self.fields(node) {
            let field = field?;
            if matches!(field.number, 1..=3) {
                self.copy(field.whole, &mut out);
            }
        }
        put_bytes(&mut out, 4, b"Identity");
        Ok(out)
    }

    /// A message with the tensors of other files in it.
    fn with_data(&self, range: Range<usize>, message: Message) -> Result<Vec<u8>, OnnxError> {
        if message == Message::Tensor {
            return self.tensor_with_data(range);
        }
        let mut out = Vec::with_capacity(range.len());
        for field in self.fields(range) {
            let field = field?;
            match (message.part(field.number), field.bytes()) {
                (Some(part), Some(inner)) => {
                    let inner = self.with_data(inner, part)?;
                    put_bytes(&mut out, field.number, &inner);
                }
                _ => self.copy(field.whole, &mut out),
            }
        }
        Ok(out)
    }

    fn tensor_with_data(&self, tensor: Range<usize>) -> Result<Vec<u8>, OnnxError> {
        let mut out = Vec::new();
        if !is_external(&self.outline.file, tensor.clone())? {
            self.copy(tensor, &mut out);
            return Ok(out);
        }
        let bytes = self.read(tensor.clone())?;
        self.copy_without_data(tensor, &mut out)?;
        put_bytes(&mut out, 9, &bytes);
        Ok(out)
    }

    /// A constant whose data is in a file in memory.
    fn brought_along(&mut self, tensor: Range<usize>) -> Result<Vec<u8>, OnnxError> {
        let bytes = self.read(tensor.clone())?;
        let mut out = Vec::new();
        self.copy_without_data(tensor, &mut out)?;
        // ONNX Runtime takes no empty file.
        if bytes.is_empty() {
            put_bytes(&mut out, 9, &[]);
            return Ok(out);
        }
        let file = format!("adytum-data-{}", self.data.len());
        for (key, value) in [("location", &*file), ("offset", "0"), ("length", &*bytes.len().to_string())] {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, key.as_bytes());
            put_bytes(&mut entry, 2, value.as_bytes());
            put_bytes(&mut out, 13, &entry);
        }
        put_number(&mut out, 14, 1);
        self.data.push((file, bytes.into()));
        Ok(out)
    }

    /// All of a `TensorProto` but its data: raw_data 9, external_data 13, data_location 14.
    fn copy_without_data(&self, tensor: Range<usize>, out: &mut Vec<u8>) -> Result<(), OnnxError> {
        for field in self.fields(tensor) {
            let field = field?;
            if !matches!(field.number, 9 | 13 | 14) {
                self.copy(field.whole, out);
            }
        }
        Ok(())
    }

    /// The data of a `TensorProto` that is in another file.
    fn read(&self, tensor: Range<usize>) -> Result<Vec<u8>, OnnxError> {
        let data = &self.outline.file;
        let (mut name, mut data_type, mut dimensions) = (String::new(), 0_u64, Vec::new());
        let (mut location, mut offset, mut length) = (None, None, None);
        for field in self.fields(tensor) {
            let field = field?;
            match field.number {
                1 => push_integers(data, &field, &mut dimensions)?,
                2 => data_type = field.varint().unwrap_or_default(),
                8 => name = text(data, &field),
                13 => {
                    let (mut key, mut value) = (String::new(), String::new());
                    for part in self.fields(field.bytes().unwrap_or_default()) {
                        let part = part?;
                        match part.number {
                            1 => key = text(data, &part),
                            2 => value = text(data, &part),
                            _ => {}
                        }
                    }
                    match key.as_str() {
                        "location" => location = Some(value),
                        "offset" => offset = Some(value),
                        "length" => length = Some(value),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        let failed = |reason: String| OnnxError::Tensor { name: name.clone(), reason };
        let location =
            location.ok_or_else(|| failed("it is in another file, but in which is not said".to_owned()))?;
        let file = FileName::parse(&location).ok_or_else(|| {
            failed(format!("it is in the file {location:?}, which is not in the model's directory"))
        })?;
        let number = |key: &str, value: Option<String>| match value {
            None => Ok(None),
            Some(value) => {
                let number = value.parse::<u64>();
                number.map(Some).map_err(|_| failed(format!("its {key} is {value:?}, not a number")))
            }
        };
        let expected = bytes_of(data_type, &dimensions).ok_or_else(|| {
            failed(format!("its type {data_type} and its shape {dimensions:?} can't be in another file"))
        })?;
        if let Some(length) = number("length", length)?
            && length != expected as u64
        {
            return Err(failed(format!("its shape takes {expected} bytes; it has {length}")));
        }
        let offset = number("offset", offset)?.unwrap_or(0);
        self.files.read(&file, offset, expected).map_err(failed)
    }
}

/// The bytes of a tensor by the number of its type and its dimensions; `None` for texts, for
/// unknown types and for what no machine has.
fn bytes_of(data_type: u64, dimensions: &[i64]) -> Option<usize> {
    let bits: usize = match data_type {
        // uint8, int8, bool, the floats of 8 bits
        2 | 3 | 9 | 17..=20 | 24 => 8,
        // uint16, int16, float16, bfloat16
        4 | 5 | 10 | 16 => 16,
        // float, int32, uint32
        1 | 6 | 12 => 32,
        // int64, double, uint64, complex64
        7 | 11 | 13 | 14 => 64,
        // complex128
        15 => 128,
        // uint4, int4, float4e2m1
        21..=23 => 4,
        // uint2, int2
        25 | 26 => 2,
        _ => return None,
    };
    let count = dimensions.iter().try_fold(1_usize, |product, size| {
        usize::try_from(*size).ok().and_then(|size| product.checked_mul(size))
    })?;
    Some(count.checked_mul(bits)?.div_ceil(8))
}

/// Messages that tensors lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    Function,
    Graph,
    Node,
    Attribute,
    Sparse,
    Tensor,
}

impl Message {
    /// The message in this field, if tensors lie in it.
    fn part(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Function, 7) | (Self::Graph, 1) => Some(Self::Node),
            (Self::Node, 5) => Some(Self::Attribute),
            (Self::Attribute, 5 | 10) | (Self::Graph, 5) | (Self::Sparse, 1 | 2) => Some(Self::Tensor),
            (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::Attribute, 22 | 23) | (Self::Graph, 15) => Some(Self::Sparse),
            _ => None,
        }
    }
}

/// A `ValueInfoProto`: a tensor of floats, its shape left to ONNX Runtime.
fn float_tensor(name: &str) -> Vec<u8> {
    let mut tensor = Vec::new();
    put_number(&mut tensor, 1, FLOAT);
    let mut value_type = Vec::new();
    put_bytes(&mut value_type, 1, &tensor);
    let mut value = Vec::new();
    put_bytes(&mut value, 1, name.as_bytes());
    put_bytes(&mut value, 2, &value_type);
    value
}
