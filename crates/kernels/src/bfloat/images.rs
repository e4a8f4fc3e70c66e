//! Work on images that may be of floats or of 16-bit floats.

use super::{PairTask, Pairs, Singles, Words, dispatch};
use crate::{
    Level,
    isa::{self, Isa, Task},
};

/// Work that is written over words, which reads or writes images of either kind.
pub(crate) trait ImageTask {
    /// Does it. Must be inlined to be compiled for the instructions.
    fn run<W: Words>(self, words: W);
}

struct Wide<T>(T);

impl<T: ImageTask> Task for Wide<T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        self.0.run(Singles(isa));
    }
}

struct Narrow<T>(T);

impl<T: ImageTask> PairTask for Narrow<T> {
    #[inline(always)]
    fn run<W: Pairs>(self, words: W) {
        self.0.run(words);
    }
}

/// Does work with the instructions of a level. `is_narrow` says whether one of the images is of 16-bit floats.
#[inline]
pub(crate) fn dispatch_images<T: ImageTask>(level: Level, is_narrow: bool, task: T) {
    if is_narrow {
        dispatch(level, Narrow(task));
    } else {
        isa::dispatch(level, Wide(task));
    }
}
