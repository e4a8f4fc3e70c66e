//! Whether requests for a signature may be run in one batch: its first dimension is one of
//! examples that don't depend on each other.

use std::{
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
};

use adytum_engine::{
    operators::Cancellation,
    tensor::{ElementType, Tensor},
    threads::Threads,
};

use super::{
    servable::Servable,
    signature::ServedSignature,
    warm_up::{LARGEST, TRIED_SIZES},
};
use crate::tensor::{
    TensorSpecification,
    rows::{cut, join},
};

/// How far two answers may be apart, relative to the larger one or to 1: the order of
/// additions differs with the size of a batch.
const TOLERANCE: f64 = 1e-4;

impl Servable {
    /// Tries which signatures may be run in batches. For each that may not, one line of the
    /// log says why.
    pub fn try_batches(&self, cores: NonZeroUsize) {
        for signature in self.signatures().values() {
            let (model, version, name) = (self.name(), self.version(), &signature.name);
            match prove(self, signature, cores.get()) {
                Ok(()) => signature.batchable.store(true, Ordering::Relaxed),
                Err(reason) => tracing::warn!(model, version, signature = name, "not batched: {reason}"),
            }
        }
    }
}

/// Tries whether a run of several examples gives, row by row, what a run of each gives.
/// An error is the reason why that is not known.
fn prove(servable: &Servable, signature: &ServedSignature, cores: usize) -> Result<(), &'static str> {
    let is_open = |tensor: &TensorSpecification| {
        tensor.shape.as_ref().is_some_and(|shape| shape.first() == Some(&None))
    };
    if !signature.run_inputs().all(is_open) || !signature.outputs.iter().all(is_open) {
        return Err("the first dimension of an input or output is not open");
    }
    let mut reason = "no inputs that were made up are answered";
    for size in TRIED_SIZES {
        let example = |seed| -> Option<Vec<Tensor>> {
            signature.run_inputs().map(|input| made_up(input, size, seed)).collect()
        };
        let (Some(one), Some(other)) = (example(1), example(2)) else { continue };
        let run = |inputs: Vec<Tensor>| run(servable, signature, inputs, cores);
        let (Some(answer), Some(other_answer)) = (run(one.clone()), run(other.clone())) else { continue };
        let both: Option<Vec<Tensor>> =
            one.iter().zip(&other).map(|(one, other)| join(&[one, other, one], 0)).collect();
        let Some(together) = both.and_then(run) else {
            return Err("a run of several examples gives no answer");
        };
        let mut says_something = false;
        for ((alone, other), together) in answer.iter().zip(&other_answer).zip(&together) {
            let parts = cut(together, &[1, 1, 1], 3);
            let Some([first, second, third]) = parts.as_deref() else {
                return Err("an output does not have a row for each example");
            };
            if !is_close(alone, first) || !is_close(other, second) || !is_close(alone, third) {
                return Err("examples of a batch change each other's answers");
            }
            says_something |= !is_close(alone, other);
        }
        if says_something {
            return Ok(());
        }
        reason = "its answers to inputs that were made up are all the same";
    }
    Err(reason)
}

fn run(
    servable: &Servable,
    signature: &ServedSignature,
    inputs: Vec<Tensor>,
    cores: usize,
) -> Option<Vec<Tensor>> {
    let outputs: Vec<usize> = (0..signature.outputs.len()).collect();
    let threads = Threads::new(cores);
    let run = || {
        threads.enter(|| servable.run(signature, inputs, &outputs, &threads, &Cancellation::default()).ok())
    };
    catch_unwind(AssertUnwindSafe(run)).ok().flatten()
}

/// One example whose values differ by `seed` and place.
fn made_up(specification: &TensorSpecification, size: usize, seed: usize) -> Option<Tensor> {
    let mut shape: Vec<usize> =
        specification.shape.as_ref()?.iter().map(|known| known.unwrap_or(size)).collect();
    *shape.first_mut()? = 1;
    let count = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))?;
    if count > LARGEST / 4 {
        return None;
    }
    // Between 0 and 16, without a short period.
    let number = |index: usize| u8::try_from((index * 7 + seed * 5 + index * index * seed) % 17).unwrap_or(0);
    let fraction = |index| f32::from(number(index)) / 8.0 - 1.0;
    let bit = |index| number(index) % 2;
    macro_rules! values {
        ($make:expr) => {
            Tensor::from_vec(shape, (0..count).map($make).collect::<Vec<_>>())
        };
    }
    match specification.element_type {
        ElementType::Float => values!(fraction),
        ElementType::Double => values!(|index| f64::from(fraction(index))),
        ElementType::Half => values!(|index| half::f16::from_f32(fraction(index))),
        ElementType::Bfloat16 => values!(|index| half::bf16::from_f32(fraction(index))),
        ElementType::Int8 => values!(|index| bit(index).cast_signed()),
        ElementType::Int16 => values!(|index| i16::from(bit(index))),
        ElementType::Int32 => values!(|index| i32::from(bit(index))),
        ElementType::Int64 => values!(|index| i64::from(bit(index))),
        ElementType::Uint8 => values!(number),
        ElementType::Uint16 => values!(|index| u16::from(bit(index))),
        ElementType::Uint32 => values!(|index| u32::from(bit(index))),
        ElementType::Uint64 => values!(|index| u64::from(bit(index))),
        ElementType::Bool => values!(|index| bit(index) == 1),
        // Texts that a model knows can't be made up.
        ElementType::Text => None,
    }
}

fn is_close(one: &Tensor, other: &Tensor) -> bool {
    fn near(pairs: impl Iterator<Item = (f64, f64)>) -> bool {
        pairs.into_iter().all(|(one, other)| {
            one == other || (one - other).abs() <= TOLERANCE * one.abs().max(other.abs()).max(1.0)
        })
    }
    if let (Some(one), Some(other)) = (one.values::<f32>(), other.values::<f32>()) {
        return one.len() == other.len()
            && near(one.iter().zip(other).map(|(one, other)| (f64::from(*one), f64::from(*other))));
    }
    if let (Some(one), Some(other)) = (one.values::<f64>(), other.values::<f64>()) {
        return one.len() == other.len() && near(one.iter().copied().zip(other.iter().copied()));
    }
    one == other
}
