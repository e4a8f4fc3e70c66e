//! The inputs of the graph. Signatures share those that agree.

use std::collections::HashMap;

use crate::{
    graph::{Dimension, Shape, ValueId},
    tensor::ElementType,
};

/// The sizes that were declared, `None` where any will do.
pub(crate) type Declared = Option<Vec<Option<u64>>>;

#[derive(Debug)]
struct Input {
    wanted: String,
    name: String,
    kind: ElementType,
    declared: Declared,
    shape: Shape,
    id: ValueId,
}

/// The inputs of the graph.
#[derive(Debug, Default)]
pub(crate) struct GraphInputs(Vec<Input>);

impl GraphInputs {
    /// An input: one that is there already, if name, type and shape agree, or
    /// one that `make` makes.
    pub(crate) fn add(
        &mut self,
        wanted: &str,
        kind: ElementType,
        declared: Declared,
        make: impl FnOnce(&Declared) -> (ValueId, Shape),
    ) -> (String, ValueId) {
        let known = self
            .0
            .iter()
            .find(|input| input.wanted == wanted && input.kind == kind && input.declared == declared);
        if let Some(known) = known {
            return (known.name.clone(), known.id);
        }
        let name = unique(wanted, |name| self.0.iter().any(|input| input.name == name));
        let (id, shape) = make(&declared);
        self.0.push(Input { wanted: wanted.to_owned(), name: name.clone(), kind, declared, shape, id });
        (name, id)
    }

    /// Whether a value is one of them.
    pub(crate) fn contains(&self, id: ValueId) -> bool {
        self.0.iter().any(|input| input.id == id)
    }

    /// Whether an input has this name.
    pub(crate) fn named(&self, name: &str) -> bool {
        self.0.iter().any(|input| input.name == name)
    }

    /// Names and values, in the order in which they were added.
    pub(crate) fn all(&self) -> Vec<(String, ValueId)> {
        self.0.iter().map(|input| (input.name.clone(), input.id)).collect()
    }

    /// Names for the sizes that are open: the first axis is the batch.
    pub(crate) fn symbols(&self) -> HashMap<Dimension, String> {
        let mut names = HashMap::new();
        for input in &self.0 {
            for (axis, size) in input.shape.iter().flatten().enumerate() {
                if matches!(size, Dimension::Symbol(_)) {
                    let name = if axis == 0 { "batch".to_owned() } else { format!("{}_{axis}", input.name) };
                    names.insert(*size, name);
                }
            }
        }
        names
    }
}

/// The name, or one like it that is not taken.
pub(crate) fn unique(wanted: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut name = wanted.to_owned();
    let mut number = 1usize;
    while taken(&name) || name.is_empty() {
        name = format!("{wanted}_{number}");
        number += 1;
    }
    name
}
