//! Values that may be absent: `Optional`, `OptionalHasElement`, `OptionalGetElement`.

use super::{
    Built, Context, Definition, Operator, OperatorError, Refusal,
    definition::Builder,
    operands::{Operands, check_arity},
};
use crate::tensor::{ElementType, Tensor, Value, ValueType};

pub(super) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "Optional", build_optional),
    ("", "OptionalHasElement", build_has_element),
    ("", "OptionalGetElement", build_get_element),
];

/// Makes an optional of a value, or of none.
#[derive(Debug)]
struct MakeOptional;

fn build_optional(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 0..=1, 1)?;
    let inner = match definition.input_type(0) {
        Some(ValueType::Optional(_)) => return Err(definition.unsupported_type(0)),
        Some(value_type) => value_type.clone(),
        None => match definition.attributes.nested_type("type") {
            Ok(Some(nested)) => nested.clone(),
            _ => ValueType::Tensor(definition.attributes.element_type("type")?.ok_or_else(|| {
                Refusal::new("neither an input nor the attribute type says what the optional holds")
            })?),
        },
    };
    Ok(Built { operator: Box::new(MakeOptional), types: vec![ValueType::Optional(Box::new(inner))] })
}

impl Operator for MakeOptional {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        Ok(vec![Value::Optional(Operands::new(inputs).take(0).map(Box::new))])
    }
}

/// Whether a value is there.
#[derive(Debug)]
struct HasElement;

fn build_has_element(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 0..=1, 1)?;
    Ok(Built::tensor(HasElement, ElementType::Bool))
}

impl Operator for HasElement {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let has_element = match Operands::new(inputs).take(0) {
            None => false,
            Some(Value::Optional(value)) => value.is_some(),
            Some(_) => true,
        };
        Ok(vec![Tensor::scalar(has_element).into()])
    }
}

/// The value of an optional.
#[derive(Debug)]
struct GetElement;

fn build_get_element(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    let value_type = match definition.input_type(0) {
        Some(ValueType::Optional(inner)) => inner.as_ref().clone(),
        Some(other) => other.clone(),
        None => return Err(definition.unsupported_type(0)),
    };
    Ok(Built { operator: Box::new(GetElement), types: vec![value_type] })
}

impl Operator for GetElement {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        Ok(vec![match Operands::new(inputs).value(0)? {
            Value::Optional(Some(value)) => *value,
            Value::Optional(None) => return Err(OperatorError::inputs("the optional is empty")),
            other => other,
        }])
    }
}
