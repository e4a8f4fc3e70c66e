//! The work of a kernel on the threads of a run.

use adytum_kernels::{Part, Unfit, buffer::Shared};

use super::{Context, OperatorError};
use crate::threads::Threads;

/// Multiplications for which another thread is worth waking.
const SHARE: usize = 200_000;

/// The sizes that a kernel was given do not fit: a fault of the engine.
pub(crate) fn unfit(Unfit(what): Unfit) -> OperatorError {
    OperatorError::Engine { reason: format!("the buffers of a kernel do not fit: {what}") }
}

/// Calls a kernel for all of its work: in parts, on several threads, where there is enough. `cost` is its
/// multiplications.
pub(crate) fn share<'b, T: Send>(
    context: &Context<'_>,
    buffer: Shared<'b, T>,
    cost: usize,
    kernel: impl Fn(Shared<'b, T>, Part) -> Result<(), Unfit> + Sync,
) -> Result<(), OperatorError>
where
    Shared<'b, T>: Copy,
{
    share_parts(context, cost, |part| kernel(buffer, part))
}

/// The same for a kernel that needs no buffer.
pub(crate) fn share_parts(
    context: &Context<'_>,
    cost: usize,
    kernel: impl Fn(Part) -> Result<(), Unfit> + Sync,
) -> Result<(), OperatorError> {
    context.check()?;
    let threads = context.threads().filter(|threads| threads.count() > 1);
    let count = threads.map_or(1, Threads::count).min(cost / SHARE + 1);
    let Some(threads) = threads.filter(|_| count > 1) else {
        return kernel(Part::WHOLE).map_err(unfit);
    };
    let mut results = vec![Ok(()); count];
    threads.enter(|| {
        rayon::scope(|scope| {
            let kernel = &kernel;
            let mut parts = results.iter_mut().enumerate();
            let first = parts.next();
            for (index, result) in parts {
                scope.spawn(move |_| *result = kernel(Part { index, count }));
            }
            if let Some((index, result)) = first {
                *result = kernel(Part { index, count });
            }
        });
    });
    results.into_iter().collect::<Result<(), Unfit>>().map_err(unfit)
}
