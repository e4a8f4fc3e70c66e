//! TensorFlow Serving's REST API (`api_rest.md`), and the one of the Open Inference Protocol
//! ([`crate::v2`]) on the same port.

mod answer;
mod body;
mod error;
mod examples;
mod metadata;
mod path;
mod predict;
mod results;
mod service;
mod status;
mod v2;

pub use error::RestError;
pub use service::{Rest, RestOptions};
