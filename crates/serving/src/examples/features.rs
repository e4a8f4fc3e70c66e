//! The tensors of the features that a signature takes.

use std::{collections::BTreeMap, sync::Arc};

use adytum_engine::tensor::{Element, Tensor, Text};
use adytum_import::signature::{Examples, Feature, FeatureList, FeatureValues};
use adytum_wire::{Fields, WireError, push_floats, push_integers};

use super::{Batch, ExampleError};

/// The list of one feature: which of the three, and its encoded message.
type List<'a> = (FeatureList, &'a [u8]);

/// One tensor for each feature of `wanted`, in its order: [examples, shape...]. Tensors of more
/// than `limit` bytes together are refused before they are made.
pub fn tensors(batch: &Batch<'_>, wanted: &Examples, limit: usize) -> Result<Vec<Tensor>, ExampleError> {
    if batch.is_empty() {
        return Err(ExampleError::Empty);
    }
    let features = &wanted.features;
    let places = batch.len().saturating_mul(features.len()).saturating_mul(size_of::<Option<List<'_>>>());
    if places > limit {
        return Err(ExampleError::TooLarge { limit });
    }
    let index: BTreeMap<&[u8], usize> =
        features.iter().enumerate().map(|(index, feature)| (feature.name.as_bytes(), index)).collect();
    let mut context: Vec<Option<List<'_>>> = vec![None; features.len()];
    if let Some(example) = batch.context {
        find(example, &index, &mut context)?;
    }
    let mut found = Vec::with_capacity(batch.len() * features.len());
    for example in &batch.examples {
        let mut row = context.clone();
        find(example, &index, &mut row)?;
        found.extend(row);
    }
    let mut left = limit;
    features
        .iter()
        .enumerate()
        .map(|(place, feature)| {
            let column = Column { feature, lists: found.iter().skip(place).step_by(features.len()), limit };
            let tensor = match feature.list {
                FeatureList::Int64 => column.tensor::<i64>(&mut left)?,
                FeatureList::Float => column.tensor::<f32>(&mut left)?,
                FeatureList::Bytes => column.tensor::<Text>(&mut left)?,
            };
            Ok(tensor)
        })
        .collect()
}

/// Puts the features of an example that are wanted into their places.
fn find<'a>(
    example: &'a [u8],
    index: &BTreeMap<&[u8], usize>,
    into: &mut [Option<List<'a>>],
) -> Result<(), WireError> {
    for features in messages(example, 1) {
        for entry in messages(features?, 1) {
            let entry = entry?;
            let (mut name, mut feature) = (&entry[..0], &entry[..0]);
            for part in Fields::of(entry) {
                let part = part?;
                let bytes = part.bytes().and_then(|range| entry.get(range));
                match (part.number, bytes) {
                    (1, Some(bytes)) => name = bytes,
                    (2, Some(bytes)) => feature = bytes,
                    _ => {}
                }
            }
            let Some(place) = index.get(name).and_then(|place| into.get_mut(*place)) else { continue };
            *place = list(feature)?;
        }
    }
    Ok(())
}

/// The messages in the fields of a number.
fn messages(message: &[u8], number: u64) -> impl Iterator<Item = Result<&[u8], WireError>> {
    Fields::of(message).filter_map(move |field| match field {
        Err(error) => Some(Err(error)),
        Ok(field) if field.number == number => field.bytes().and_then(|range| message.get(range)).map(Ok),
        Ok(_) => None,
    })
}

/// The list of a feature; `None` if it has no kind.
fn list(feature: &[u8]) -> Result<Option<List<'_>>, WireError> {
    let mut list = None;
    for field in Fields::of(feature) {
        let field = field?;
        let kind = match field.number {
            1 => FeatureList::Bytes,
            2 => FeatureList::Float,
            3 => FeatureList::Int64,
            _ => continue,
        };
        list = field.bytes().and_then(|range| feature.get(range)).map(|bytes| (kind, bytes));
    }
    Ok(list)
}

fn name(list: FeatureList) -> &'static str {
    match list {
        FeatureList::Int64 => "int64",
        FeatureList::Float => "float",
        FeatureList::Bytes => "string",
    }
}

/// An element type of lists of features.
trait FeatureElement: Element {
    /// The number of values in the encoded list.
    fn count(list: &[u8]) -> Result<usize, WireError>;
    fn push(list: &[u8], into: &mut Vec<Self>) -> Result<(), WireError>;
    /// The values, if they are of this type.
    fn default_values(values: &FeatureValues) -> Option<Vec<Self>>;
}

impl FeatureElement for i64 {
    fn count(list: &[u8]) -> Result<usize, WireError> {
        let mut count = 0;
        for field in Fields::of(list) {
            let field = field?;
            match field.bytes() {
                _ if field.number != 1 => {}
                None => count += 1,
                // Each number ends with a byte without the high bit.
                Some(range) => {
                    let packed = list.get(range).unwrap_or_default();
                    count += packed.iter().filter(|byte| **byte < 0x80).count();
                }
            }
        }
        Ok(count)
    }

    fn push(list: &[u8], into: &mut Vec<Self>) -> Result<(), WireError> {
        for field in Fields::of(list) {
            let field = field?;
            if field.number == 1 {
                push_integers(list, &field, into)?;
            }
        }
        Ok(())
    }

    fn default_values(values: &FeatureValues) -> Option<Vec<Self>> {
        match values {
            FeatureValues::Int64(values) => Some(values.clone()),
            _ => None,
        }
    }
}

