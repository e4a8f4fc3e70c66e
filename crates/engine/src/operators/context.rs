//! What a run gives its operators: a budget of memory, a way to be cancelled, threads.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::OperatorError;
use crate::tensor::{ElementType, element_count};

/// Whether the caller of a run is gone. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// Ends the run at the next operator, or sooner where an operator asks.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`Cancellation::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The memory that one run may take for its values, in bytes. The runner charges each
/// output that an operator returns and gives back what is dropped; an operator whose
/// output or scratch memory can be larger than its inputs asks first
/// ([`Context::reserve`]).
pub trait Budget: Sync {
    /// Whether `bytes` more may be allocated now; an error says the limit.
    fn reserve(&self, bytes: usize) -> Result<(), OperatorError>;
}

/// What a run gives an operator.
pub struct Context<'a> {
    budget: &'a dyn Budget,
    cancellation: &'a Cancellation,
}

impl<'a> Context<'a> {
    /// For one run.
    pub fn new(budget: &'a dyn Budget, cancellation: &'a Cancellation) -> Self {
        Self { budget, cancellation }
    }

    /// The number of elements of a tensor that is about to be made, if the run may have
    /// it. Every operator whose output's size is not bounded by its inputs' sizes asks
    /// here before it allocates.
    pub fn reserve(&self, element_type: ElementType, shape: &[usize]) -> Result<usize, OperatorError> {
        let too_large = || OperatorError::TooLarge { shape: shape.to_vec() };
        let count = element_count(shape).ok_or_else(too_large)?;
        let bytes = count.checked_mul(element_type.size()).ok_or_else(too_large)?;
        self.budget.reserve(bytes)?;
        Ok(count)
    }

    /// An error if the caller is gone: for loops that run long within one operator.
    pub fn check(&self) -> Result<(), OperatorError> {
        if self.cancellation.is_cancelled() { Err(OperatorError::Cancelled) } else { Ok(()) }
    }
}
