//! Messages of which only the canonical encoding is accepted: fields in order, each at
//! most once, the shortest integers, no unknown fields. Every message then has one form,
//! and nothing can hide in it.

use prost::Message;

/// Why bytes are not the canonical encoding of a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// Not a message at all.
    #[error("{0}")]
    Decode(#[from] prost::DecodeError),
    /// Another encoding of it.
    #[error("unknown, repeated or misordered fields, or not the shortest encoding")]
    Other,
}

/// Decodes one message and accepts its canonical encoding only.
pub fn parse<M: Message + Default>(bytes: &[u8]) -> Result<M, CanonicalError> {
    let message = M::decode(bytes)?;
    if message.encoded_len() != bytes.len() || message.encode_to_vec() != bytes {
        return Err(CanonicalError::Other);
    }
    Ok(message)
}
