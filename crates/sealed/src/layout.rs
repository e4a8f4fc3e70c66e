//! The names of files in sealed directories, and the unit that ciphertext comes in.

/// The statement's file name.
pub const STATEMENT_FILE: &str = "model.seal";

/// The plaintext's name in the statement of a bundle, and what tells a bundle's
/// statement from a model's.
pub const ARCHIVE_FILE: &str = "bundle.tar";

/// How much plaintext is held at a time, in bytes: age's own chunk (C2SP age,
/// "Payload").
pub(crate) const CHUNK: usize = 64 * 1024;
