//! The constants of a model on their way to those who need them.

use std::collections::HashMap;

use super::{visit_node, visit_references};
use crate::{
    facts::Fact,
    island::build::Constants,
    onnx::{
        OnnxError,
        files::DataFiles,
        in_file::InFile,
        model::{Constant, Graph, Node, Place, Stored, ValueId},
    },
    tensor::{ElementType, Tensor},
};
use adytum_kernels::{arena::Arena, weights::Numbers};

/// Bytes of weights that are packed before their memory in the file is used again. The part behind them is copied
/// then, which is not worth it for fewer.
const GIVEN_BACK: usize = 16 << 20;

/// The constants of a model. Each is given away to the last one who needs it.
#[derive(Debug)]
pub(super) struct ConstantStore {
    constants: HashMap<ValueId, Constant>,
    /// How often nodes that are not placed yet take each value.
    references: HashMap<ValueId, usize>,
    /// The model's file, as long as constants are in it.
    file: InFile,
    /// Bytes of the file that were packed since memory was given back last.
    packed: usize,
}

impl ConstantStore {
    pub(super) fn new(constants: HashMap<ValueId, Constant>, graph: &Graph, file: InFile) -> Self {
        let mut references = HashMap::new();
        visit_references(graph, &mut |value| *references.entry(value).or_insert(0) += 1);
        Self { constants, references, file, packed: 0 }
    }

    /// How many numbers there are.
    pub(super) fn parameters(&self) -> usize {
        self.constants
            .values()
            .map(|constant| constant.shape().iter().copied().fold(1, usize::saturating_mul))
            .fold(0, usize::saturating_add)
    }

    /// The bytes of constants of 16-bit floats.
    pub(super) fn half_bytes(&self) -> usize {
        let half = |constant: &&Constant| {
            matches!(constant.element_type(), ElementType::Half | ElementType::Bfloat16)
        };
        self.constants
            .values()
            .filter(half)
            .map(|constant| constant.shape().iter().copied().fold(2, usize::saturating_mul))
            .fold(0, usize::saturating_add)
    }

    /// The bytes of those that are not in the file.
    pub(super) fn held(&self) -> usize {
        let bytes = |constant: &Constant| match constant {
            Constant::Tensor(tensor) => tensor.bytes(),
            Constant::Stored(_) => 0,
        };
        self.constants.values().map(bytes).fold(0, usize::saturating_add)
    }

    /// The facts about a value, if it is a constant.
    pub(super) fn fact(&self, value: ValueId) -> Option<Fact> {
        Some(match self.constants.get(&value)? {
            Constant::Tensor(tensor) => Fact::constant(tensor.clone()),
            Constant::Stored(stored) => Fact::stored(stored.element_type, &stored.shape),
        })
    }

    pub(super) fn contains(&self, value: ValueId) -> bool {
        self.constants.contains_key(&value)
    }

    /// Adds a constant that was computed.
    pub(super) fn insert(&mut self, value: ValueId, tensor: Tensor) {
        self.constants.insert(value, Constant::Tensor(tensor));
    }

    /// The constant as a tensor, which it is from now on.
    pub(super) fn tensor(
        &mut self,
        value: ValueId,
        files: &dyn DataFiles,
    ) -> Result<Option<Tensor>, OnnxError> {
        match self.constants.get_mut(&value) {
            None => Ok(None),
            Some(Constant::Tensor(tensor)) => Ok(Some(tensor.clone())),
            Some(Constant::Stored(stored)) => {
                let tensor = stored.take_tensor(self.file.bytes(), files)?;
                self.insert(value, tensor.clone());
                Ok(Some(tensor))
            }
        }
    }

    /// Where a constant is in the file; 0 for one that is not in it.
    pub(super) fn place(&self, value: ValueId) -> usize {
        self.constants.get(&value).and_then(start_in_file).unwrap_or(0)
    }

