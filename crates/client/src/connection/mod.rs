//! Connections to a model server.

mod address;
mod attestation;
mod certificate;
mod connector;
mod error;
mod identity;
mod target;

pub use address::ServerAddress;
pub use attestation::{Attestation, AttestationOptions, Replica};
pub use certificate::TrustError;
pub(crate) use certificate::TrustedCertificates;
pub(crate) use connector::Connector;
pub use error::ConnectError;
pub use identity::ClientIdentity;
pub use target::TargetError;
