//! Plaintext in memory.

use std::{collections::TryReserveError, fmt, mem};

use zeroize::Zeroizing;

/// Plaintext in one allocation of exactly its size. Wiped when dropped, never
/// printed, not copied by accident.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Nothing yet, and room for exactly `capacity` bytes.
    pub(crate) fn with_room(capacity: usize) -> Result<Self, TryReserveError> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(capacity)?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// Appends `length` zeros and gives them to write into. The caller stays
    /// within the room: growing would leave an unwiped copy behind.
    pub(crate) fn extend(&mut self, length: usize) -> &mut [u8] {
        let start = self.0.len();
        debug_assert!(start + length <= self.0.capacity());
        self.0.resize(start + length, 0);
        &mut self.0[start..]
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same allocation as a plain vector, for an engine that takes one.
    /// Nothing is copied, and from here on nothing is wiped either.
    pub fn into_vec(mut self) -> Vec<u8> {
        mem::take(&mut *self.0)
    }
}

impl AsRef<[u8]> for SecretBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn becomes_a_vector_without_a_copy() {
        let mut secret = SecretBytes::with_room(6).unwrap();
        secret.extend(6).copy_from_slice(b"sesame");
        let address = secret.as_slice().as_ptr();
        assert_eq!(format!("{secret:?}"), "SecretBytes(6 bytes)");
        let vector = secret.into_vec();
        assert_eq!(vector, b"sesame");
        assert_eq!(vector.as_ptr(), address);
    }

    #[test]
    fn too_much_is_an_error_not_an_abort() {
        assert!(SecretBytes::with_room(usize::MAX / 2).is_err());
    }
}
