//! `StringNormalizer`: stop words are removed, letters made small or capital.

use std::collections::HashSet;

use super::{check_texts, letters};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        operands::{Operands, check_arity, output, values},
    },
    tensor::{ElementType, Text, Value},
};

/// A change of letters. One letter becomes one letter, in no particular language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Kept,
    Lower,
    Upper,
}

impl Case {
    fn apply(self, text: &Text) -> Result<Text, OperatorError> {
        fn only(mut letters: impl Iterator<Item = char>, letter: char) -> char {
            match (letters.next(), letters.next()) {
                (Some(changed), None) => changed,
                _ => letter,
            }
        }
        Ok(match self {
            Self::Kept => text.clone(),
            Self::Lower => {
                Text::from(letters(text)?.chars().map(|c| only(c.to_lowercase(), c)).collect::<String>())
            }
            Self::Upper => {
                Text::from(letters(text)?.chars().map(|c| only(c.to_uppercase(), c)).collect::<String>())
            }
        })
    }
}

#[derive(Debug)]
struct Normalizer {
    case: Case,
    /// How texts and stop words are compared.
    compared: Case,
    stop_words: HashSet<Text>,
}

pub(super) fn build(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    check_texts(definition, 0)?;
    let attributes = definition.attributes;
    let name =
        if attributes.contains("casechangeaction") { "casechangeaction" } else { "case_change_action" };
    let case = match attributes.text(name)? {
        None | Some("NONE") => Case::Kept,
        Some("LOWER") => Case::Lower,
        Some("UPPER") => Case::Upper,
        Some(other) => {
            return Err(Refusal::new(format!(
                "the attribute {name} is {other:?}; NONE, LOWER or UPPER is expected"
            )));
        }
    };
    if let Some(locale) = attributes.text("locale")?
        && (locale.starts_with("tr") || locale.starts_with("az") || locale.starts_with("lt"))
    {
        return Err(Refusal::new(format!("letters are not changed by the rules of the locale {locale:?}")));
    }
    let compared =
        if attributes.integer("is_case_sensitive")?.unwrap_or(0) != 0 { Case::Kept } else { Case::Lower };
    let stop_words = attributes
        .texts("stopwords")?
        .unwrap_or_default()
        .iter()
        .map(|word| compared.apply(word))
        .collect::<Result<_, _>>()
        .map_err(|_| Refusal::new("a stop word is not UTF-8"))?;
    Ok(Built::tensor(Normalizer { case, compared, stop_words }, ElementType::Text))
}

impl Operator for Normalizer {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let tensor = Operands::new(inputs).tensor(0)?;
        let is_row = match tensor.shape() {
            [_] => false,
            [1, _] => true,
            other => {
                return Err(OperatorError::inputs(format!(
                    "the input has the shape {other:?}; [n] or [1, n] is expected"
                )));
            }
        };
        let mut kept = Vec::with_capacity(tensor.len());
        for text in values::<Text>(&tensor)? {
            let is_stop_word =
                !self.stop_words.is_empty() && self.stop_words.contains(&self.compared.apply(text)?);
            if !is_stop_word {
                kept.push(self.case.apply(text)?);
            }
        }
        if kept.is_empty() {
            kept.push(Text::new());
        }
        let shape = if is_row { vec![1, kept.len()] } else { vec![kept.len()] };
        Ok(vec![output(shape, kept)?])
    }
}
