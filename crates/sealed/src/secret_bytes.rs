//! Plaintext in memory.

use std::{collections::TryReserveError, fmt, mem};

use zeroize::Zeroizing;

/// Plaintext in one allocation of exactly its size. Wiped when dropped, never
/// printed, not copied by accident.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Zeros, `length` of them.
    pub(crate) fn zeros(length: usize) -> Result<Self, TryReserveError> {
        // Memory that the system has zeroed already needs no pass of its own, but
        // the request for it can't fail, so it is tried before.
        Vec::<u8>::new().try_reserve_exact(length)?;
        Ok(Self(Zeroizing::new(vec![0; length])))
    }

    /// To be written into, never grown: that would leave an unwiped copy behind.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0
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
        let mut secret = SecretBytes::zeros(6).unwrap();
        secret.as_mut_slice().copy_from_slice(b"sesame");
        let address = secret.as_slice().as_ptr();
        assert_eq!(format!("{secret:?}"), "SecretBytes(6 bytes)");
        let vector = secret.into_vec();
        assert_eq!(vector, b"sesame");
        assert_eq!(vector.as_ptr(), address);
    }

    #[test]
    fn too_much_is_an_error_not_an_abort() {
        assert!(SecretBytes::zeros(usize::MAX / 2).is_err());
    }
}
