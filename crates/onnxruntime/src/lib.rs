//! ONNX Runtime as an engine.
//!
//! Its library is no part of this program: it is loaded at run time ([`library`]), from bytes
//! that the caller has checked. docs/engines.md says when to use it, and what it
//! can't bound.
//!
//! - [`library`] loads the library and asks for its interface.
//! - [`runtime`]: the engine. It starts once in a process.
//! - `outline`, `needs`, `rewrite`: the model's file, before ONNX Runtime reads it. Data in other
//!   files is brought along, and what only some outputs need is cut off.
//! - `native`: values and runs, through the C interface.
//! - `watch` ends runs whose callers are gone.

mod engine;
pub mod error;
pub mod library;
mod native;
mod needs;
mod outline;
mod rewrite;
pub mod runtime;
mod watch;

pub use error::RuntimeError;
pub use library::{Library, SharedObject};
pub use runtime::OnnxRuntime;
