//! The operations that kernels are written over, and their forms for sets of vector instructions.
//!
//! A value of a type that is [`Isa`] is proof that the processor has the instructions: it is made only
//! in [`dispatch`] and in the entries of the tiles, which are compiled for them. Operations on
//! registers are safe for that reason; loads and stores are not, as they take pointers.
//!
//! A kernel has loops in the place of `map` and `from_fn`: what these call is a function of its own that is not compiled for
//! the instructions, so that each operation in it may become a call.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod plain;

use super::Level;

/// Operations on 16 floats at once.
pub(super) trait Isa: Copy {
    /// Sixteen floats.
    type V: Copy;

    fn splat(self, value: f32) -> Self::V;
    /// # Safety
    /// 16 floats can be read there.
    #[expect(unsafe_code, reason = "reads through a pointer")]
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// # Safety
    /// 16 floats can be written there.
    #[expect(unsafe_code, reason = "writes through a pointer")]
    unsafe fn store(self, value: Self::V, to: *mut f32);
    /// The lower halves of 16 bytes, and the upper halves: numbers from 0 to 15.
    ///
    /// # Safety
    /// 16 bytes can be read there.
    #[expect(unsafe_code, reason = "reads through a pointer")]
    unsafe fn nibbles(self, from: *const u8) -> [Self::V; 2];
    /// 16 bytes: numbers from 0 to 255.
    ///
    /// # Safety
    /// 16 bytes can be read there.
    #[expect(unsafe_code, reason = "reads through a pointer")]
    unsafe fn bytes(self, from: *const u8) -> Self::V;
    fn add(self, left: Self::V, right: Self::V) -> Self::V;
    fn subtract(self, left: Self::V, right: Self::V) -> Self::V;
    fn multiply(self, left: Self::V, right: Self::V) -> Self::V;
    fn divide(self, left: Self::V, right: Self::V) -> Self::V;
    /// `left * right + sum`, rounded once where the processor can.
    fn multiply_add(self, left: Self::V, right: Self::V, sum: Self::V) -> Self::V;
    /// The larger one; `value` where one of them is not a number.
    fn at_least(self, value: Self::V, low: Self::V) -> Self::V;
    /// The smaller one; `value` where one of them is not a number.
    fn at_most(self, value: Self::V, high: Self::V) -> Self::V;
    /// `then` where `value` is less than zero, otherwise `other`.
    fn where_negative(self, value: Self::V, then: Self::V, other: Self::V) -> Self::V;
    /// The nearest whole number, of a value of at most a million.
    fn round(self, value: Self::V) -> Self::V;
    /// The value with the sign cut off.
    fn absolute(self, value: Self::V) -> Self::V;
    /// Asks for a cache line that is needed soon. Any address will do.
    #[inline(always)]
    fn prefetch(self, _: *const f32) {}
    /// Two to the power of a whole number from -126 to 127.
    fn power_of_two(self, exponent: Self::V) -> Self::V;

    /// Gives each place a number of `from`. `places` says which one: its bits are those of an integer from 0 to 15.
    /// Where that is negative, the place has its number of `other`.
    #[expect(unsafe_code, reason = "stores and loads arrays")]
    #[inline(always)]
    fn pick(self, from: Self::V, places: Self::V, other: Self::V) -> Self::V {
        let mut lists = [[0.0_f32; 16]; 3];
        for (values, list) in [from, places, other].into_iter().zip(&mut lists) {
            // SAFETY: the array has 16 floats.
            unsafe { self.store(values, list.as_mut_ptr()) };
        }
        let [from, places, mut result] = lists;
        for (value, place) in result.iter_mut().zip(places) {
            let place = place.to_bits();
            if place < 16 {
                *value = from[place as usize];
            }
        }
        // SAFETY: the array has 16 floats.
        unsafe { self.load(result.as_ptr()) }
    }

    /// The columns of sixteen rows.
    #[expect(unsafe_code, reason = "stores and loads arrays")]
    #[inline(always)]
    fn turned(self, rows: [Self::V; 16]) -> [Self::V; 16] {
        let (mut from, mut to) = ([[0.0_f32; 16]; 16], [[0.0_f32; 16]; 16]);
        for (row, values) in rows.into_iter().zip(&mut from) {
            // SAFETY: the array has 16 floats.
            unsafe { self.store(row, values.as_mut_ptr()) };
        }
        for (column, values) in to.iter_mut().enumerate() {
            for (value, row) in values.iter_mut().zip(&from) {
                *value = row[column];
            }
        }
        let mut columns = rows;
        for (column, values) in columns.iter_mut().zip(&to) {
            // SAFETY: the array has 16 floats.
            *column = unsafe { self.load(values.as_ptr()) };
        }
        columns
    }

