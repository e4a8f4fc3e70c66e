//! The values of a run that are alive, and the memory that they are charged.

use std::collections::HashMap;

use super::Source;
use crate::{
    operators::{Budget, OperatorError},
    tensor::{Elements, Tensor, Value},
};

/// The values of a run that are alive. Tensors that share their elements are charged once.
pub(super) struct Frame<'a> {
    values: Vec<Option<Value>>,
    uses: Vec<u32>,
    budget: &'a dyn Budget,
    /// Shared elements by their address: how many values of the frame have them, their bytes.
    shared: HashMap<usize, (usize, usize)>,
    /// Values that were moved out for the operator that runs.
    moved: Vec<usize>,
}

/// Calls `visit` with the address and the bytes of each tensor of a value.
fn visit(value: &Value, visitor: &mut dyn FnMut(usize, usize)) {
    match value {
        Value::Tensor(tensor) => visitor(address(tensor), bytes(tensor)),
        Value::Sequence(_, tensors) => {
            for tensor in tensors {
                visitor(address(tensor), bytes(tensor));
            }
        }
        Value::Optional(Some(value)) => visit(value, visitor),
        Value::Optional(None) => {}
    }
}

/// The bytes of a tensor, letters of texts included.
fn bytes(tensor: &Tensor) -> usize {
    let letters = match tensor.elements() {
        Elements::Text(texts) => texts.iter().map(bytes::Bytes::len).fold(0_usize, usize::saturating_add),
        _ => 0,
    };
    tensor.bytes().saturating_add(letters)
}

fn address(tensor: &Tensor) -> usize {
    tensor.elements().address()
}

impl<'a> Frame<'a> {
    pub(super) fn new(slots: usize, uses: Vec<u32>, budget: &'a dyn Budget) -> Self {
        Self {
            values: std::iter::repeat_with(|| None).take(slots).collect(),
            uses,
            budget,
            shared: HashMap::new(),
            moved: Vec::new(),
        }
    }

    /// Puts a value in a slot; drops it at once if nobody takes it.
    pub(super) fn put(&mut self, slot: usize, value: Value) -> Result<(), OperatorError> {
        if self.uses.get(slot).copied().unwrap_or(0) == 0 {
            return Ok(());
        }
        let mut result = Ok(());
        visit(&value, &mut |address, bytes| {
            let entry = self.shared.entry(address).or_insert((0, 0));
            if entry.0 == 0 && result.is_ok() {
                result = self.budget.charge(bytes);
                entry.1 = if result.is_ok() { bytes } else { 0 };
            }
            entry.0 += 1;
        });
        if let Some(place) = self.values.get_mut(slot) {
            *place = Some(value);
        }
        result
    }

    /// Takes a value: moves it out of its slot if nobody else takes it later.
    pub(super) fn take(&mut self, source: &Source) -> Result<Value, OperatorError> {
        let slot = match source {
            Source::Constant(value) => return Ok(value.clone()),
            Source::Slot(slot) => *slot,
        };
        let missing = || OperatorError::Engine { reason: format!("the slot {slot} is empty") };
        let uses = self.uses.get_mut(slot).ok_or_else(missing)?;
        let place = self.values.get_mut(slot).ok_or_else(missing)?;
        if *uses > 1 {
            *uses -= 1;
            return place.clone().ok_or_else(missing);
        }
        *uses = 0;
        let value = place.take().ok_or_else(missing)?;
        visit(&value, &mut |address, _| self.moved.push(address));
        Ok(value)
    }

    /// Ends the charge for what was moved out. The operator that got it has it until it
    /// ends: the charge is released when the result is dropped.
    pub(super) fn settle(&mut self) -> Released<'a> {
        let mut bytes = 0_usize;
        for address in self.moved.drain(..) {
            if let Some(entry) = self.shared.get_mut(&address) {
                entry.0 -= 1;
                if entry.0 == 0 {
                    bytes = bytes.saturating_add(entry.1);
                    self.shared.remove(&address);
                }
            }
        }
        Released { bytes, budget: self.budget }
    }
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        let bytes = self.shared.values().fold(0_usize, |sum, (_, bytes)| sum.saturating_add(*bytes));
        self.budget.release(bytes);
    }
}

/// A charge that ends when it is dropped.
pub(super) struct Released<'a> {
    bytes: usize,
    budget: &'a dyn Budget,
}

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}
