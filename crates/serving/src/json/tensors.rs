//! Tensors from lists in lists.

use adytum_engine::tensor::{ElementType, Tensor, Text};
use half::{bf16, f16};

use super::{JsonError, Kind, MAXIMUM_DEPTH, Reader, Span, elements::JsonElement};

/// The bytes that the elements of a value may take in memory.
pub fn charge(span: Span, element_type: ElementType) -> usize {
    span.most_values().saturating_mul(element_type.size())
}

/// The elements of one input, which come in one value or in one value for each example.
pub struct TensorReader(Box<dyn Items + Send>);

impl TensorReader {
    /// For elements of this type.
    pub fn new(element_type: ElementType) -> Self {
        macro_rules! typed {
            ($type:ty) => {
                Box::new(Typed::<$type>::default())
            };
        }
        Self(match element_type {
            ElementType::Float => typed!(f32),
            ElementType::Double => typed!(f64),
            ElementType::Half => typed!(f16),
            ElementType::Bfloat16 => typed!(bf16),
            ElementType::Int8 => typed!(i8),
            ElementType::Int16 => typed!(i16),
            ElementType::Int32 => typed!(i32),
            ElementType::Int64 => typed!(i64),
            ElementType::Uint8 => typed!(u8),
            ElementType::Uint16 => typed!(u16),
            ElementType::Uint32 => typed!(u32),
            ElementType::Uint64 => typed!(u64),
            ElementType::Bool => typed!(bool),
            ElementType::Text => typed!(Text),
        })
    }

    /// Adds the tensor that comes next: a value, or lists in lists of values. It must have the
    /// shape of those before it.
    pub fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), JsonError> {
        self.0.read(reader)
    }

    /// The number of tensors that were added.
    pub fn count(&self) -> usize {
        self.0.count()
    }

    /// The only tensor, in its own shape. `None` if there were several or none.
    pub fn single(self) -> Option<Tensor> {
        self.0.finish(false)
    }

    /// All tensors as a batch, [number of them, their shape...].
    pub fn batch(self) -> Option<Tensor> {
        self.0.finish(true)
    }
}

trait Items {
    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), JsonError>;
    fn count(&self) -> usize;
    fn finish(self: Box<Self>, batch: bool) -> Option<Tensor>;
}

struct Typed<T> {
    values: Vec<T>,
    /// Of each of the tensors.
    shape: Option<Vec<usize>>,
    count: usize,
}

impl<T> Default for Typed<T> {
    fn default() -> Self {
        Self { values: Vec::new(), shape: None, count: 0 }
    }
}

impl<T: JsonElement> Items for Typed<T> {
    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), JsonError> {
        reader.skip_space();
        let offset = reader.position();
        let shape = nested(reader, &mut self.values)?;
        match &self.shape {
            Some(known) if *known != shape => {
                return Err(JsonError::Shape { expected: describe(known), found: describe(&shape), offset });
            }
            Some(_) => {}
            None => self.shape = Some(shape),
        }
        self.count += 1;
        Ok(())
    }

    fn count(&self) -> usize {
        self.count
    }

    fn finish(self: Box<Self>, batch: bool) -> Option<Tensor> {
        let mut shape = self.shape?;
        if batch {
            shape.insert(0, self.count);
        } else if self.count != 1 {
            return None;
        }
        Tensor::from_vec(shape, self.values)
    }
}

fn describe(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("[{}]", sizes.join(","))
}

/// Reads lists in lists, and gives their lengths from the outside in. All lists of a level
/// have one length, and all values are at one level.
fn nested<T: JsonElement>(reader: &mut Reader<'_>, values: &mut Vec<T>) -> Result<Vec<usize>, JsonError> {
    let mut shape = Shape::default();
    // How many elements the lists that are open have had.
    let mut open: Vec<usize> = Vec::new();
    loop {
        if reader.kind()? == Kind::Array {
            let offset = reader.position();
            shape.list(open.len(), offset)?;
            open.push(0);
            if reader.begin_array()? {
                continue;
            }
            // An empty list is over.
            open.pop();
            shape.closed(open.len(), 0, offset)?;
        } else {
            let offset = reader.position();
            shape.value(open.len(), offset)?;
            values.push(T::read(reader)?);
        }
        // After an element of the list around it: the next one, or its end.
        loop {
            let Some(count) = open.last_mut() else { return Ok(shape.sizes()) };
            *count += 1;
            if reader.next_element()? {
                break;
            }
            let count = open.pop().unwrap_or_default();
            shape.closed(open.len(), count, reader.position())?;
        }
    }
}

/// A shape while its values come.
#[derive(Default)]
struct Shape {
    /// The length of the lists of each level, once the first of them is over.
    lengths: Vec<Option<usize>>,
    /// The level of the values, once there is one or an empty list.
    leaves: Option<usize>,
}

impl Shape {
    /// A list begins at this level.
    fn list(&mut self, level: usize, offset: usize) -> Result<(), JsonError> {
        if let Some(expected) = self.leaves.filter(|leaves| level >= *leaves) {
            return Err(JsonError::Level { found: "list", level, expected, offset });
        }
        if level >= MAXIMUM_DEPTH {
            return Err(JsonError::Depth { limit: MAXIMUM_DEPTH, offset });
        }
        if self.lengths.len() == level {
            self.lengths.push(None);
        }
        Ok(())
    }

    fn value(&mut self, level: usize, offset: usize) -> Result<(), JsonError> {
        match *self.leaves.get_or_insert(level) {
            expected if expected != level => {
                Err(JsonError::Level { found: "value", level, expected, offset })
            }
            _ => Ok(()),
        }
    }

    /// A list of this level is over.
    fn closed(&mut self, level: usize, found: usize, offset: usize) -> Result<(), JsonError> {
        if found == 0 {
            // Nothing is in it: its elements would be values.
            self.leaves.get_or_insert(level + 1);
        }
        match self.lengths.get_mut(level) {
            Some(Some(expected)) if *expected != found => {
                Err(JsonError::Ragged { expected: *expected, found, level, offset })
            }
            Some(length) => {
                *length = Some(found);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn sizes(self) -> Vec<usize> {
        self.lengths.into_iter().map(Option::unwrap_or_default).collect()
    }
}