    /// The exponential function, to two units in the last place. It saturates at 2^-126 and 2^127; a NaN
    /// stays so.
    #[inline(always)]
    fn exponential(self, value: Self::V) -> Self::V {
        let value = self.at_most(value, self.splat(88.0));
        let value = self.at_least(value, self.splat(-87.0));
        let exponent = self.round(self.multiply(value, self.splat(std::f32::consts::LOG2_E)));
        // The logarithm of 2 in two parts: products of the first part are exact.
        let rest = self.multiply_add(exponent, self.splat(-0.693_359_4), value);
        let rest = self.multiply_add(exponent, self.splat(2.121_944_4e-4), rest);
        // The series of the exponential function: the next term is below 2^-26 of the result.
        let mut sum = self.splat(1.0 / 5040.0);
        for factor in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            sum = self.multiply_add(sum, rest, self.splat(factor));
        }
        self.multiply(sum, self.power_of_two(exponent))
    }

    /// `1 / (1 + exp(-value))`.
    #[inline(always)]
    fn sigmoid(self, value: Self::V) -> Self::V {
        let one = self.splat(1.0);
        let power = self.exponential(self.subtract(self.splat(0.0), value));
        self.divide(one, self.add(one, power))
    }

    /// The error function, to 4e-7. A NaN stays so.
    #[inline(always)]
    fn error_function(self, value: Self::V) -> Self::V {
        // A quotient of polynomials of the square, as vector libraries have it. Beyond 4 it is 1.
        let value = self.at_least(self.at_most(value, self.splat(4.0)), self.splat(-4.0));
        let square = self.multiply(value, value);
        let polynomial = |factors: &[f32]| {
            factors
                .iter()
                .fold(self.splat(0.0), |sum, factor| self.multiply_add(sum, square, self.splat(*factor)))
        };
        let above = polynomial(&[
            -2.726_142_3e-10,
            2.770_681_4e-8,
            -2.101_024e-6,
            -5.692_506_2e-5,
            -7.349_906_5e-4,
            -2.954_6e-3,
            -1.609_603_4e-2,
        ]);
        let below =
            polynomial(&[-1.456_607_2e-5, -2.133_740_5e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2]);
        self.multiply(value, self.divide(above, below))
    }

    /// The hyperbolic tangent.
    #[inline(always)]
    fn tangent(self, value: Self::V) -> Self::V {
        // By the exponential of twice the value; near 0, where that cancels, by the series.
        let (one, two) = (self.splat(1.0), self.splat(2.0));
        let power = self.exponential(self.multiply(two, self.absolute(value)));
        let large = self.subtract(one, self.divide(two, self.add(power, one)));
        let square = self.multiply(value, value);
        let mut series = self.splat(-929_569.0 / 638_512_875.0);
        for factor in [
            21_844.0 / 6_081_075.0,
            -1382.0 / 155_925.0,
            62.0 / 2835.0,
            -17.0 / 315.0,
            2.0 / 15.0,
            -1.0 / 3.0,
            1.0,
        ] {
            series = self.multiply_add(series, square, self.splat(factor));
        }
        let small = self.multiply(series, value);
        let signed = self.where_negative(value, self.subtract(self.splat(0.0), large), large);
        let is_small = self.subtract(self.absolute(value), self.splat(0.5));
        self.where_negative(is_small, small, signed)
    }
}

/// Work that is written over the operations.
pub(super) trait Task {
    /// What it gives.
    type Output;
    /// Does it. Must be inlined to be compiled for the instructions.
    fn run<I: Isa>(self, isa: I) -> Self::Output;
}

