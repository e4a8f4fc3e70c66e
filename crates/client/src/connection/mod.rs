//! Connections to a model server.

mod address;
mod certificate;
mod connector;
mod error;
mod identity;
mod target;

pub use address::ServerAddress;
pub use certificate::TrustError;
pub(crate) use certificate::TrustedCertificates;
pub(crate) use connector::Connector;
pub use error::ConnectError;
pub use identity::ClientIdentity;
pub use target::TargetError;
