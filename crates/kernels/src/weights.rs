//! Weights as a model has them: in memory, or still as the bytes of its file.

use super::BLOCK;

/// Numbers of 32 bits.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    /// In memory.
    Floats(&'a [f32]),
    /// In little-endian order.
    Bytes(&'a [[u8; 4]]),
}

/// Weights, and what they are to be multiplied with.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    pub numbers: Numbers<'a>,
    /// A factor for each output channel; without any, ones.
    pub factors: &'a [f64],
}

impl Numbers<'_> {
    /// How many there are.
    pub fn len(self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Bytes(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The number of this index.
    ///
    /// # Panics
    /// If there are not as many.
    #[inline(always)]
    pub(super) fn at(self, index: usize) -> f32 {
        match self {
            Self::Floats(values) => values[index],
            Self::Bytes(values) => f32::from_le_bytes(values[index]),
        }
    }

    /// Copies those from this one on.
    ///
    /// # Panics
    /// If there are not as many.
    #[inline(always)]
    pub(super) fn copy(self, from: usize, to: &mut [f32]) {
        // The most frequent number is one load and one store.
        if let Ok(to) = <&mut [f32; BLOCK]>::try_from(&mut *to) {
            match self {
                Self::Floats(values) => to.copy_from_slice(&values[from..][..BLOCK]),
                Self::Bytes(values) => {
                    for (to, bytes) in to.iter_mut().zip(&values[from..][..BLOCK]) {
                        *to = f32::from_le_bytes(*bytes);
                    }
                }
            }
            return;
        }
        let range = from..from + to.len();
        match self {
            Self::Floats(values) => to.copy_from_slice(&values[range]),
            Self::Bytes(values) => {
                for (to, bytes) in to.iter_mut().zip(&values[range]) {
                    *to = f32::from_le_bytes(*bytes);
                }
            }
        }
    }

    /// All of them.
    pub fn to_vec(self) -> Vec<f32> {
        match self {
            Self::Floats(values) => values.to_vec(),
            Self::Bytes(values) => values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        }
    }
}

impl<'a> Weights<'a> {
    /// Weights that are taken as they are.
    pub fn plain(values: &'a [f32]) -> Self {
        Self { numbers: Numbers::Floats(values), factors: &[] }
    }

    /// Whether there are `outputs * per_output` of them, and a factor for each output or none at all.
    pub(super) fn fit(&self, outputs: usize, per_output: usize) -> bool {
        outputs.checked_mul(per_output) == Some(self.numbers.len())
            && (self.factors.is_empty() || self.factors.len() == outputs)
    }

    /// Copies weights of an output channel, from this one on, multiplied with its factor. Each is rounded once.
    #[inline(always)]
    pub(super) fn copy(&self, output: usize, from: usize, to: &mut [f32]) {
        self.numbers.copy(from, to);
        if let Some(factor) = self.factors.get(output) {
            for to in to {
                *to = (f64::from(*to) * factor) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_floats_that_they_stand_for() {
        let values = [1.0, -2.5, 3.25e-20, f32::MAX];
        let bytes = values.map(f32::to_le_bytes);
        for factors in [&[][..], &[3.0, 0.1][..]] {
            let all = [Numbers::Floats(&values), Numbers::Bytes(&bytes)].map(|numbers| {
                let weights = Weights { numbers, factors };
                assert!(weights.fit(2, 2) && !weights.fit(2, 3) && !weights.fit(usize::MAX, 2));
                let mut copy = [0.0; 2];
                weights.copy(1, 2, &mut copy);
                (numbers.to_vec(), copy)
            });
            assert_eq!(all[0], all[1]);
            assert_eq!(
                all[0].1[0],
                factors.get(1).map_or(values[2], |factor| (f64::from(values[2]) * factor) as f32)
            );
        }
    }
}
