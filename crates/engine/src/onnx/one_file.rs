//! A model and the files that hold its weights become one file.

use std::ops::Range;

use adytum_wire::{Field, Fields, put_bytes, put_varint};

use super::{OnnxError, files::DataFiles, limits::Limits, model::Constant, tensor};

/// The parts of a message that may hold tensors, by their field numbers.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
}

impl Message {
    /// The message in a field, if it may hold tensors (`onnx.proto`).
    fn part(self, field: u64) -> Option<Self> {
        Some(match (self, field) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Node, 5) => Self::Attribute,
            _ => return None,
        })
    }
}

/// The model with all its weights in one file; `None` if `file` is that already. `largest` is the
/// most bytes that the file may have.
pub fn one_file(
    file: &[u8],
    files: &dyn DataFiles,
    limits: &Limits,
    largest: u64,
) -> Result<Option<Vec<u8>>, OnnxError> {
    let mut writer = Writer { data: file, files, limits, largest, found: 0 };
    let whole = 0..file.len();
    if !writer.has_external(Message::Model, whole.clone(), 0)? {
        return Ok(None);
    }
    let mut out = Vec::new();
    writer.write(Message::Model, whole, &mut out, 0)?;
    Ok(Some(out))
}

struct Writer<'a> {
    data: &'a [u8],
    files: &'a dyn DataFiles,
    limits: &'a Limits,
    largest: u64,
    /// Bytes that were read from other files.
    found: u64,
}

