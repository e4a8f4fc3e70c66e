//! Values that stand for others: `LabelEncoder`, `CategoryMapper`.

use std::collections::HashMap;

use super::DOMAIN;
use crate::{
    operators::{
        Attributes, Built, Context, Definition, Operator, OperatorError, Refusal,
        definition::Builder,
        operands::{Operands, broken, check_arity, for_any_element, select},
    },
    tensor::{Element, ElementType, Elements, Tensor, Text, Value},
};

pub(in crate::operators) const OPERATORS: &[(&str, &str, Builder)] =
    &[(DOMAIN, "LabelEncoder", build_label_encoder), (DOMAIN, "CategoryMapper", build_category_mapper)];

/// Where each key's value lies. Keys that are numbers are looked up by their bits, with
/// one zero and one NaN.
#[derive(Debug)]
enum Keys {
    Integers(HashMap<i64, usize>),
    Singles(HashMap<u32, usize>),
    Doubles(HashMap<u64, usize>),
    Texts(HashMap<Text, usize>),
}

fn single_bits(value: f32) -> u32 {
    if value.is_nan() { f32::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

fn double_bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

/// Numbers the keys in order; the first of equal keys counts.
fn number<K: std::hash::Hash + Eq>(keys: impl Iterator<Item = K>) -> HashMap<K, usize> {
    let mut numbered = HashMap::new();
    for (index, key) in keys.enumerate() {
        numbered.entry(key).or_insert(index);
    }
    numbered
}

impl Keys {
    /// Keys of this type; `None` for a type that is not looked up.
    fn new(keys: &Elements) -> Option<Self> {
        Some(match keys {
            Elements::Text(keys) => Self::Texts(number(keys.iter().cloned())),
            Elements::Float(keys) => Self::Singles(number(keys.iter().map(|key| single_bits(*key)))),
            Elements::Double(keys) => Self::Doubles(number(keys.iter().map(|key| double_bits(*key)))),
            Elements::Int64(keys) => Self::Integers(number(keys.iter().copied())),
            Elements::Int32(keys) => Self::Integers(number(keys.iter().map(|key| i64::from(*key)))),
            Elements::Int16(keys) => Self::Integers(number(keys.iter().map(|key| i64::from(*key)))),
            _ => return None,
        })
    }

    /// Before version 4, a NaN has no key.
    fn forget_missing(&mut self) {
        match self {
            Self::Singles(keys) => drop(keys.remove(&f32::NAN.to_bits())),
            Self::Doubles(keys) => drop(keys.remove(&f64::NAN.to_bits())),
            Self::Integers(_) | Self::Texts(_) => {}
        }
    }

    /// The index of each element's value, `missing` where it has none.
    fn find(&self, elements: &Elements, missing: usize) -> Option<Vec<usize>> {
        fn all<T, K: std::hash::Hash + Eq>(
            values: &[T],
            keys: &HashMap<K, usize>,
            key: impl Fn(&T) -> K,
            missing: usize,
        ) -> Vec<usize> {
            values.iter().map(|value| keys.get(&key(value)).copied().unwrap_or(missing)).collect()
        }
        Some(match (self, elements) {
            (Self::Texts(keys), Elements::Text(values)) => {
                values.iter().map(|value| keys.get(value).copied().unwrap_or(missing)).collect()
            }
            (Self::Singles(keys), Elements::Float(values)) => {
                all(values, keys, |value| single_bits(*value), missing)
            }
            (Self::Doubles(keys), Elements::Double(values)) => {
                all(values, keys, |value| double_bits(*value), missing)
            }
            (Self::Integers(keys), Elements::Int64(values)) => all(values, keys, |value| *value, missing),
            (Self::Integers(keys), Elements::Int32(values)) => {
                all(values, keys, |value| i64::from(*value), missing)
            }
            (Self::Integers(keys), Elements::Int16(values)) => {
                all(values, keys, |value| i64::from(*value), missing)
            }
            _ => return None,
        })
    }
}

/// Gives each element the value of its key, or the default, which is the last value.
#[derive(Debug)]
struct Mapping {
    keys: Keys,
    values: Elements,
}

impl Mapping {
    fn new(keys: &Elements, values: &Elements, default: &Elements) -> Result<Self, Refusal> {
        if keys.len() != values.len() {
            return Err(Refusal::new(format!(
                "{} keys and {} values were found; as many are expected",
                keys.len(),
                values.len()
            )));
        }
        let not_looked_up =
            || Refusal::new(format!("keys of the type {} are not looked up", keys.element_type()));
        let values = appended(values, default)
            .ok_or_else(|| Refusal::new("the default is not one value of the type of the values"))?;
        Ok(Self { keys: Keys::new(keys).ok_or_else(not_looked_up)?, values })
    }

    fn built(self) -> Built {
        let element_type = self.values.element_type();
        Built::tensor(self, element_type)
    }
}

/// The values and one more; `None` if that is not one, or of another type.
fn appended(values: &Elements, one: &Elements) -> Option<Elements> {
    fn append<T: Element>(values: &[T], one: &Elements) -> Option<Elements> {
        match T::unwrap_ref(one)?.as_slice() {
            [one] => {
                let mut all = values.to_vec();
                all.push(one.clone());
                Some(T::wrap(std::sync::Arc::new(all)))
            }
            _ => None,
        }
    }
    for_any_element!(values, values => append(values, one))
}

impl Operator for Mapping {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let tensor = Operands::new(inputs).tensor(0)?;
        let indices = self
            .keys
            .find(tensor.elements(), self.values.len() - 1)
            .ok_or_else(|| broken("a tensor is not of the type of the keys"))?;
        let mapped = select(&self.values, indices.into_iter());
        let mapped =
            Tensor::new(tensor.shape(), mapped).ok_or_else(|| broken("an output does not fill its shape"))?;
        Ok(vec![mapped.into()])
    }
}

/// The default of a text.
const UNUSED: &[u8] = b"_Unused";

fn texts(values: &[Text]) -> Elements {
    Text::wrap(std::sync::Arc::new(values.to_vec()))
}

fn list<T: Element>(values: &[T]) -> Elements {
    T::wrap(std::sync::Arc::new(values.to_vec()))
}

/// The list that the attribute of one of these names has: `keys_strings`, `keys_int64s`,
/// `keys_floats` or `keys_tensor`, or the same of `values`.
fn list_attribute(attributes: &Attributes, prefix: &str) -> Result<Vec<Elements>, Refusal> {
    let mut lists = Vec::new();
    if let Some(tensor) = attributes.tensor(&format!("{prefix}_tensor"))? {
        lists.push(tensor.elements().clone());
    }
    if let Some(values) = attributes.texts(&format!("{prefix}_strings"))? {
        lists.push(texts(values));
    }
    if let Some(values) = attributes.integers(&format!("{prefix}_int64s"))? {
        lists.push(list(values));
    }
    if let Some(values) = attributes.floats(&format!("{prefix}_floats"))? {
        lists.push(list(values));
    }
    lists.retain(|list| !list.is_empty());
    Ok(lists)
}

fn default_text(attributes: &Attributes) -> Result<Elements, Refusal> {
    Ok(texts(&[attributes.bytes("default_string")?.cloned().unwrap_or(Text::from_static(UNUSED))]))
}

fn default_integer(attributes: &Attributes) -> Result<i64, Refusal> {
    Ok(attributes.integer("default_int64")?.unwrap_or(-1))
}

/// The value of a key that is not in the list.
fn default_of(attributes: &Attributes, element_type: ElementType) -> Result<Elements, Refusal> {
    if let Some(tensor) = attributes.tensor("default_tensor")?
        && tensor.len() == 1
    {
        return Ok(tensor.elements().clone());
    }
    Ok(match element_type {
        ElementType::Text => default_text(attributes)?,
        ElementType::Int64 => list(&[default_integer(attributes)?]),
        ElementType::Int32 => list(&[-1_i32]),
        ElementType::Int16 => list(&[-1_i16]),
        ElementType::Float => list(&[attributes.float("default_float")?.unwrap_or(-0.0)]),
        ElementType::Double => list(&[f64::from(attributes.float("default_float")?.unwrap_or(-0.0))]),
        other => {
            return Err(Refusal::new(format!(
                "values of the type {other} need the attribute default_tensor"
            )));
        }
    })
}

fn build_label_encoder(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    let input = definition.tensor_type(0)?;
    let attributes = definition.attributes;
    if definition.opset < 2 {
        let classes = attributes.texts("classes_strings")?.unwrap_or_default();
        let indices = list(&(0..classes.len() as i64).collect::<Vec<_>>());
        return between_texts_and_integers(definition, &texts(classes), &indices);
    }
    let keys = list_attribute(attributes, "keys")?;
    let keys = keys.iter().find(|keys| keys.element_type() == input).ok_or_else(|| {
        Refusal::new(format!("the input is {input}, and no attribute has keys of that type"))
    })?;
    let values = list_attribute(attributes, "values")?;
    let [values] = values.as_slice() else {
        return Err(Refusal::new(format!("{} attributes have values; one is expected", values.len())));
    };
    let mut mapping = Mapping::new(keys, values, &default_of(attributes, values.element_type())?)?;
    if definition.opset < 4 {
        mapping.keys.forget_missing();
    }
    Ok(mapping.built())
}

fn build_category_mapper(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    let names = texts(definition.attributes.texts("cats_strings")?.unwrap_or_default());
    let numbers = list(definition.attributes.integers("cats_int64s")?.unwrap_or_default());
    between_texts_and_integers(definition, &names, &numbers)
}

/// Texts become the integers of the same index, integers the texts.
fn between_texts_and_integers(
    definition: &Definition<'_>,
    names: &Elements,
    numbers: &Elements,
) -> Result<Built, Refusal> {
    let attributes = definition.attributes;
    match definition.tensor_type(0)? {
        ElementType::Text => {
            Ok(Mapping::new(names, numbers, &list(&[default_integer(attributes)?]))?.built())
        }
        ElementType::Int64 => Ok(Mapping::new(numbers, names, &default_text(attributes)?)?.built()),
        _ => Err(definition.unsupported_type(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_keys_counts_and_all_nan_are_one() {
        let keys = list(&[1.0_f32, f32::NAN, 1.0, -0.0]);
        let mapping = Mapping::new(&keys, &list(&[10_i64, 20, 30, 40]), &list(&[-1_i64])).unwrap();
        let found = mapping.keys.find(&list(&[1.0_f32, -f32::NAN, 0.0, 5.0]), 4);
        assert_eq!(found, Some(vec![0, 1, 3, 4]));
    }
}
