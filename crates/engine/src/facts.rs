//! The facts about the values of a graph at load: types, shapes, bounds of whole numbers.

mod fact;
mod shapes;
pub mod size;

pub use fact::{Fact, dimension_bounds, integers, type_bounds};
pub(crate) use shapes::{Inferred, Query, infer};
