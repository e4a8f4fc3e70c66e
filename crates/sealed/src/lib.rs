//! Sealed models: streaming encryption in the age format, digests, and owners'
//! signatures. Encryption is not authorship (ARCHITECTURE.md, invariant 5): what opens
//! is used only if a [`rule::ModelRule`] accepts its digest or its signature.
//!
//! The way of a model, each step a type that only the step before can make:
//!
//! 1. an owner seals it: [`seal::seal_to_directory`] writes the ciphertext and
//!    a signed [`statement::Statement`];
//! 2. a replica looks at the model directory: [`directory::scan`];
//! 3. it judges every statement by the broker's rule, before anything is
//!    decrypted: [`select::select`] gives [`rule::GenuineStatement`]s;
//! 4. it decrypts: [`unseal::open_in_memory`] hands out
//!    [`secret_bytes::SecretBytes`] only if length and digest are the stated ones.
//!
//! The format and the reasoning are in `docs/sealed-models.md`. A directory tree
//! is sealed alike: see [`bundle`].

#![forbid(unsafe_code)]

pub mod bundle;
pub mod directory;
mod file;
pub mod keys;
mod layout;
pub mod rule;
pub mod seal;
pub mod secret_bytes;
pub mod select;
pub mod statement;
pub mod unseal;