    /// Gives the floats of a constant to the last who takes them, without a copy where no other takes them. `None` if
    /// there are none. Memory of the file that nobody needs any more goes to `arena`, now and then.
    pub(super) fn take_floats<T>(
        &mut self,
        value: ValueId,
        files: &dyn DataFiles,
        arena: &mut Arena,
        take: impl FnOnce(Numbers<'_>, &mut Arena) -> T,
    ) -> Result<Option<T>, OnnxError> {
        if !self.is_own_float(value) || !matches!(self.constants.get(&value), Some(Constant::Stored(_))) {
            let tensor = self.tensor(value, files)?;
            self.release(value, 1);
            return Ok(tensor
                .as_ref()
                .and_then(Tensor::values::<f32>)
                .map(|values| take(Numbers::Floats(values), arena)));
        }
        let Some(Constant::Stored(stored)) = self.constants.remove(&value) else { return Ok(None) };
        self.release(value, 1);
        let Place::File(range) = &stored.place else {
            let bytes = stored.into_bytes(files)?;
            return Ok(Some(take(Numbers::Bytes(bytes.as_chunks().0), arena)));
        };
        let bytes = self.file.bytes().get(range.clone()).unwrap_or_default();
        let taken = take(Numbers::Bytes(bytes.as_chunks().0), arena);
        self.packed += range.len();
        if self.packed < GIVEN_BACK {
            return Ok(Some(taken));
        }
        self.packed = 0;
        let end = range.end;
        let behind = self.constants.values_mut().filter(|constant| start_in_file(constant) >= Some(end));
        self.file.move_out(behind, end);
        let ends = self.constants.values().filter_map(|constant| match constant {
            Constant::Stored(Stored { place: Place::File(range), .. }) => Some(range.end),
            _ => None,
        });
        if let Some(spare) = self.file.cut(ends.max().unwrap_or(0)) {
            arena.reuse(spare);
        }
        Ok(Some(taken))
    }

    /// Takes all constants out of the file.
    pub(super) fn close_file(&mut self) {
        self.file.move_out(self.constants.values_mut(), 0);
        self.file.cut(0);
    }

    /// One more place takes a value.
    pub(super) fn keep(&mut self, value: ValueId) {
        *self.references.entry(value).or_insert(0) += 1;
    }

    /// Whether a value is a constant of floats that one place takes.
    pub(super) fn is_own_float(&self, value: ValueId) -> bool {
        let is_float = |constant: &Constant| constant.element_type() == ElementType::Float;
        self.references.get(&value) == Some(&1) && self.constants.get(&value).is_some_and(is_float)
    }

    /// Multiplies a constant of floats.
    pub(super) fn scale(
        &mut self,
        value: ValueId,
        factor: f32,
        files: &dyn DataFiles,
    ) -> Result<(), OnnxError> {
        if let Some(tensor) = self.tensor(value, files)?
            && let Some(values) = tensor.values::<f32>()
        {
            let scaled: Vec<f32> = values.iter().map(|value| value * factor).collect();
            if let Some(scaled) = Tensor::from_vec(tensor.shape().to_vec(), scaled) {
                self.insert(value, scaled);
            }
        }
        Ok(())
    }

    /// A node takes its inputs no more: it was left out, or has them.
    pub(super) fn forget(&mut self, node: &Node) {
        visit_node(node, &mut |value| self.release(value, 1));
    }

    /// `count` places take a value no more.
    pub(super) fn release(&mut self, value: ValueId, count: usize) {
        if let Some(references) = self.references.get_mut(&value) {
            *references = references.saturating_sub(count);
            if *references == 0 {
                self.constants.remove(&value);
            }
        }
    }
}

/// Where a constant begins that is still in the file.
fn start_in_file(constant: &Constant) -> Option<usize> {
    match constant {
        Constant::Stored(Stored { place: Place::File(range), .. }) => Some(range.start),
        _ => None,
    }
}

/// The store as an island takes from it.
pub(super) struct Taking<'a> {
    pub(super) store: &'a mut ConstantStore,
    /// How often the island's nodes take each value.
    pub(super) counts: HashMap<ValueId, usize>,
}

impl Constants for Taking<'_> {
    fn take(&mut self, value: ValueId) -> Option<Constant> {
        let count = self.counts.get(&value).copied().unwrap_or(0);
        let others = self.store.references.get(&value).copied().unwrap_or(0).saturating_sub(count);
        let mut constant = if others == 0 {
            self.store.constants.remove(&value)?
        } else {
            self.store.constants.get(&value).cloned()?
        };
        if let Constant::Stored(stored) = &mut constant {
            stored.settle(self.store.file.bytes());
        }
        Some(constant)
    }
}
