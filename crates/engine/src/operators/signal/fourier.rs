//! The discrete Fourier transform of any length, in double precision.

use std::f64::consts::PI;

/// A complex number: its real and its imaginary part.
pub(super) type Complex = (f64, f64);

/// A transform of one length.
#[derive(Debug)]
pub(super) struct Transform {
    length: usize,
    /// For lengths that are not powers of two: the chirp, and the transform of its
    /// conjugate (Bluestein's algorithm).
    chirp: Option<(Vec<Complex>, Vec<Complex>)>,
}

fn product(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

impl Transform {
    /// Elements of scratch memory that a length needs, of two doubles each.
    pub(super) fn scratch(length: usize) -> usize {
        length.saturating_mul(16)
    }

    /// For a length of 1 or more.
    pub(super) fn new(length: usize) -> Self {
        if length.is_power_of_two() || length == 0 {
            return Self { length, chirp: None };
        }
        let chirp: Vec<Complex> = (0..length)
            .map(|index| {
                // The square modulo twice the length keeps the angle small.
                let square = (index as u128 * index as u128 % (2 * length as u128)) as f64;
                let angle = -PI * square / length as f64;
                (angle.cos(), angle.sin())
            })
            .collect();
        let size = (2 * length - 1).next_power_of_two();
        let mut kernel = vec![(0.0, 0.0); size];
        for (index, (real, imaginary)) in chirp.iter().enumerate() {
            kernel[index] = (*real, -imaginary);
            if index > 0 {
                kernel[size - index] = (*real, -imaginary);
            }
        }
        by_halves(&mut kernel);
        Self { length, chirp: Some((chirp, kernel)) }
    }

    /// Transforms a signal in place: real and imaginary parts.
    pub(super) fn run(&self, signal: &mut [Complex]) {
        let Some((chirp, kernel)) = &self.chirp else {
            by_halves(signal);
            return;
        };
        let size = kernel.len();
        let mut work = vec![(0.0, 0.0); size];
        for (place, (value, factor)) in signal.iter().zip(chirp).enumerate() {
            work[place] = product(*value, *factor);
        }
        by_halves(&mut work);
        // The inverse transform by the transform of conjugates.
        for (value, factor) in work.iter_mut().zip(kernel) {
            let (real, imaginary) = product(*value, *factor);
            *value = (real, -imaginary);
        }
        by_halves(&mut work);
        for (place, value) in signal.iter_mut().enumerate().take(self.length) {
            let (real, imaginary) = work[place];
            let back = (real / size as f64, -imaginary / size as f64);
            *value = product(back, chirp[place]);
        }
    }

    /// The inverse transform, in place.
    pub(super) fn run_inverse(&self, signal: &mut [Complex]) {
        signal.iter_mut().for_each(|value| value.1 = -value.1);
        self.run(signal);
        let length = self.length as f64;
        signal.iter_mut().for_each(|value| *value = (value.0 / length, -value.1 / length));
    }
}

/// The transform of a power of two, by Cooley and Tukey's algorithm.
fn by_halves(signal: &mut [Complex]) {
    let length = signal.len();
    if length < 2 {
        return;
    }
    let bits = length.trailing_zeros();
    for index in 0..length {
        let other = index.reverse_bits() >> (usize::BITS - bits);
        if index < other {
            signal.swap(index, other);
        }
    }
    let mut half = 1;
    while half < length {
        let factors: Vec<Complex> = (0..half)
            .map(|index| {
                let angle = -PI * index as f64 / half as f64;
                (angle.cos(), angle.sin())
            })
            .collect();
        for block in signal.chunks_exact_mut(2 * half) {
            let (first, second) = block.split_at_mut(half);
            for ((a, b), factor) in first.iter_mut().zip(second).zip(&factors) {
                let turned = product(*b, *factor);
                *b = (a.0 - turned.0, a.1 - turned.1);
                *a = (a.0 + turned.0, a.1 + turned.1);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transform_is_the_sum_that_defines_it() {
        for length in [1, 2, 3, 5, 8, 12, 17, 64, 100] {
            let signal: Vec<Complex> =
                (0..length).map(|n| ((n * 7 % 11) as f64 - 5.0, (n * 5 % 7) as f64)).collect();
            let transform = Transform::new(length);
            let mut result = signal.clone();
            transform.run(&mut result);
            for (k, value) in result.iter().enumerate() {
                let expected = signal.iter().enumerate().fold((0.0, 0.0), |sum: Complex, (n, value)| {
                    let angle = -2.0 * PI * ((k * n) % length) as f64 / length as f64;
                    let part = product(*value, (angle.cos(), angle.sin()));
                    (sum.0 + part.0, sum.1 + part.1)
                });
                assert!((value.0 - expected.0).abs() < 1e-9 && (value.1 - expected.1).abs() < 1e-9);
            }
            transform.run_inverse(&mut result);
            assert!(
                result.iter().zip(&signal).all(|(a, b)| (a.0 - b.0).abs() < 1e-9 && (a.1 - b.1).abs() < 1e-9)
            );
        }
    }
}
