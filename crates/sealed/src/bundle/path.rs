//! Paths in a bundle, each in its one spelling, none leading out of it.

use std::fmt;

use super::{EntryError, MAXIMUM_DEPTH};

/// The longest last part and the longest rest of a path in a ustar header.
const NAME_LENGTH: usize = 100;
const PREFIX_LENGTH: usize = 155;

/// Where an entry lies, relative to the bundle's root: UTF-8 without control
/// characters, no empty component, no `.` and no `..`, short enough for a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPath {
    text: String,
    /// Where the header's prefix ends: the position of a slash.
    split: Option<usize>,
}

impl EntryPath {
    /// Reads a path.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        let text = text(bytes)?;
        if text.starts_with('/') {
            return Err(EntryError::Absolute { path: printable(text) });
        }
        for component in text.split('/') {
            match component {
                ".." => return Err(EntryError::Parent { path: printable(text) }),
                "" | "." => return Err(EntryError::Spelling { path: printable(text) }),
                _ => {}
            }
        }
        if text.split('/').count() > MAXIMUM_DEPTH {
            return Err(EntryError::TooDeep { path: printable(text) });
        }
        let too_long = || EntryError::TooLong { path: printable(text) };
        let split = match text.len() {
            ..=NAME_LENGTH => None,
            // The first slash that leaves a name short enough.
            _ => Some(
                text.match_indices('/')
                    .map(|(position, _)| position)
                    .find(|position| text.len() - position - 1 <= NAME_LENGTH)
                    .filter(|position| *position <= PREFIX_LENGTH)
                    .ok_or_else(too_long)?,
            ),
        };
        Ok(Self { text: text.to_owned(), split })
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The directories it lies in, from the root on.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        self.text.rsplit_once('/').into_iter().flat_map(|(parents, _)| parents.split('/'))
    }

    /// Its name in its directory.
    pub fn name(&self) -> &str {
        self.text.rsplit_once('/').map_or(self.text.as_str(), |(_, name)| name)
    }

    /// The two fields of a header.
    pub(super) fn prefix_and_name(&self) -> (&str, &str) {
        match self.split {
            Some(position) => (&self.text[..position], &self.text[position + 1..]),
            None => ("", &self.text),
        }
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// Where a symbolic link leads: relative, within the bundle.
///
/// `..` comes at the beginning only, and not more often than the link lies
/// deep. There it goes up real directories: nothing in a bundle lies behind a
/// link. After another name it might go up from wherever a link with that name
/// leads, and out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTarget(String);

impl LinkTarget {
    /// Reads the target of a link that lies at `path`.
    pub fn parse(path: &EntryPath, bytes: &[u8]) -> Result<Self, EntryError> {
        let target = text(bytes)?;
        let outside = || EntryError::LinkOutside { path: path.to_string(), target: printable(target) };
        if target.starts_with('/') {
            return Err(outside());
        }
        if target.len() > NAME_LENGTH {
            return Err(EntryError::TooLong { path: printable(target) });
        }
        let mut depth = path.parents().count();
        let mut descending = false;
        for component in target.split('/') {
            match component {
                "" | "." => return Err(EntryError::Spelling { path: printable(target) }),
                ".." if descending => return Err(outside()),
                ".." => depth = depth.checked_sub(1).ok_or_else(outside)?,
                _ => descending = true,
            }
        }
        Ok(Self(target.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn text(bytes: &[u8]) -> Result<&str, EntryError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| EntryError::NotText { path: printable(&String::from_utf8_lossy(bytes)) })?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(EntryError::Spelling { path: printable(text) });
    }
    Ok(text)
}

/// A path from outside, safe in a log line: escaped and cut.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(300).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Result<(), &'static str> {
        EntryPath::parse(text.as_bytes()).map(|_| ()).map_err(|error| error.code())
    }

    #[test]
    fn a_path_has_one_spelling_and_stays_inside() {
        for text in [
            "a",
            "a/b",
            "a b/ü",
            "...",
            "a/..b",
            ".hidden",
            &format!("{}/{}", "p".repeat(155), "n".repeat(100)),
        ] {
            assert_eq!(code(text), Ok(()), "{text:?}");
            assert_eq!(EntryPath::parse(text.as_bytes()).unwrap().as_str(), text);
        }
        for text in ["/", "/a", "//a"] {
            assert_eq!(code(text), Err("bundle-path-absolute"), "{text:?}");
        }
        for text in ["..", "../a", "a/../b", "a/.."] {
            assert_eq!(code(text), Err("bundle-path-parent"), "{text:?}");
        }
        for text in ["", ".", "./a", "a/", "a//b", "a/./b", "a\nb", "a\0b"] {
            assert_eq!(code(text), Err("bundle-path-spelling"), "{text:?}");
        }
        assert_eq!(EntryPath::parse(b"a/\xff").unwrap_err().code(), "bundle-path-not-utf8");
        for text in [
            "n".repeat(101),
            format!("{}/n", "p".repeat(156)),
            format!("p/{}", "n".repeat(101)),
            "a/".repeat(200) + "a",
        ] {
            let found = code(&text);
            assert!(
                matches!(found, Err("bundle-path-too-long" | "bundle-path-too-deep")),
                "{text:?} {found:?}"
            );
        }
        assert_eq!(code(&("a/".repeat(64) + "a")), Err("bundle-path-too-deep"));
        assert_eq!(code(&("a/".repeat(63) + "a")), Ok(()));
    }

    #[test]
    fn a_link_stays_inside() {
        let target = |path: &str, target: &str| {
            let path = EntryPath::parse(path.as_bytes()).unwrap();
            LinkTarget::parse(&path, target.as_bytes()).map(|_| ()).map_err(|error| error.code())
        };
        for (path, to) in [("l", "a"), ("l", "a/b"), ("d/l", ".."), ("d/l", "../a"), ("d/e/l", "../../a/b")] {
            assert_eq!(target(path, to), Ok(()), "{path} -> {to}");
        }
        for (path, to) in [
            ("l", "/etc/passwd"),
            ("l", ".."),
            ("l", "../a"),
            ("d/l", "../.."),
            ("d/l", "../../a"),
            // Inside as text, but `d/e` may be a link to a directory less deep.
            ("l", "d/e/.."),
            ("d/l", "../d/e/../../.."),
        ] {
            assert_eq!(target(path, to), Err("bundle-link-outside"), "{path} -> {to}");
        }
        for to in ["", ".", "a/", "a//b", "./a", "a\nb"] {
            assert_eq!(target("l", to), Err("bundle-path-spelling"), "{to:?}");
        }
        assert_eq!(target("l", &"a".repeat(101)), Err("bundle-path-too-long"));
    }
}