impl Writer<'_> {
    fn descend(&self, depth: usize) -> Result<usize, OnnxError> {
        // A graph in a graph is three messages deeper: node, attribute, graph.
        let limit = self.limits.depth;
        if depth / 3 > limit.saturating_add(2) {
            return Err(OnnxError::TooMany { what: "levels of nested graphs", found: depth / 3, limit });
        }
        Ok(depth + 1)
    }

    fn has_external(&self, message: Message, range: Range<usize>, depth: usize) -> Result<bool, OnnxError> {
        let depth = self.descend(depth)?;
        for field in Fields::within(self.data, range) {
            let field = field?;
            let found = match (message, message.part(field.number), field.bytes()) {
                // The place of the data, and whether it is in another file.
                (Message::Tensor, ..) => {
                    field.number == 13 || (field.number == 14 && field.varint() == Some(1))
                }
                (_, Some(part), Some(range)) => self.has_external(part, range, depth)?,
                _ => false,
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes a message that has data in another file.
    fn write(
        &mut self,
        message: Message,
        range: Range<usize>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), OnnxError> {
        let depth = self.descend(depth)?;
        if let Message::Tensor = message {
            return self.tensor(range, out);
        }
        for field in Fields::within(self.data, range) {
            let field = field?;
            match (message.part(field.number), field.bytes()) {
                (Some(part), Some(range)) if self.has_external(part, range.clone(), depth)? => {
                    put_varint(out, field.number << 3 | 2);
                    let start = out.len();
                    self.write(part, range, out, depth)?;
                    let mut length = Vec::new();
                    put_varint(&mut length, (out.len() - start) as u64);
                    out.splice(start..start, length);
                }
                _ => self.copy(&field, out),
            }
        }
        Ok(())
    }

    fn copy(&self, field: &Field, out: &mut Vec<u8>) {
        out.extend_from_slice(self.data.get(field.whole.clone()).unwrap_or_default());
    }

    fn tensor(&mut self, range: Range<usize>, out: &mut Vec<u8>) -> Result<(), OnnxError> {
        for field in Fields::within(self.data, range.clone()) {
            let field = field?;
            // Raw data, where the data is, and that it is in another file.
            if !matches!(field.number, 9 | 13 | 14) {
                self.copy(&field, out);
            }
        }
        let (name, constant) = tensor::constant(self.data, range, self.limits)?;
        let Constant::Stored(stored) = constant else {
            return Err(OnnxError::Tensor { name, reason: "it is in another file and here".to_owned() });
        };
        self.found = self.found.saturating_add(stored.bytes as u64);
        if self.found.saturating_add(self.data.len() as u64) > self.largest {
            let reason = format!("with its data the model has more than {} bytes", self.largest);
            return Err(OnnxError::Tensor { name, reason });
        }
        put_bytes(out, 9, &stored.into_bytes(self.files)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use adytum_wire::put_number;

    use super::*;
    use crate::onnx::{files::FileName, model::Model, read::read};

    /// A file of weights: a byte at each place, as large as any tensor says.
    struct Weights;

    impl DataFiles for Weights {
        fn read(&self, name: &FileName, offset: u64, length: usize) -> Result<Vec<u8>, String> {
            match name.as_str() {
                "w.data" => Ok((0..length).map(|place| (offset + place as u64) as u8).collect()),
                other => Err(format!("no file {other}")),
            }
        }
    }

    fn entry(key: &str, value: &str) -> Vec<u8> {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, key.as_bytes());
        put_bytes(&mut entry, 2, value.as_bytes());
        entry
    }

    fn external(name: &str, location: &str) -> Vec<u8> {
        let mut tensor = Vec::new();
        put_number(&mut tensor, 1, 4);
        put_number(&mut tensor, 2, 1);
        put_bytes(&mut tensor, 8, name.as_bytes());
        put_bytes(&mut tensor, 13, &entry("location", location));
        put_bytes(&mut tensor, 13, &entry("offset", "32"));
        put_number(&mut tensor, 14, 1);
        tensor
    }

    /// A model of a constant in another file, and of one in an attribute of a node.
    fn model(location: &str) -> Vec<u8> {
        let mut attribute = Vec::new();
        put_bytes(&mut attribute, 1, b"value");
        put_bytes(&mut attribute, 5, &external("", location));
        put_number(&mut attribute, 20, 4);
        let mut constant = Vec::new();
        put_bytes(&mut constant, 2, b"c");
        put_bytes(&mut constant, 4, b"Constant");
        put_bytes(&mut constant, 5, &attribute);
        let mut add = Vec::new();
        put_bytes(&mut add, 1, b"w");
        put_bytes(&mut add, 1, b"c");
        put_bytes(&mut add, 2, b"y");
        put_bytes(&mut add, 4, b"Add");
        let mut output = Vec::new();
        put_bytes(&mut output, 1, b"y");
        let mut graph = Vec::new();
        put_bytes(&mut graph, 1, &constant);
        put_bytes(&mut graph, 1, &add);
        put_bytes(&mut graph, 5, &external("w", location));
        put_bytes(&mut graph, 12, &output);
        let mut opset = Vec::new();
        put_number(&mut opset, 2, 17);
        let mut model = Vec::new();
        put_number(&mut model, 1, 8);
        put_bytes(&mut model, 7, &graph);
        put_bytes(&mut model, 8, &opset);
        model
    }

    fn parse(file: Vec<u8>) -> Model {
        read(file, &Limits::default()).unwrap()
    }

    #[test]
    fn data_of_other_files_is_folded_in() {
        let limits = Limits::default();
        let folded = one_file(&model("w.data"), &Weights, &limits, 1000).unwrap().unwrap();
        assert_eq!(one_file(&folded, &Weights, &limits, 1000), Ok(None));
        let found = parse(folded);
        let constants: Vec<&Constant> = found.constants.values().collect();
        let bytes: Vec<u8> = (32..48).collect();
        let expected: Vec<f32> =
            bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        let has_value = |constant: &&&Constant| match constant {
            Constant::Tensor(tensor) => tensor.values::<f32>() == Some(expected.as_slice()),
            Constant::Stored(_) => false,
        };
        // One is in the attribute of the node `Constant`.
        assert_eq!(constants.iter().filter(has_value).count(), 2, "{constants:?}");
    }

    #[test]
    fn a_file_that_is_missing_or_too_large_is_an_error() {
        let limits = Limits::default();
        let code = |location, largest| {
            one_file(&model(location), &Weights, &limits, largest).map_err(|error| error.code())
        };
        assert_eq!(code("other.data", 1000), Err("onnx-tensor"));
        assert_eq!(code("../w.data", 1000), Err("onnx-tensor"));
        assert_eq!(code("w.data", 100), Err("onnx-tensor"));
    }

    proptest::proptest! {
        #[test]
        fn damaged_models_never_panic(place in 0_usize..400, byte in 0_u8.., cut in 0_usize..400) {
            let mut file = model("w.data");
            let length = file.len();
            file[place % length] = byte;
            file.truncate(cut.max(1).min(length));
            drop(one_file(&file, &Weights, &Limits::default(), 1 << 20));
        }
    }
}
