//! The inference client: asks a model server that speaks TensorFlow Serving's
//! gRPC API to classify images, and measures how fast it answers.
//!
//! ```no_run
//! # async fn example() -> Result<(), adytum_client::ClientError> {
//! use adytum_client::{Client, ClientOptions, ImageInput, ModelSelector, image, ranking};
//!
//! let options = ClientOptions { certificate: Some("server.crt".into()), ..ClientOptions::default() };
//! let client = Client::connect(&"localhost:31001".parse()?, &options).await?;
//! let model = ModelSelector::named("resnet");
//! let signature = client.signature(&model).await?;
//! let input = ImageInput::of(&signature, None)?;
//! let picture = image::read("cat.jpg".as_ref())?;
//! let response = client.predict(model.request(&input, input.tensor(&picture)?)).await?;
//! let best = &ranking::top(&ranking::scores(&response, None)?, 1)[0];
//! println!("class {}, probability {}", best.class, best.probability);
//! # Ok(())
//! # }
//! ```
//!
//! The connection is TLS 1.3 that trusts exactly the certificate it is given, or
//! plain HTTP/2 when it is given none. With an [`Attestation`] it is an attested session:
//! the server has proved to be a replica of a service before the first byte of a request.

#![forbid(unsafe_code)]

pub mod bench;
mod client;
pub mod connection;
mod error;
pub mod image;
mod input;
mod labels;
pub mod ranking;
mod server_status;
mod signature;
mod status;

pub use client::{Client, ClientOptions, MAXIMUM_MESSAGE_LENGTH, ModelSelector, REPEATS};
pub use connection::{
    Attestation, AttestationOptions, ClientIdentity, ConnectError, Replica, ServerAddress, TargetError,
    TrustError,
};
pub use error::ClientError;
pub use image::ImageError;
pub use input::ImageInput;
pub use labels::Labels;
pub use signature::{Signature, TensorSpecification};
pub use status::{VersionState, VersionStatus};
