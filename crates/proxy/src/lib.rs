//! A proxy for unmodified clients of any language: they speak gRPC or REST to a local port,
//! and the proxy speaks attested sessions to the replicas of a service. Each replica has
//! proved what it is before the first byte of a request leaves, on each connection.
//!
//! [`listener`] accepts local clients, `forward` carries a request to a replica, [`replicas`]
//! keeps one attested session with each replica, and `answer` is what a client gets if no
//! replica may have its request. `body` keeps what may have to be sent again.
//!
//! ```no_run
//! # async fn example(attestation: adytum_client::Attestation) -> Result<(), adytum_proxy::ProxyError> {
//! use adytum_proxy::{Proxy, Replicas};
//!
//! let replicas = Replicas::new("models.example.org:8500".parse().unwrap(), attestation);
//! let proxy = Proxy::listen("127.0.0.1:8500".parse().unwrap(), replicas).await?;
//! proxy.serve(std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod answer;
mod body;
mod error;
mod forward;
pub mod listener;
pub mod replicas;

pub use error::ProxyError;
pub use listener::Proxy;
pub use replicas::{Addresses, Notice, Replicas, Resolver};
