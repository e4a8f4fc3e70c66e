//! What is known at load of the values of a graph: types, shapes, bounds of whole numbers.

mod fact;
mod shapes;
pub mod size;

pub use fact::{Fact, dimension_bounds, integers, type_bounds};
pub(crate) use shapes::{Inferred, Query, infer};
