//! The contents of lookup tables.

use bytes::Bytes;

use super::{
    bundle::Bundle,
    initialisers::{TableSource, Value},
    messages::Node,
    model::Model,
    tensors,
};
use crate::{
    error::ImportError,
    files::{Files, read_whole},
    limits::Limits,
    tensor::{ElementType, Elements, Numbers, Tensor},
};

/// Columns of a line, as TensorFlow numbers them.
const WHOLE_LINE: i64 = -2;
const LINE_NUMBER: i64 = -1;

/// Where a model's values are read from.
pub(crate) struct Contents<'m> {
    pub(crate) model: &'m Model,
    pub(crate) bundle: &'m Bundle<'m>,
    pub(crate) files: &'m dyn Files,
    pub(crate) limits: Limits,
}

/// Why a table can't be read: the model's fault, or ours.
pub(crate) enum TableError {
    Import(ImportError),
    Unsupported(String),
}

impl From<ImportError> for TableError {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}

impl From<String> for TableError {
    fn from(reason: String) -> Self {
        Self::Unsupported(reason)
    }
}

impl Contents<'_> {
    /// Keys and values, of the table's types.
    pub(crate) fn table(
        &self,
        source: &TableSource<'_>,
        key_kind: ElementType,
        value_kind: ElementType,
    ) -> Result<(Tensor, Tensor), TableError> {
        let (keys, values) = match source {
            TableSource::Nodes(keys, values) => (self.value(keys)?, self.value(values)?),
            TableSource::File(name, node) => self.text_file(name, node, key_kind, value_kind)?,
        };
        if keys.len() != values.len() || keys.kind() != key_kind || values.kind() != value_kind {
            return Err("keys and values don't fit the table".to_owned().into());
        }
        Ok((keys, values))
    }

    fn value(&self, value: &Value<'_>) -> Result<Tensor, TableError> {
        match value {
            Value::Stored(key) => Ok(self.bundle.read(key)?),
            Value::Literal(node) => self.literal(node),
            Value::Root(name) => {
                let graph = &self.model.graph;
                let node = graph.find(name).and_then(|index| graph.nodes.get(index));
                self.literal(node.ok_or_else(|| format!("there is no node {name}"))?)
            }
        }
    }

    fn literal(&self, node: &Node) -> Result<Tensor, TableError> {
        let literal = self.model.view(node).tensor("value");
        let literal = literal.ok_or_else(|| format!("its contents are computed by {}", node.operator))?;
        Ok(tensors::tensor(literal, self.limits.asset_bytes)?)
    }

    /// The name, in the directory `assets`, of the file that a value names.
    fn asset(&self, value: &Value<'_>) -> Result<String, TableError> {
        if let Value::Root(name) = value
            && let Some(file) = self.model.assets.get(*name)
        {
            return Ok(format!("assets/{file}"));
        }
        // Without an entry among the assets, the path at export tells the name.
        let path = match self.value(value)?.elements() {
            Elements::Strings(strings) => strings.first().cloned().unwrap_or_default(),
            Elements::Fixed(_) => Bytes::new(),
        };
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        Ok(format!("assets/{}", String::from_utf8_lossy(name)))
    }

    fn text_file(
        &self,
        name: &Value<'_>,
        node: &Node,
        key_kind: ElementType,
        value_kind: ElementType,
    ) -> Result<(Tensor, Tensor), TableError> {
        let file = self.asset(name)?;
        // A name from the file must not leave the directory.
        let inside = file.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !inside || file.contains('\\') || file.contains('\0') {
            return Err(ImportError::malformed(&file, "an asset's name leaves the directory").into());
        }
        let limit = self.limits.asset_bytes;
        let text = read_whole(self.files, &file, "bytes of an asset", limit)?.ok_or_else(|| {
            let source = std::io::ErrorKind::NotFound.into();
            ImportError::File { file: file.clone(), source }
        })?;
        let view = self.model.view(node);
        let attribute = |name: &str| view.integer(name).unwrap_or(WHOLE_LINE);
        let (key_column, value_column) = (attribute("key_index"), attribute("value_index"));
        let delimiter = view.text("delimiter").and_then(|text| text.first().copied()).unwrap_or(b'\t');
        let skip = usize::try_from(view.integer("offset").unwrap_or(0)).unwrap_or(0);
        let most = usize::try_from(view.integer("vocab_size").unwrap_or(-1)).unwrap_or(usize::MAX);
        let lines = lines(&text).into_iter().skip(skip).take(most).collect::<Vec<_>>();
        let column = |column: i64, kind: ElementType| -> Result<Tensor, TableError> {
            if column == LINE_NUMBER {
                let numbers = Numbers::Integers((0..lines.len() as i64).collect());
                let tensor = Tensor::from_numbers(kind, vec![lines.len()], numbers);
                return tensor.ok_or_else(|| "line numbers are not of the table's type".to_owned().into());
            }
            let mut fields = Vec::with_capacity(lines.len());
            for line in &lines {
                fields.push(match usize::try_from(column) {
                    Err(_) => line.clone(),
                    Ok(index) => {
                        let field = line.split(|byte| *byte == delimiter).nth(index);
                        let missing =
                            || ImportError::malformed(&file, format!("a line has no column {index}"));
                        line.slice_ref(field.ok_or_else(missing)?)
                    }
                });
            }
            parse(fields, kind).ok_or_else(|| {
                ImportError::malformed(&file, format!("a column is not of the type {kind:?}")).into()
            })
        };
        Ok((column(key_column, key_kind)?, column(value_column, value_kind)?))
    }
}

/// The lines of a text, without their ends.
fn lines(text: &Bytes) -> Vec<Bytes> {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    if body.is_empty() {
        return Vec::new();
    }
    let without_return = |line: &[u8]| text.slice_ref(line.strip_suffix(b"\r").unwrap_or(line));
    body.split(|byte| *byte == b'\n').map(without_return).collect()
}

fn parse(fields: Vec<Bytes>, kind: ElementType) -> Option<Tensor> {
    let length = vec![fields.len()];
    if kind == ElementType::String {
        return Tensor::strings(length, fields);
    }
    let texts = fields.iter().map(|field| std::str::from_utf8(field).ok());
    let numbers = if kind == ElementType::Float32 {
        Numbers::Singles(texts.map(|text| text?.parse().ok()).collect::<Option<_>>()?)
    } else {
        Numbers::Integers(texts.map(|text| text?.parse().ok()).collect::<Option<_>>()?)
    };
    Tensor::from_numbers(kind, length, numbers)
}
