//! The examples of one request, where they lie.

use adytum_engine::tensor::Text;
use adytum_wire::{Fields, WireError};

use super::ExampleError;

/// Encoded `tf.Example`s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Its features are those of each example that lacks them.
    pub(super) context: Option<&'a [u8]>,
    pub(super) examples: Vec<&'a [u8]>,
}

impl<'a> Batch<'a> {
    /// The examples of an encoded `tensorflow.serving.Input`. More than fit in `limit` bytes are
    /// refused before any room is made for them.
    pub fn of_input(message: &'a [u8], limit: usize) -> Result<Self, ExampleError> {
        // Of a oneof the last one counts.
        let (mut list, mut with_context) = (&message[..0], false);
        for field in Fields::of(message) {
            let field = field?;
            if let (1 | 2, Some(range)) = (field.number, field.bytes()) {
                list = message.get(range).unwrap_or_default();
                with_context = field.number == 2;
            }
        }
        let mut count = 0_usize;
        for field in Fields::of(list) {
            count += usize::from(field?.number == 1);
        }
        if count.saturating_mul(size_of::<&[u8]>()) > limit {
            return Err(ExampleError::TooLarge { limit });
        }
        let mut batch = Self { context: None, examples: Vec::with_capacity(count) };
        for field in Fields::of(list) {
            let field = field?;
            let Some(bytes) = field.bytes().and_then(|range| list.get(range)) else {
                let (reason, offset) = ("an example is no message", field.whole.start);
                return Err(WireError { reason, offset }.into());
            };
            match field.number {
                1 => batch.examples.push(bytes),
                2 if with_context => batch.context = Some(bytes),
                _ => {}
            }
        }
        Ok(batch)
    }

    /// The texts of a tensor, each an encoded example.
    pub fn of_texts(texts: &'a [Text]) -> Self {
        Self { context: None, examples: texts.iter().map(AsRef::as_ref).collect() }
    }

    /// Examples that were encoded here.
    pub fn of_encoded(context: Option<&'a [u8]>, examples: &'a [Vec<u8>]) -> Self {
        Self { context, examples: examples.iter().map(Vec::as_slice).collect() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// The examples as texts, each with the context before it: read one after the other, the
    /// last of two features of a name counts.
    pub fn texts(&self) -> Vec<Text> {
        self.examples
            .iter()
            .map(|example| Text::from([self.context.unwrap_or_default(), example].concat()))
            .collect()
    }

    /// Bytes that [`Self::texts`] takes.
    pub fn texts_size(&self) -> usize {
        let context = self.context.map_or(0, <[u8]>::len);
        let all =
            |sum: usize, example: &&[u8]| sum.saturating_add(example.len() + context + size_of::<Text>());
        self.examples.iter().fold(0, all)
    }
}
