//! Lookup tables, as `ai.onnx.ml.LabelEncoder`s.

use bytes::Bytes;

use super::{
    Converter,
    call::{Call, Refusal, unsupported},
    datum::Datum,
};
use crate::{
    graph::{Attribute, Attributes, Operator, ValueId},
    tensor::{ElementType, Elements, Tensor},
    tensorflow::lookup::TableError,
};

impl From<TableError> for Refusal {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Import(error) => Self::Import(error),
            TableError::Unsupported(reason) => Self::Unsupported(reason),
        }
    }
}

/// The types that `LabelEncoder` knows.
fn encoded(kind: ElementType) -> Result<ElementType, Refusal> {
    match kind {
        ElementType::String | ElementType::Float32 | ElementType::Int64 => Ok(kind),
        kind if kind.is_integer() => Ok(ElementType::Int64),
        kind => unsupported(format!("a table of {kind:?}")),
    }
}

/// Keys or values as an attribute, and the attribute's ending.
fn list(tensor: &Tensor) -> Result<(&'static str, Attribute), Refusal> {
    if let Elements::Strings(strings) = tensor.elements() {
        return Ok(("strings", Attribute::Texts(strings.to_vec())));
    }
    if let Some(values) = tensor.integers() {
        return Ok(("int64s", Attribute::Integers(values)));
    }
    match tensor.doubles() {
        Some(values) => Ok(("floats", Attribute::Floats(values.into_iter().map(|v| v as f32).collect()))),
        None => unsupported(format!("a table of {:?}", tensor.kind())),
    }
}

fn encoder(keys: &Tensor, values: &Tensor, default: &Tensor) -> Result<Attributes, Refusal> {
    let (keys_name, keys) = match list(keys)? {
        ("strings", keys) => ("keys_strings", keys),
        ("int64s", keys) => ("keys_int64s", keys),
        (_, keys) => ("keys_floats", keys),
    };
    let (values_name, values) = match list(values)? {
        ("strings", values) => ("values_strings", values),
        ("int64s", values) => ("values_int64s", values),
        (_, values) => ("values_floats", values),
    };
    let default = match list(default)?.1 {
        Attribute::Texts(texts) => {
            ("default_string", Attribute::Text(texts.first().cloned().unwrap_or_default()))
        }
        Attribute::Integers(values) => {
            ("default_int64", Attribute::Integer(values.first().copied().unwrap_or(0)))
        }
        Attribute::Floats(values) => {
            ("default_float", Attribute::Float(values.first().copied().unwrap_or(0.0)))
        }
        _ => return unsupported("the type of its default"),
    };
    Ok(Attributes::none().with(keys_name, keys).with(values_name, values).with(default.0, default.1))
}

/// `LookupTableFindV2`.
pub(crate) fn find(converter: &mut Converter<'_>, call: Lookup<'_>) -> Result<ValueId, Refusal> {
    let Lookup { table, keys, default } = call;
    let (contents, key_kind, value_kind) = table_of(converter, table)?;
    let Some(default) = converter.builder.constant_of(default).cloned() else {
        return unsupported("its default is not a constant");
    };
    if default.len() != 1 {
        return unsupported("its default is not one value");
    }
    let (table_keys, table_values) = contents;
    let attributes = encoder(&table_keys, &table_values, &default)?;
    let builder = &mut converter.builder;
    let to = |kind| Attributes::none().with("to", crate::graph::type_codes::code_of_type(kind));
    let keys = match key_kind == encoded(key_kind)? {
        true => keys,
        false => builder.emit(Operator::Cast, &[keys], to(encoded(key_kind)?))?,
    };
    // An empty table answers with its default.
    if table_keys.len() == 0 {
        let shape = builder.emit(Operator::Shape, &[keys], Attributes::none())?;
        let scalar = default.reshaped(Vec::new());
        let Some(scalar) = scalar else { return unsupported("its default is not one value") };
        let default = builder.constant(scalar)?;
        return Ok(builder.emit(Operator::Expand, &[default, shape], Attributes::none())?);
    }
    let found = builder.emit(Operator::LabelEncoder, &[keys], attributes)?;
    match value_kind == encoded(value_kind)? {
        true => Ok(found),
        false => Ok(builder.emit(Operator::Cast, &[found], to(value_kind))?),
    }
}

/// What `LookupTableFindV2` takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lookup<'m> {
    pub(crate) table: &'m str,
    pub(crate) keys: ValueId,
    pub(crate) default: ValueId,
}

impl<'m> Lookup<'m> {
    /// The inputs of a node.
    pub(crate) fn of(call: &Call<'_, 'm>) -> Result<Lookup<'m>, Refusal> {
        match call.inputs.first() {
            Some(Datum::Table(table)) => {
                Ok(Lookup { table, keys: call.tensor(1)?, default: call.tensor(2)? })
            }
            _ => unsupported("its first input is not a table"),
        }
    }
}

type Contents = ((Tensor, Tensor), ElementType, ElementType);

fn table_of(converter: &Converter<'_>, name: &str) -> Result<Contents, Refusal> {
    let model = converter.contents.model;
    let node = model.graph.find(name).and_then(|index| model.graph.nodes.get(index));
    let kinds = node.and_then(|node| {
        let view = model.view(node);
        Some((view.kind("key_dtype")?, view.kind("value_dtype")?))
    });
    let Some((key_kind, value_kind)) = kinds else { return unsupported("the types of its table") };
    let Some(source) = converter.initialisers.tables.get(name) else {
        return unsupported(format!("nothing fills the table {name}"));
    };
    Ok((converter.contents.table(source, key_kind, value_kind)?, key_kind, value_kind))
}

/// `LookupTableSizeV2`.
pub(crate) fn size(converter: &mut Converter<'_>, name: &str) -> Result<ValueId, Refusal> {
    let ((keys, _), ..) = table_of(converter, name)?;
    Ok(converter.builder.constant(Tensor::integer(keys.len() as i64))?)
}

/// Strings compared with one constant string.
pub(crate) fn equal_strings(call: &mut Call<'_, '_>, a: ValueId, b: ValueId) -> Result<ValueId, Refusal> {
    let constant = |id| match call.builder.constant_of(id)?.elements() {
        Elements::Strings(strings) if strings.len() == 1 => strings.first().cloned(),
        _ => None,
    };
    let (input, text): (ValueId, Bytes) = match (constant(a), constant(b)) {
        (_, Some(text)) => (a, text),
        (Some(text), _) => (b, text),
        _ => return unsupported("strings are compared with others than one constant"),
    };
    let attributes = Attributes::none()
        .with("keys_strings", Attribute::Texts(vec![text]))
        .with("values_int64s", vec![1])
        .with("default_int64", 0);
    let found = call.emit(Operator::LabelEncoder, &[input], attributes)?;
    call.cast(found, ElementType::Bool)
}
