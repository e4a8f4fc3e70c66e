//! Activation functions of compiled regions.

#![expect(unsafe_code, reason = "loads and stores through pointers")]

use super::{
    BLOCK, Level, Part, Unfit,
    buffer::Shared,
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
    /// `x / 2 * (1 + erf(x / sqrt(2)))`.
    Gelu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
    GeluTanh,
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
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu by tanh",
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
            Self::Gelu => {
                let error =
                    isa.error_function(isa.multiply(value, isa.splat(std::f32::consts::FRAC_1_SQRT_2)));
                let half = isa.multiply(value, isa.splat(0.5));
                // What the error function lacks to -1 would be multiplied with the value.
                let is_far = isa.add(value, isa.splat(5.65));
                let nothing = isa.multiply(value, isa.splat(0.0));
                isa.where_negative(is_far, nothing, isa.multiply_add(half, error, half))
            }
            Self::GeluTanh => {
                // (1 + tanh(u)) / 2 is the sigmoid of 2 u.
                let square = isa.multiply(value, value);
                let factor = isa.multiply_add(square, isa.splat(0.071_354_814), isa.splat(1.595_769));
                let sigmoid = isa.sigmoid(isa.multiply(value, factor));
                let tangent = isa.multiply_add(sigmoid, isa.splat(2.0), isa.splat(-1.0));
                let half = isa.multiply(value, isa.splat(0.5));
                isa.multiply_add(half, tangent, half)
            }
        }
    }
}

/// The same function of every one of many numbers, in place.
pub(super) struct Apply {
    pub(super) activation: Activation,
    pub(super) values: *mut f32,
    /// How many rows there are, and how far one is from the next.
    pub(super) rows: [usize; 2],
    /// How many numbers a row has: a multiple of 16.
    pub(super) count: usize,
}

impl Task for Apply {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        // The function is chosen outside of the loop.
        macro_rules! each {
            ($activation:expr) => {
                for row in 0..self.rows[0] {
                    for place in (0..self.count).step_by(BLOCK) {
                        let place = row * self.rows[1] + place;
                        // SAFETY: the maker of the task says that the numbers are there.
                        let value = unsafe { isa.load(self.values.add(place)) };
                        let result = $activation.of(isa, value);
                        // SAFETY: the same.
                        unsafe { isa.store(result, self.values.add(place)) };
                    }
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
            Activation::Gelu => each!(Activation::Gelu),
            Activation::GeluTanh => each!(Activation::GeluTanh),
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

/// Computes this thread's share of [`map`].
///
/// # Errors
/// None: the type is that of other kernels.
pub fn map_part(level: Level, activation: Activation, values: Shared<'_>, part: Part) -> Result<(), Unfit> {
    let blocks = part.of(values.len().div_ceil(BLOCK));
    let (start, end) = (blocks.start * BLOCK, (blocks.end * BLOCK).min(values.len()));
    // SAFETY: the shares of threads have no numbers in common.
    let own = unsafe { values.part(start, end - start) }.ok_or(Unfit("a function"))?;
    map(level, activation, own);
    Ok(())
}

/// Applies a function to numbers, in place; `count` is a multiple of 16.
///
/// # Safety
/// `count` floats can be read and written at `values`, and nobody else uses them meanwhile.
pub(super) unsafe fn apply(level: Level, activation: Activation, values: *mut f32, count: usize) {
    dispatch(level, Apply { activation, values, rows: [1, 0], count });
}

/// Applies a function to rows of numbers, in place: `rows` of them, `step` apart, each of `count`, a multiple of 16.
///
/// # Safety
/// The floats can be read and written, and nobody else uses them meanwhile.
pub(super) unsafe fn apply_rows(
    level: Level,
    activation: Activation,
    values: *mut f32,
    rows: [usize; 2],
    count: usize,
) {
    dispatch(level, Apply { activation, values, rows, count });
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The error function by a series of positive terms.
    fn error_function(x: f64) -> f64 {
        if x.abs() > 6.0 {
            return x.signum();
        }
        let mut term = x;
        let mut sum = x;
        for step in 1..200 {
            term *= 2.0 * x * x / f64::from(2 * step + 1);
            sum += term;
        }
        sum * 2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp()
    }

    /// One of the functions that are `x` by a gate from 0 to 1.
    pub(crate) fn gate(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Gelu => x / 2.0 * (1.0 + error_function(x / std::f64::consts::SQRT_2)),
            _ => x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
        }
    }

    #[test]
    fn shares_are_parts_of_the_whole() {
        for (count, threads) in [(0, 1), (1, 2), (35, 3), (64, 2)] {
            let given: Vec<f32> = (0..count).map(|place| place as f32 / 9.0 - 2.0).collect();
            let (mut whole, mut shared) = (given.clone(), given);
            map(Level::best(), Activation::Gelu, &mut whole);
            for index in 0..threads {
                let part = Part { index, count: threads };
                map_part(Level::best(), Activation::Gelu, Shared::new(&mut shared), part).unwrap();
            }
            assert_eq!(whole, shared);
        }
    }

    #[test]
    fn gates_are_near_to_those_of_doubles_at_every_level() {
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            for activation in [Activation::Gelu, Activation::GeluTanh] {
                for step in -2000..2000 {
                    let x = step as f32 * 0.0041;
                    let mut values = [x; 16];
                    // SAFETY: the array has 16 floats.
                    unsafe { apply(level, activation, values.as_mut_ptr(), 16) };
                    let (found, expected) = (f64::from(values[3]), gate(activation, f64::from(x)));
                    let bound = 3e-7 * f64::from(x).abs() + 1e-12;
                    assert!(
                        (found - expected).abs() <= bound,
                        "{level:?} {activation:?} {x}: {found} {expected}"
                    );
                }
                let mut values = [f32::NAN; 16];
                values[1..5].copy_from_slice(&[f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30]);
                // SAFETY: the array has 16 floats.
                unsafe { apply(level, activation, values.as_mut_ptr(), 16) };
                // The reference multiplies an infinity with zero.
                assert!(values[0].is_nan() && values[1] == f32::INFINITY && values[2].is_nan());
                assert!(
                    (values[3] / 1e30 - 1.0).abs() < 1e-6 && values[4] == 0.0,
                    "{level:?} {activation:?} {values:?}"
                );
            }
        }
    }
}
