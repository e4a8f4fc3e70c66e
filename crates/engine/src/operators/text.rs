//! Texts: `StringConcat`, `StringNormalizer`, `StringSplit`, `RegexFullMatch`,
//! `TfIdfVectorizer`, and `Tokenizer` of `com.microsoft`.

mod concatenation;
mod matching;
mod normalizer;
mod pattern;
mod split;
mod tokenizer;
mod vectorizer;

use super::{Definition, OperatorError, Refusal, definition::Builder};
use crate::tensor::{ElementType, Text};

pub(super) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "StringConcat", concatenation::build),
    ("", "StringNormalizer", normalizer::build),
    ("com.microsoft", "StringNormalizer", normalizer::build),
    ("", "StringSplit", split::build),
    ("", "RegexFullMatch", matching::build),
    ("com.microsoft", "Tokenizer", tokenizer::build),
    ("", "TfIdfVectorizer", vectorizer::build),
];

/// Refuses an input that is not of texts.
fn check_texts(definition: &Definition<'_>, index: usize) -> Result<(), Refusal> {
    match definition.tensor_type(index)? {
        ElementType::Text => Ok(()),
        _ => Err(definition.unsupported_type(index)),
    }
}

/// A text whose letters are read.
fn letters(text: &Text) -> Result<&str, OperatorError> {
    std::str::from_utf8(text).map_err(|_| OperatorError::inputs("a text is not UTF-8"))
}

/// The bytes of the letters that texts of an output have: their memory is the output's own.
fn total_length<'a>(texts: impl Iterator<Item = &'a Text>) -> usize {
    texts.map(Text::len).fold(0, usize::saturating_add)
}
