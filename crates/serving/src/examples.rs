//! Features of `tf.Example`s become the tensors that a graph takes
//! (`tensorflow/core/example/example.proto`).

mod batch;
mod error;
mod features;

#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use error::ExampleError;
pub use features::tensors;