/// Does work with the instructions of a level, or of the best one below that the processor has.
#[inline]
pub(super) fn dispatch<T: Task>(level: Level, task: T) -> T::Output {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 if level.is_available() => avx512::run(task),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx2 if Level::Avx2.is_available() => avx2::run(task),
        #[cfg(target_arch = "aarch64")]
        level if level >= Level::Neon => task.run(neon::Neon),
        _ => task.run(plain::Plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Apply<'a> {
        function: u8,
        values: &'a mut [f32; 16],
    }

    impl Task for Apply<'_> {
        type Output = ();

        #[expect(unsafe_code, reason = "loads and stores an array")]
        #[inline(always)]
        fn run<I: Isa>(self, isa: I) {
            // SAFETY: the array has 16 floats.
            let value = unsafe { isa.load(self.values.as_ptr()) };
            let result = match self.function {
                0 => isa.exponential(value),
                1 => isa.sigmoid(value),
                _ => isa.tangent(value),
            };
            // SAFETY: the array has 16 floats.
            unsafe { isa.store(result, self.values.as_mut_ptr()) };
        }
    }

    struct Turn<'a>(&'a mut [[f32; 16]; 16]);

    impl Task for Turn<'_> {
        type Output = ();

        #[expect(unsafe_code, reason = "loads and stores arrays")]
        #[inline(always)]
        fn run<I: Isa>(self, isa: I) {
            // SAFETY: the arrays have 16 floats.
            let turned = isa.turned(self.0.map(|row| unsafe { isa.load(row.as_ptr()) }));
            for (row, values) in turned.into_iter().zip(self.0) {
                // SAFETY: the array has 16 floats.
                unsafe { isa.store(row, values.as_mut_ptr()) };
            }
        }
    }

    struct Pick<'a>(&'a mut [[f32; 16]; 3]);

    impl Task for Pick<'_> {
        type Output = ();

        #[expect(unsafe_code, reason = "loads and stores arrays")]
        #[inline(always)]
        fn run<I: Isa>(self, isa: I) {
            // SAFETY: the arrays have 16 floats.
            let [from, places, other] = self.0.map(|list| unsafe { isa.load(list.as_ptr()) });
            // SAFETY: the array has 16 floats.
            unsafe { isa.store(isa.pick(from, places, other), self.0[2].as_mut_ptr()) };
        }
    }

    #[test]
    fn numbers_are_picked_at_every_level() {
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            for seed in 0..50_i32 {
                let places: [i32; 16] =
                    std::array::from_fn(|lane| ((lane as i32 * 7 + seed * 5) % 23 - 7).max(-1));
                let mut lists = [[0.0; 16]; 3];
                for lane in 0..16 {
                    let place = f32::from_bits(places[lane].cast_unsigned());
                    (lists[0][lane], lists[1][lane], lists[2][lane]) =
                        (lane as f32, place, 100.0 + lane as f32);
                }
                dispatch(level, Pick(&mut lists));
                for lane in 0..16 {
                    let expected = if places[lane] < 0 { 100.0 + lane as f32 } else { places[lane] as f32 };
                    assert_eq!(lists[2][lane], expected, "{level:?}");
                }
            }
        }
    }

    #[test]
    fn rows_become_columns_at_every_level() {
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            let mut values = [[0.0; 16]; 16];
            for (number, value) in values.as_flattened_mut().iter_mut().enumerate() {
                *value = number as f32;
            }
            dispatch(level, Turn(&mut values));
            for (number, value) in values.as_flattened().iter().enumerate() {
                assert_eq!(*value, (number % 16 * 16 + number / 16) as f32, "{level:?}");
            }
        }
    }

    #[test]
    fn functions_are_near_to_those_of_doubles_at_every_level() {
        let exact: [fn(f64) -> f64; 3] = [f64::exp, |x| 1.0 / (1.0 + (-x).exp()), f64::tanh];
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            for (function, exact) in exact.iter().enumerate() {
                for step in -870..870 {
                    let x = step as f32 * 0.1003;
                    let mut values = [x; 16];
                    dispatch(level, Apply { function: function as u8, values: &mut values });
                    let (found, expected) = (f64::from(values[7]), exact(f64::from(x)));
                    if x.abs() < 87.0 {
                        let bound = 4e-7 * expected.abs().max(1e-30);
                        assert!(
                            (found - expected).abs() <= bound,
                            "{level:?} {function} {x}: {found} {expected}"
                        );
                    }
                }
                let mut values = [f32::NAN; 16];
                dispatch(level, Apply { function: function as u8, values: &mut values });
                assert!(values.iter().all(|value| value.is_nan()), "{level:?} {function}");
                let mut values = [f32::INFINITY; 16];
                values[1] = f32::NEG_INFINITY;
                dispatch(level, Apply { function: function as u8, values: &mut values });
                if function > 0 {
                    assert_eq!(values[0], 1.0);
                    assert!((f64::from(values[1]) - exact(f64::NEG_INFINITY)).abs() < 1e-37);
                }
            }
        }
    }
}
