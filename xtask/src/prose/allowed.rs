//! Uses that are right although a rule is against the words, each with its reason.

/// A use that is right.
pub(super) struct Allowed {
    /// The file, from the workspace's root.
    pub(super) file: &'static str,
    /// A part of the sentence.
    pub(super) sentence: &'static str,
    /// Why it is right.
    pub(super) reason: &'static str,
}

pub(super) const ALLOWED: &[Allowed] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_reason() {
        for allowed in ALLOWED {
            assert!(allowed.reason.split_whitespace().count() > 2, "{}: {}", allowed.file, allowed.sentence);
        }
    }
}
