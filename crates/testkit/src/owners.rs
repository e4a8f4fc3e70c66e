//! Owners and their signing keys.

use adytum_signing::{OwnerPublicKey, OwnerSigningKey};

use crate::directory::Directory;

/// A new signing key.
pub fn owner() -> OwnerSigningKey {
    OwnerSigningKey::generate().unwrap()
}

/// New signing keys, one for each owner.
pub fn owners(number: usize) -> Vec<OwnerSigningKey> {
    (0..number).map(|_| owner()).collect()
}

/// Writes a new key to a file of this name.
pub fn write_owner(directory: &Directory, name: &str) -> OwnerPublicKey {
    let key = owner();
    directory.write(name, key.to_pem().unwrap().as_bytes());
    key.public_key()
}

/// The signing key in a file of this name.
pub fn read_owner(directory: &Directory, name: &str) -> OwnerSigningKey {
    OwnerSigningKey::from_pem(&directory.read(name)).unwrap()
}
