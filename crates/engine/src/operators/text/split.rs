//! `StringSplit`.

use super::{check_texts, letters};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        operands::{Operands, check_arity, output, push_within, values},
    },
    tensor::{ElementType, Text, Value, ValueType},
};

/// Splits texts at a delimiter, or at spaces.
#[derive(Debug)]
struct Split {
    /// Not empty; `None` for spaces, of which several are one delimiter.
    delimiter: Option<Text>,
    /// The largest number of splits.
    limit: usize,
}

pub(super) fn build(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 2)?;
    check_texts(definition, 0)?;
    let delimiter =
        definition.attributes.bytes("delimiter")?.filter(|delimiter| !delimiter.is_empty()).cloned();
    let limit = match definition.attributes.integer("maxsplit")? {
        None => usize::MAX,
        Some(limit) => usize::try_from(limit).map_err(|_| {
            Refusal::new(format!("the attribute maxsplit is {limit}; at least 0 is expected"))
        })?,
    };
    let types = vec![ValueType::Tensor(ElementType::Text), ValueType::Tensor(ElementType::Int64)];
    Ok(Built { operator: Box::new(Split { delimiter, limit }), types })
}

impl Split {
    fn split(&self, text: &Text, context: &Context<'_>) -> Result<Vec<Text>, OperatorError> {
        match &self.delimiter {
            Some(delimiter) => self.at_delimiter(text, delimiter, context),
            None => self.at_spaces(text, context),
        }
    }

    fn at_delimiter(
        &self,
        text: &Text,
        delimiter: &[u8],
        context: &Context<'_>,
    ) -> Result<Vec<Text>, OperatorError> {
        let mut parts = Vec::new();
        let mut start = 0;
        if text.is_empty() {
            return Ok(parts);
        }
        while parts.len() < self.limit {
            let rest = &text[start..];
            let Some(found) = rest.windows(delimiter.len()).position(|window| window == delimiter) else {
                break;
            };
            push_within(&mut parts, text.slice(start..start + found), context)?;
            start += found + delimiter.len();
        }
        parts.push(text.slice(start..));
        Ok(parts)
    }

    fn at_spaces(&self, text: &Text, context: &Context<'_>) -> Result<Vec<Text>, OperatorError> {
        let mut parts = Vec::new();
        let mut rest = letters(text)?.trim();
        while !rest.is_empty() {
            let end = if parts.len() < self.limit { rest.find(char::is_whitespace) } else { None };
            let (part, more) = rest.split_at(end.unwrap_or(rest.len()));
            push_within(&mut parts, text.slice_ref(part.as_bytes()), context)?;
            rest = more.trim_start();
        }
        Ok(parts)
    }
}

impl Operator for Split {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let tensor = Operands::new(inputs).tensor(0)?;
        let texts = values::<Text>(&tensor)?;
        // Each part is a view of its text.
        let mut widest = 0;
        let mut split = Vec::with_capacity(texts.len());
        for text in texts {
            context.check()?;
            let parts = self.split(text, context)?;
            widest = widest.max(parts.len());
            split.push(parts);
        }
        let mut shape = tensor.shape().to_vec();
        shape.push(widest);
        let mut padded = Vec::with_capacity(context.reserve(ElementType::Text, &shape)?);
        let counts = split.iter().map(|parts| parts.len() as i64).collect::<Vec<_>>();
        for parts in split {
            let end = padded.len() + widest;
            padded.extend(parts);
            padded.resize(end, Text::new());
        }
        Ok(vec![output(shape, padded)?, output(tensor.shape(), counts)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::{Cancellation, Memory};

    fn parts(delimiter: &str, limit: usize, text: &'static str) -> Vec<String> {
        let delimiter = (!delimiter.is_empty()).then(|| Text::copy_from_slice(delimiter.as_bytes()));
        let cancellation = Cancellation::default();
        let memory = Memory::new(1 << 20);
        let context = Context::new(&memory, &cancellation);
        let split = Split { delimiter, limit }.split(&Text::from_static(text.as_bytes()), &context).unwrap();
        split.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    }

    #[test]
    fn a_text_of_delimiters_is_charged_for_its_parts() {
        let cancellation = Cancellation::default();
        let memory = Memory::new(100_000);
        let context = Context::new(&memory, &cancellation);
        let split = Split { delimiter: Some(Text::from_static(b",")), limit: usize::MAX };
        assert!(split.split(&Text::from(vec![b','; 1000]), &context).is_ok());
        assert!(split.split(&Text::from(vec![b','; 10000]), &context).is_err());
    }

    #[test]
    fn delimiters_and_spaces() {
        assert_eq!(parts("-", usize::MAX, "o-n-n--x-"), ["o", "n", "n", "", "x", ""]);
        assert_eq!(parts("-", 2, "o-n-n--x-"), ["o", "n", "n--x-"]);
        assert_eq!(parts("--", 2, "a"), ["a"]);
        assert_eq!(parts("", usize::MAX, "  hello   world !  "), ["hello", "world", "!"]);
        assert_eq!(parts("", 2, "the quick  brown fox "), ["the", "quick", "brown fox"]);
        assert_eq!(parts("", 0, " a b "), ["a b"]);
        assert_eq!(parts("", 1, "  "), [""; 0]);
    }
}
