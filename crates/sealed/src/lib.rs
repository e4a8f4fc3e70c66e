//! Sealed models: streaming encryption in the age format, digests, and owners'
//! signatures. Encryption is not authorship (DESIGN, invariant 5): what opens
//! is used only if a [`rule::ModelRule`] accepts its digest or its signature.

#![forbid(unsafe_code)]

pub mod rule;
pub mod signing;
