//! What an island is made of.

use std::collections::HashMap;

use super::Translation;
use crate::{
    facts::{Fact, size::Sizes},
    onnx::model::ValueId,
};

/// A node of an island: what it is for rten, and the values that it makes.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) translation: Translation,
    pub(crate) outputs: Vec<Option<ValueId>>,
}

/// What an island is made of.
pub(crate) struct Plot<'a> {
    /// Its nodes in an order in which they can be computed.
    pub(crate) members: &'a [Member],
    /// The values that are used outside it.
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) facts: &'a HashMap<ValueId, Fact>,
    pub(crate) sizes: &'a Sizes,
}
