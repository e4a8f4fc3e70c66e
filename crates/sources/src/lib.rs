//! Clients of key sources that are not our broker.
//!
//! Each speaks a protocol that others defined, byte for byte, and adds what the original
//! leaves open: the server is verified before anything that it says is believed, and each
//! answer is fresh. None of them knows `adytum-init`, which chooses one by its measured
//! configuration.
//!
//! * [`aecs`]: KubeTEE's Enclave Configuration Service.
//! * [`azure`]: Azure Attestation, and secure key release of Azure Key Vault.
//! * [`kbs`]: a Key Broker Service of Confidential Containers.

#![forbid(unsafe_code)]

pub mod aecs;
pub mod azure;
mod http_exchange;
pub mod kbs;
mod rsa_key;
