//! Activation functions of compiled regions.

#![expect(unsafe_code, reason = "loads and stores through pointers")]

use super::{
    BLOCK, Level,
    isa::{Isa, Task, dispatch},
};

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// The number itself.
    Identity,
    /// At least the first, then at most the second. A NaN stays so.
    Clip(f32, f32),
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x * sigmoid(alpha * x)`.
    Swish(f32),
    /// `clip(alpha * x + beta, 0, 1)`.
    HardSigmoid(f32, f32),
    /// `x * clip(alpha * x + beta, 0, 1)`.
    HardSwish(f32, f32),
    /// `x`, or `alpha * x` where that is negative.
    LeakyRelu(f32),
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// The rectifier.
    pub const RELU: Self = Self::Clip(0.0, f32::INFINITY);

    /// The bounds, if it is no more than a clip.
    pub fn bounds(self) -> Option<(f32, f32)> {
        match self {
            Self::Identity => Some((f32::NEG_INFINITY, f32::INFINITY)),
            Self::Clip(low, high) => Some((low, high)),
            _ => None,
        }
    }

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Clip(0.0, high) if high == f32::INFINITY => "relu",
            Self::Clip(..) => "clip",
            Self::Sigmoid => "sigmoid",
            Self::Swish(_) => "swish",
            Self::HardSigmoid(..) => "hard sigmoid",
            Self::HardSwish(..) => "hard swish",
            Self::LeakyRelu(_) => "leaky relu",
            Self::Tanh => "tanh",
        }
    }

    /// Of sixteen numbers.
    #[inline(always)]
    pub(super) fn of<I: Isa>(self, isa: I, value: I::V) -> I::V {
        let clip = |value, low, high| isa.at_most(isa.at_least(value, isa.splat(low)), isa.splat(high));
        match self {
            Self::Identity => value,
            Self::Clip(low, high) => clip(value, low, high),
            Self::Sigmoid => isa.sigmoid(value),
            Self::Swish(alpha) => isa.multiply(value, isa.sigmoid(isa.multiply(value, isa.splat(alpha)))),
            Self::HardSigmoid(alpha, beta) => {
                clip(isa.add(isa.multiply(value, isa.splat(alpha)), isa.splat(beta)), 0.0, 1.0)
            }
            Self::HardSwish(alpha, beta) => {
                let gate = clip(isa.add(isa.multiply(value, isa.splat(alpha)), isa.splat(beta)), 0.0, 1.0);
                isa.multiply(value, gate)
            }
            Self::LeakyRelu(alpha) => isa.where_negative(value, isa.multiply(value, isa.splat(alpha)), value),
            Self::Tanh => isa.tangent(value),
        }
    }
}

/// The same function of every one of many numbers, in place.
pub(super) struct Apply {
    pub(super) activation: Activation,
    pub(super) values: *mut f32,
    /// How many there are: a multiple of 16.
    pub(super) count: usize,
}

impl Task for Apply {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        // The function is chosen outside of the loop.
        macro_rules! each {
            ($activation:expr) => {
                for place in (0..self.count).step_by(BLOCK) {
                    // SAFETY: the maker of the task says that the numbers are there.
                    let value = unsafe { isa.load(self.values.add(place)) };
                    let result = $activation.of(isa, value);
                    // SAFETY: the same.
                    unsafe { isa.store(result, self.values.add(place)) };
                }
            };
        }
        match self.activation {
            Activation::Identity => {}
            Activation::Clip(low, high) => each!(Activation::Clip(low, high)),
            Activation::Sigmoid => each!(Activation::Sigmoid),
            Activation::Swish(alpha) => each!(Activation::Swish(alpha)),
            Activation::HardSigmoid(alpha, beta) => each!(Activation::HardSigmoid(alpha, beta)),
            Activation::HardSwish(alpha, beta) => each!(Activation::HardSwish(alpha, beta)),
            Activation::LeakyRelu(alpha) => each!(Activation::LeakyRelu(alpha)),
            Activation::Tanh => each!(Activation::Tanh),
        }
    }
}

/// Applies a function to each number, in place. A number has the same result wherever it is.
pub fn map(level: Level, activation: Activation, values: &mut [f32]) {
    let (whole, rest) = values.split_at_mut(values.len() / BLOCK * BLOCK);
    // SAFETY: the slice has as many floats, a multiple of 16.
    unsafe { apply(level, activation, whole.as_mut_ptr(), whole.len()) };
    let mut last = [0.0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    // SAFETY: the array has 16 floats.
    unsafe { apply(level, activation, last.as_mut_ptr(), BLOCK) };
    rest.copy_from_slice(&last[..rest.len()]);
}

/// Applies a function to numbers, in place; `count` is a multiple of 16.
///
/// # Safety
/// `count` floats can be read and written at `values`, and nobody else uses them meanwhile.
pub(super) unsafe fn apply(level: Level, activation: Activation, values: *mut f32, count: usize) {
    dispatch(level, Apply { activation, values, count });
}
