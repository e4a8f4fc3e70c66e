//! Azure: tokens of Azure Attestation (MAA), and keys of Azure Key Vault or a Managed HSM, by
//! secure key release.
//!
//! A key's release policy at Azure says which claims of which attestation service it takes.
//! This program makes an RSA key, lets the service attest to it, and gives the token to the
//! vault. The vault answers with a signed statement in which the key is encrypted to that RSA
//! key. Before anything of it is believed,
//! 1. the statement's certificates are verified up to pinned roots, and for the vault's name,
//! 2. its signature is verified,
//! 3. it must name the key that was asked for, the algorithm, and, if it has one, the nonce.
//!
//! It is fresh, since the RSA key was made for this request.
//!
//! The attestation service is not trusted here: the vault judges its token, and so does a broker
//! to which a program shows one ([`TokenAttester`]).

mod access;
mod attestation;
mod client;
mod error;
mod key_name;
mod release;
mod roots;
mod service;
mod token_attester;

pub use self::{
    access::Identity,
    attestation::{ApiVersion, AttestationService, AttestedQuote},
    client::{DEADLINE, KeyVaultClient, KeyVaultOptions},
    error::AzureError,
    key_name::{Form, KeyName, KeyNameError, VaultName},
    release::{KeyWrapping, read_release},
    roots::{azure_roots, roots_from_pem},
    token_attester::TokenAttester,
};
