//! The versions that are wanted.

use std::{collections::BTreeSet, num::NonZeroUsize, str::FromStr};

use adytum_sealed::directory::parse_version;

/// Which versions of a source are fetched. The words are those of a model server's version
/// policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The highest ones that can be fetched.
    Latest(NonZeroUsize),
    /// All.
    All,
    /// These.
    Specific(BTreeSet<u64>),
}

/// A text that names no versions.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("give latest, latest:COUNT, all, or numbers with commas between them, as in 3,5")]
pub struct SelectionError;

impl FromStr for Selection {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, SelectionError> {
        match text {
            "latest" => Ok(Self::Latest(NonZeroUsize::MIN)),
            "all" => Ok(Self::All),
            _ => match text.strip_prefix("latest:") {
                Some(count) => count.parse().map(Self::Latest).map_err(|_| SelectionError),
                None => {
                    let numbers: Option<_> = text.split(',').map(parse_version).collect();
                    numbers.map(Self::Specific).ok_or(SelectionError)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_named_as_in_a_policy() {
        assert_eq!("latest".parse(), Ok(Selection::Latest(NonZeroUsize::MIN)));
        assert_eq!("latest:3".parse(), Ok(Selection::Latest(NonZeroUsize::new(3).unwrap())));
        assert_eq!("all".parse(), Ok(Selection::All));
        assert_eq!("5,3,3".parse(), Ok(Selection::Specific(BTreeSet::from([3, 5]))));
        for text in ["", "latest:0", "latest:", "newest", "1,", "-1", "1 2", "99999999999999999999"] {
            assert_eq!(text.parse::<Selection>(), Err(SelectionError), "{text}");
        }
    }
}
