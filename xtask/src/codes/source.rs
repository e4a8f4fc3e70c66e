//! A place that gives a code.

use super::{documentation::Documentation, retry::Retry};
use crate::problem::{Place, Problem};

/// A variant, a type or a constant with a code.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) code: String,
    pub(super) package: String,
    /// The variant, type or constant, such as `BundleError::TooLarge`.
    pub(super) owner: String,
    /// Where that is defined.
    pub(super) place: Place,
    /// Where the code is written: variants of one `match` arm share it.
    pub(super) arm: Place,
    pub(super) documentation: Documentation,
    /// The type's own documentation, of which only `Retry:` counts.
    pub(super) type_documentation: Documentation,
    /// What the type's `fn retry` answers, where that is plain.
    pub(super) computed_retry: Option<bool>,
    /// Is it only a use: the code is explained elsewhere?
    pub(super) is_use: bool,
}

impl Source {
    /// Something is wrong with it.
    pub(super) fn problem(&self, text: String) -> Problem {
        Problem { place: self.place.clone(), text }
    }

    /// Nothing explains the code.
    pub(super) fn unexplained(&self) -> Problem {
        if self.is_use {
            return self.problem(format!(
                "code `{}` is written in place; give it a variant of an enum with `fn code`, or a constant, \
                 with a meaning and a `Do:` in its documentation",
                self.code
            ));
        }
        self.problem(format!(
            "code `{}` ({}) has no next step; write a paragraph `Do: ..` in its documentation",
            self.code, self.owner
        ))
    }

    /// May the same attempt succeed later?
    pub(super) fn retry(&self) -> Result<Retry, String> {
        let documented = |found: &Documentation| match &found.retry {
            None => Ok(None),
            Some(Ok(retry)) => Ok(Some(*retry)),
            Some(Err(text)) => Err(format!("`Retry: {text}`; write yes, no or later")),
        };
        let own = documented(&self.documentation)?;
        match (self.computed_retry, own) {
            (Some(true), Some(Retry::No)) | (Some(false), Some(Retry::Yes | Retry::Later)) => {
                Err("`Retry:` and `fn retry` disagree; change one".to_owned())
            }
            (_, Some(retry)) => Ok(retry),
            (Some(true), None) => Ok(Retry::Yes),
            (Some(false), None) => Ok(Retry::No),
            (None, None) => documented(&self.type_documentation)?.ok_or_else(|| {
                "may the same attempt succeed later? Write `Retry: yes`, `no` or `later` here or above the type, or \
                 give the type a `fn retry`"
                    .to_owned()
            }),
        }
    }
}
