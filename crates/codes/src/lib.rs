//! The catalogue of codes, as programs have it built in: what each code means, what to
//! do about it, and whether the same attempt may succeed later. `cargo xtask codes --write`
//! writes the table from the documentation of the errors.
//!
//! A program that ends with an error prints the message, and then the next step of its
//! code ([`next_step`]).

#![forbid(unsafe_code)]

#[rustfmt::skip]
mod table;

use std::{error::Error, fmt, io};

/// A code and what is known of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Words in lower case with dashes.
    pub code: &'static str,
    /// The fact that the code stands for, in one paragraph.
    pub meaning: &'static str,
    /// An instruction, in one paragraph.
    pub next_step: &'static str,
    /// Whether the same attempt may succeed later.
    pub retry: Retry,
    /// The crates that have the code, separated by commas.
    pub package: &'static str,
    /// The programs that may show it.
    pub programs: &'static [&'static str],
}

/// May the same attempt succeed later?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same attempt may succeed at once.
    Yes,
    /// The same attempt may succeed after some time, without a change by anybody.
    Later,
    /// The same attempt fails again until the next step is done.
    No,
}

impl Retry {
    /// The word for it in the catalogue.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Later => "later",
            Self::No => "no",
        }
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "yes: the same attempt may succeed at once",
            Self::Later => "later: the same attempt may succeed after some time",
            Self::No => "no: it fails again until the next step is done",
        })
    }
}

/// All codes, in alphabetical order.
pub fn entries() -> &'static [Entry] {
    table::ENTRIES
}

/// The entry of a code.
pub fn get(code: &str) -> Option<&'static Entry> {
    let entries = entries();
    entries.binary_search_by(|entry| entry.code.cmp(code)).ok().and_then(|index| entries.get(index))
}

/// What to do about an error with this code. Empty if the catalogue does not have it,
/// which `cargo xtask codes` prevents.
pub fn next_step(code: &str) -> &'static str {
    get(code).map_or("", |entry| entry.next_step)
}

/// The line that follows an error's message: what to do about it.
///
/// The code is the first among those of the error and its causes, outermost first.
/// `code_of` returns the code of a cause whose type has one ([`coded_errors`]). Without
/// a code, an error of the operating system has a next step, too.
pub fn what_to_do<'a>(
    causes: impl IntoIterator<Item = &'a (dyn Error + 'static)>,
    code_of: impl Fn(&'a (dyn Error + 'static)) -> Option<&'a str>,
) -> Option<WhatToDo> {
    let mut of_system = None;
    for cause in causes {
        if let Some(entry) = code_of(cause).and_then(get) {
            return Some(WhatToDo { next_step: entry.next_step, code: Some(entry.code) });
        }
        if let Some(next_step) = cause.downcast_ref::<io::Error>().and_then(|error| of_kind(error.kind())) {
            of_system = Some(WhatToDo { next_step, code: None });
        }
    }
    of_system
}

/// What to do about an error of the operating system.
fn of_kind(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::NotFound => Some("check the path"),
        io::ErrorKind::PermissionDenied => Some("check the permissions of the file and of its directory"),
        io::ErrorKind::IsADirectory => Some("name a file, not a directory"),
        io::ErrorKind::NotADirectory => Some("name a directory, not a file"),
        io::ErrorKind::AlreadyExists => Some("name another file, or move that one away"),
        io::ErrorKind::StorageFull => Some("free some space on the disk"),
        io::ErrorKind::ReadOnlyFilesystem => Some("name a file on a disk that can be written"),
        io::ErrorKind::ConnectionRefused => Some("check that a server listens at that address"),
        _ => None,
    }
}

/// Defines `fn code_of(cause)`: the code of an error that is of one of these types, each
/// of which has a method `code`.
#[macro_export]
macro_rules! coded_errors {
    ($($error:ty),+ $(,)?) => {
        /// The code of an error whose type has one.
        fn code_of<'a>(cause: &'a (dyn ::std::error::Error + 'static)) -> Option<&'a str> {
            $(if let Some(error) = cause.downcast_ref::<$error>() {
                return Some(error.code());
            })+
            None
        }
    };
}

/// The next step of an error, as a line for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhatToDo {
    next_step: &'static str,
    code: Option<&'static str>,
}

impl WhatToDo {
    /// The instruction alone.
    pub fn next_step(&self) -> &'static str {
        self.next_step
    }
}

impl fmt::Display for WhatToDo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what to do: {}", self.next_step.trim_end_matches('.'))?;
        match self.code {
            Some(code) => write!(f, " (adytum explain {code})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        let entries = entries();
        assert!(entries.windows(2).all(|pair| pair[0].code < pair[1].code));
        for entry in entries {
            assert_eq!(get(entry.code), Some(entry));
            assert!(!entry.meaning.is_empty() && !next_step(entry.code).is_empty(), "{}", entry.code);
        }
        assert_eq!(get("no-such-code"), None);
    }

    #[test]
    fn the_next_step_of_the_outermost_code_is_a_line() {
        #[derive(Debug)]
        struct Coded(&'static str);
        impl Coded {
            fn code(&self) -> &str {
                self.0
            }
        }
        impl fmt::Display for Coded {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
        }
        impl Error for Coded {}
        coded_errors!(Coded);
        let causes: [&(dyn Error + 'static); 3] = [&fmt::Error, &Coded("overloaded"), &Coded("aborted")];
        let line = what_to_do(causes, code_of).unwrap().to_string();
        assert!(line.starts_with("what to do: ") && line.ends_with(" (adytum explain overloaded)"), "{line}");
        assert_eq!(what_to_do([causes[0]], code_of), None);
        assert_eq!(what_to_do([&Coded("no-such-code") as _], code_of), None);
    }
    #[test]
    fn errors_of_the_system_have_a_next_step_after_those_with_codes() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(what_to_do([&missing as _], |_| None).unwrap().to_string(), "what to do: check the path");
        let both: [&(dyn Error + 'static); 2] = [&missing, &fmt::Error];
        let found = what_to_do(both, |cause| cause.is::<fmt::Error>().then_some("aborted")).unwrap();
        assert!(found.to_string().ends_with("(adytum explain aborted)"), "{found}");
    }
}
