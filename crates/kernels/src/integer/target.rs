//! The forms that sums of convolutions take, and the places where they go.

use super::{
    Images,
    finish::{Finish, RealPointers, Reals},
    tile::{Form, WORD},
};
use crate::{BLOCK, buffer::Shared, planes::Planes};

/// The form that sums take, and the place where they go.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Bytes. Images are added to them, if `finish` says how.
    Bytes { output: Shared<'a, u8>, finish: Finish, residual: Option<Images<'a>> },
    /// Real numbers.
    Reals { output: Shared<'a, f32>, reals: Reals<'a> },
    /// The sums themselves.
    Sums(Shared<'a, i32>),
}

impl Target<'_> {
    /// Bytes of a number.
    pub(super) fn word(&self) -> usize {
        if matches!(self, Self::Bytes { .. }) { 1 } else { WORD }
    }

    /// Whether there is room for an output, and all that is added to it.
    pub(super) fn fits(&self, planes: &Planes) -> bool {
        match self {
            Self::Bytes { output, finish, residual } => {
                let is_added = match residual {
                    None => finish.addition.is_none(),
                    Some(Images { planes: added, values }) => {
                        finish.addition.is_some()
                            && added.lanes == BLOCK
                            && added.blocks == planes.blocks
                            && added.is_as_large_as(planes)
                            && values.len() >= added.len()
                    }
                };
                output.len() >= planes.len() && is_added
            }
            Self::Reals { output, reals } => output.len() >= planes.len() && reals.fits(planes),
            Self::Sums(output) => output.len() >= planes.len(),
        }
    }

    /// Where the images that are added are.
    pub(super) fn residual(&self) -> Option<Planes> {
        match self {
            Self::Bytes { residual, .. } => residual.map(|residual| residual.planes),
            Self::Reals { reals, .. } => reals.residual.map(|residual| residual.planes),
            Self::Sums(_) => None,
        }
    }

    /// Where numbers go from one on, of a block of channels. The images that are added begin at `place` of their
    /// values.
    pub(super) fn row(&self, block: usize, start: usize, place: impl Fn(&Planes) -> usize) -> Ending {
        let finish = Finish { zero_point: 0, addition: None };
        let (reals, null) = (RealPointers::NONE, std::ptr::null());
        match self {
            Self::Bytes { output, finish, residual } => Ending {
                form: Form::Bytes,
                finish: *finish,
                reals,
                residual: residual
                    .map_or(null, |residual| residual.values[place(&residual.planes)..].as_ptr()),
                output: output.pointer(start),
            },
            Self::Reals { output, reals } => Ending {
                form: Form::Floats,
                finish,
                reals: reals.pointers(block),
                residual: reals
                    .residual
                    .map_or(null, |residual| residual.values[place(&residual.planes)..].as_ptr().cast()),
                output: output.pointer(start).cast(),
            },
            Self::Sums(output) => Ending {
                form: Form::Sums,
                finish,
                reals,
                residual: null,
                output: output.pointer(start).cast(),
            },
        }
    }
}

/// Where sums of a block of channels go, and what becomes of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) form: Form,
    pub(super) finish: Finish,
    pub(super) reals: RealPointers,
    /// Numbers to add, in the form of the results; or null.
    pub(super) residual: *const u8,
    pub(super) output: *mut u8,
}