impl FeatureElement for f32 {
    fn count(list: &[u8]) -> Result<usize, WireError> {
        let mut bytes = 0;
        for field in Fields::of(list) {
            let field = field?;
            if field.number == 1 {
                bytes += field.bytes().map_or(4, |range| range.len());
            }
        }
        Ok(bytes / 4)
    }

    fn push(list: &[u8], into: &mut Vec<Self>) -> Result<(), WireError> {
        for field in Fields::of(list) {
            let field = field?;
            if field.number == 1 {
                push_floats(list, &field, into)?;
            }
        }
        Ok(())
    }

    fn default_values(values: &FeatureValues) -> Option<Vec<Self>> {
        match values {
            FeatureValues::Float(bits) => Some(bits.iter().map(|bits| f32::from_bits(*bits)).collect()),
            _ => None,
        }
    }
}

impl FeatureElement for Text {
    fn count(list: &[u8]) -> Result<usize, WireError> {
        let mut count = 0;
        for field in Fields::of(list) {
            count += usize::from(field?.number == 1);
        }
        Ok(count)
    }

    fn push(list: &[u8], into: &mut Vec<Self>) -> Result<(), WireError> {
        for bytes in messages(list, 1) {
            into.push(Self::copy_from_slice(bytes?));
        }
        Ok(())
    }

    fn default_values(values: &FeatureValues) -> Option<Vec<Self>> {
        match values {
            FeatureValues::Bytes(values) => {
                Some(values.iter().map(|value| Self::copy_from_slice(value)).collect())
            }
            _ => None,
        }
    }
}

/// One feature of all examples.
struct Column<'a, I> {
    feature: &'a Feature,
    lists: I,
    limit: usize,
}

impl<'a, I: Iterator<Item = &'a Option<List<'a>>> + Clone> Column<'a, I> {
    /// `left` are the bytes that may still be taken.
    fn tensor<T: FeatureElement>(self, left: &mut usize) -> Result<Tensor, ExampleError> {
        let (sizes, varies) = self.sizes();
        // Values of one example, or of one step of it.
        let step: usize = sizes.iter().fold(1, |product, size| product.saturating_mul(*size));
        let mut most = if varies { 0 } else { step };
        let (mut rows, mut bytes) = (0_usize, 0_usize);
        for (index, list) in self.lists.clone().enumerate() {
            rows += 1;
            let Some((kind, list)) = list else { continue };
            if *kind != self.feature.list {
                let (expected, found) = (name(self.feature.list), name(*kind));
                return Err(ExampleError::Type { name: self.feature.name.clone(), index, expected, found });
            }
            bytes += if *kind == FeatureList::Bytes { list.len() } else { 0 };
            let found = T::count(list)?;
            if (varies && (step == 0 || !found.is_multiple_of(step))) || (!varies && found != step) {
                return Err(self.wrong_count(index, found));
            }
            most = most.max(found);
        }
        let size = rows.saturating_mul(most).saturating_mul(size_of::<T>()).saturating_add(bytes);
        *left = left.checked_sub(size).ok_or(ExampleError::TooLarge { limit: self.limit })?;
        let default: Option<Vec<T>> = self.feature.default.as_ref().and_then(T::default_values);
        let mut values = Vec::with_capacity(rows.saturating_mul(most));
        for (index, list) in self.lists.clone().enumerate() {
            let end = values.len() + most;
            match (list, &default) {
                (Some((_, list)), _) => T::push(list, &mut values)?,
                (None, Some(default)) if !varies && <[T]>::len(default) == most => {
                    values.extend_from_slice(default)
                }
                (None, None) if !varies => {
                    let expected = name(self.feature.list);
                    return Err(ExampleError::Missing { name: self.feature.name.clone(), index, expected });
                }
                _ => {}
            }
            if values.len() > end {
                return Err(self.wrong_count(index, values.len() + most - end));
            }
            // What varies is padded; one default is for all values.
            values.resize(
                end,
                default.as_ref().and_then(|default| default.first()).cloned().unwrap_or_default(),
            );
        }
        let mut shape = vec![rows];
        if varies {
            shape.push(most.checked_div(step).unwrap_or_default());
        }
        shape.extend(sizes);
        let reason = "a feature's values are not as many as were counted";
        Tensor::new(shape, T::wrap(Arc::new(values)))
            .ok_or(ExampleError::Malformed(WireError { reason, offset: 0 }))
    }

    /// The sizes of one example's feature, without the first one if that varies, and whether it
    /// does.
    fn sizes(&self) -> (Vec<usize>, bool) {
        let varies = self.feature.shape.first().is_some_and(Option::is_none);
        let known = self.feature.shape.iter().skip(usize::from(varies));
        // Only the first size can be open.
        let sizes = known.map(|size| size.map_or(1, |size| usize::try_from(size).unwrap_or(usize::MAX)));
        (sizes.collect(), varies)
    }

    fn wrong_count(&self, index: usize, found: usize) -> ExampleError {
        let sizes: Vec<String> = self
            .feature
            .shape
            .iter()
            .map(|size| size.map_or_else(|| "?".to_owned(), |size| size.to_string()))
            .collect();
        ExampleError::Count {
            name: self.feature.name.clone(),
            index,
            kind: name(self.feature.list),
            expected: format!("[{}]", sizes.join(",")),
            found,
        }
    }
}
