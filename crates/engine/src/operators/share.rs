//! The work of kernels on the threads of a run.

use std::sync::OnceLock;

use adytum_kernels::{Part, Unfit, buffer::Shared, crew::Crew};

use super::{Context, OperatorError};
use crate::threads::Threads;

/// Multiplications for which another thread is worth waking.
const SHARE: usize = 200_000;

/// Multiplications for which another thread of a crew, which is awake, is worth its time.
const SHARE_OF_CREW: usize = 50_000;

/// The sizes that a kernel was given do not fit: a fault of the engine.
pub(crate) fn unfit(Unfit(what): Unfit) -> OperatorError {
    OperatorError::Engine { reason: format!("the buffers of a kernel do not fit: {what}") }
}

/// Closes a crew when it is dropped.
struct Closing<'a>(&'a Crew);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Does work of many kernels with the threads of a run as a crew, if there are several.
pub(crate) fn with_crew<T: Send>(context: &Context<'_>, work: impl FnOnce(&Context<'_>) -> T + Send) -> T {
    let Some(threads) = context.threads().filter(|threads| threads.count() > 1) else {
        return work(context);
    };
    threads.enter(|| {
        let crew = Crew::default();
        rayon::scope(|scope| {
            for _ in 1..threads.count() {
                scope.spawn(|_| crew.help());
            }
            let _closing = Closing(&crew);
            work(&context.with_crew(&crew))
        })
    })
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
    let least = if context.crew().is_some() { SHARE_OF_CREW } else { SHARE };
    let threads = context.threads().filter(|threads| threads.count() > 1);
    let count = threads.map_or(1, Threads::count).min(cost / least + 1);
    let Some(threads) = threads.filter(|_| count > 1) else {
        return kernel(Part::WHOLE).map_err(unfit);
    };
    if let Some(crew) = context.crew() {
        let results: Vec<OnceLock<Result<(), Unfit>>> = vec![OnceLock::new(); count];
        crew.share(count, &|index| {
            if let Some(result) = results.get(index) {
                result.get_or_init(|| kernel(Part { index, count }));
            }
        });
        let missing = Err(Unfit("a thread did not do its part"));
        let found = results.into_iter().map(|result| result.into_inner().unwrap_or(missing));
        return found.collect::<Result<(), Unfit>>().map_err(unfit);
    }
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
