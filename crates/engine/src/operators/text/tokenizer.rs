//! `Tokenizer` of `com.microsoft`: texts cut into tokens by a pattern, at separators or
//! by letter.

use super::{check_texts, letters, pattern::Pattern};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        operands::{Operands, check_arity, output, push_within, values},
    },
    tensor::{ElementType, Text, Value},
};

/// How a text is cut.
#[derive(Debug)]
enum Cut {
    Letters,
    Tokens(Pattern),
    Separators(Vec<Pattern>),
}

#[derive(Debug)]
struct Tokenizer {
    cut: Cut,
    /// Whether a token marks the beginning and another the end.
    marks: bool,
    padding: Text,
    /// Tokens of fewer letters are dropped.
    shortest: usize,
}

/// The token before the first.
const BEGINNING: &[u8] = b"\x02";
/// The token behind the last.
const END: &[u8] = b"\x03";

pub(super) fn build(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    check_texts(definition, 0)?;
    let attributes = definition.attributes;
    let missing = |name: &str| Refusal::new(format!("the attribute {name} is missing"));
    let marks = attributes.integer("mark")?.ok_or_else(|| missing("mark"))? != 0;
    let padding = attributes.bytes("pad_value")?.ok_or_else(|| missing("pad_value"))?.clone();
    let shortest = attributes.integer("mincharnum")?.ok_or_else(|| missing("mincharnum"))?;
    let shortest = usize::try_from(shortest).ok().filter(|shortest| *shortest > 0).ok_or_else(|| {
        Refusal::new(format!("the attribute mincharnum is {shortest}; at least 1 is expected"))
    })?;
    let cut = match attributes.texts("separators")? {
        Some([]) => return Err(missing("separators")),
        Some([only]) if only.is_empty() => Cut::Letters,
        Some(separators) => Cut::Separators(
            separators
                .iter()
                .map(|separator| {
                    let separator = std::str::from_utf8(separator)
                        .map_err(|_| Refusal::new("a separator is not UTF-8"))?;
                    Pattern::longest(separator)
                })
                .collect::<Result<_, _>>()?,
        ),
        None => match attributes.text("tokenexp")?.ok_or_else(|| missing("tokenexp"))? {
            "" => return Err(missing("tokenexp")),
            "." => Cut::Letters,
            pattern => Cut::Tokens(Pattern::longest(pattern)?),
        },
    };
    if matches!(cut, Cut::Letters) && shortest > 1 {
        return Err(Refusal::new("the attribute mincharnum must be 1 where each letter is a token"));
    }
    Ok(Built::tensor(Tokenizer { cut, marks, padding, shortest }, ElementType::Text))
}

/// The number of bytes of the first letter; 1 for nothing, so that a search goes on.
fn first_letter(text: &str) -> usize {
    text.chars().next().map_or(1, char::len_utf8)
}

impl Tokenizer {
    fn is_long_enough(&self, token: &str) -> bool {
        token.chars().take(self.shortest).count() >= self.shortest
    }

    fn tokens<'t>(&self, text: &'t str, context: &Context<'_>) -> Result<Vec<&'t str>, OperatorError> {
        match &self.cut {
            Cut::Letters => {
                let mut tokens = Vec::new();
                for (at, letter) in text.char_indices() {
                    push_within(&mut tokens, &text[at..at + letter.len_utf8()], context)?;
                }
                Ok(tokens)
            }
            Cut::Tokens(pattern) => {
                let mut tokens = Vec::new();
                let mut start = 0;
                while let Some(found) = pattern.find(text, start)? {
                    context.check()?;
                    let token = &text[found.clone()];
                    if self.is_long_enough(token) {
                        push_within(&mut tokens, token, context)?;
                        start = found.end;
                    } else {
                        start = found.start + first_letter(&text[found.start..]);
                    }
                }
                Ok(tokens)
            }
            Cut::Separators(separators) => {
                let mut tokens = vec![text];
                for separator in separators {
                    let mut parts = Vec::new();
                    for token in tokens {
                        self.split(token, separator, &mut parts, context)?;
                    }
                    tokens = parts;
                }
                Ok(tokens)
            }
        }
    }

    fn split<'t>(
        &self,
        text: &'t str,
        separator: &Pattern,
        parts: &mut Vec<&'t str>,
        context: &Context<'_>,
    ) -> Result<(), OperatorError> {
        let mut start = 0;
        loop {
            let found = separator.find(text, start)?;
            let end = found.as_ref().map_or(text.len(), |found| found.start);
            let part = text.get(start..end).unwrap_or_default();
            if self.is_long_enough(part) {
                push_within(parts, part, context)?;
            }
            match found {
                None => return Ok(()),
                Some(found) if found.is_empty() => start = found.start + first_letter(&text[found.start..]),
                Some(found) => start = found.end,
            }
        }
    }
}

impl Operator for Tokenizer {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let tensor = Operands::new(inputs).tensor(0)?;
        let mut shape = match tensor.shape() {
            // Without texts, a vector loses its dimension, as in ONNX Runtime.
            [0] => Vec::new(),
            [rows, 0] => vec![*rows],
            [0, _] => vec![0],
            [_] | [_, _] => tensor.shape().to_vec(),
            other => {
                return Err(OperatorError::inputs(format!(
                    "the input has the shape {other:?}; one or two dimensions are expected"
                )));
            }
        };
        let mut cut = Vec::with_capacity(tensor.len());
        for text in values::<Text>(&tensor)? {
            context.check()?;
            let tokens = self.tokens(letters(text)?, context)?;
            // A token is a view of its text.
            context.reserve(ElementType::Text, &[tokens.len()])?;
            let tokens = tokens.into_iter().map(|token| text.slice_ref(token.as_bytes())).collect::<Vec<_>>();
            cut.push(tokens);
        }
        let widest = cut.iter().map(Vec::len).max().unwrap_or(0);
        let width = if widest > 0 && self.marks { widest + 2 } else { widest };
        shape.push(width);
        let mut padded = Vec::with_capacity(context.reserve(ElementType::Text, &shape)?);
        if width > 0 {
            for tokens in cut {
                let end = padded.len() + width;
                padded.extend(self.marks.then_some(Text::from_static(BEGINNING)));
                padded.extend(tokens);
                padded.extend(self.marks.then_some(Text::from_static(END)));
                padded.resize(end, self.padding.clone());
            }
        }
        Ok(vec![output(shape, padded)?])
    }
}
