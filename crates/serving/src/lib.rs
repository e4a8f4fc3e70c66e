//! The model server: TensorFlow Serving's API over ONNX models.
//!
//! From the outside in: [`server`] accepts connections ([`connection`], [`tls`]).
//! [`service`] answers requests of gRPC and [`rest`] those of HTTP, by the protocols of
//! TensorFlow Serving and of KServe ([`v2`]). [`tensor`], [`json`] and [`examples`] check
//! and convert what requests carry, and [`inference`] is what all protocols do then.
//! [`attested`] proves to clients what this replica is. [`models`] knows which versions there are, [`scheduler`] decides when and on how many
//! cores a run happens, [`adytum_engine`] does it. [`run`] is the binary's main job, from
//! the command line ([`flags`]) to the drained server.

#![deny(unsafe_code)]

pub mod attested;
pub mod batching;
pub mod connection;
pub mod engine_choice;
pub mod error;
pub mod examples;
pub mod flags;
pub mod inference;
pub mod json;
pub mod limits;
pub mod loading;
pub mod memory;
pub mod metrics;
pub mod models;
pub mod monitoring;
pub mod rest;
pub mod run;
pub mod scheduler;
pub mod server;
pub mod service;
pub mod status;
pub mod tensor;
pub mod text_format;
pub mod tls;
mod unpack;
pub mod v2;
