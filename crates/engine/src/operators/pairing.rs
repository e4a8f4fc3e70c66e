//! Two tensors whose elements are paired by the rules of broadcasting.

use super::OperatorError;
use crate::tensor::{Shape, strides};

/// How the elements of two tensors pair up: the shape of the result, and where each
/// tensor's element lies for each element of the result.
pub(super) struct Pairing {
    shape: Shape,
    first: Vec<usize>,
    second: Vec<usize>,
}

impl Pairing {
    /// Of two shapes; an error when they do not broadcast.
    pub(super) fn new(first: &[usize], second: &[usize]) -> Result<Self, OperatorError> {
        let rank = first.len().max(second.len());
        let (wide_first, wide_second) = (widened(first, rank), widened(second, rank));
        let shape = wide_first
            .iter()
            .zip(&wide_second)
            .map(|pair| match pair {
                (1, size) | (size, 1) => Some(*size),
                (left, right) if left == right => Some(*left),
                _ => None,
            })
            .collect::<Option<Shape>>()
            .ok_or_else(|| {
                OperatorError::inputs(format!(
                    "the shapes {first:?} and {second:?} do not broadcast to one another"
                ))
            })?;
        Ok(Self { first: steps(&wide_first), second: steps(&wide_second), shape })
    }

    /// The shape of the result.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The index of each pair's elements, in the order of the result.
    pub(super) fn for_each(&self, mut visit: impl FnMut(usize, usize)) {
        let visited: Result<(), std::convert::Infallible> = self.try_for_each(|first, second| {
            visit(first, second);
            Ok(())
        });
        match visited {
            Ok(()) => {}
        }
    }

    /// [`Pairing::for_each`], up to the first error.
    pub(super) fn try_for_each<E>(
        &self,
        mut visit: impl FnMut(usize, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.shape.contains(&0) {
            return Ok(());
        }
        let (outer, inner) = match self.shape.split_last() {
            None => return visit(0, 0),
            Some((inner, outer)) => (outer, *inner),
        };
        let last = outer.len();
        let (first_step, second_step) = (self.first[last], self.second[last]);
        let mut position = vec![0_usize; last];
        let (mut first, mut second) = (0, 0);
        loop {
            for index in 0..inner {
                visit(first + index * first_step, second + index * second_step)?;
            }
            // The next position of the outer dimensions, as an odometer turns.
            let mut dimension = last;
            loop {
                if dimension == 0 {
                    return Ok(());
                }
                dimension -= 1;
                position[dimension] += 1;
                first += self.first[dimension];
                second += self.second[dimension];
                if position[dimension] < outer[dimension] {
                    break;
                }
                position[dimension] = 0;
                first -= self.first[dimension] * outer[dimension];
                second -= self.second[dimension] * outer[dimension];
            }
        }
    }
}

fn widened(shape: &[usize], rank: usize) -> Shape {
    let mut wide = vec![1; rank - shape.len()];
    wide.extend_from_slice(shape);
    wide
}

/// The distance to the next element along each dimension; 0 where one element is repeated.
fn steps(shape: &[usize]) -> Vec<usize> {
    strides(shape).into_iter().zip(shape).map(|(stride, size)| if *size == 1 { 0 } else { stride }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(first: &[usize], second: &[usize]) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        Pairing::new(first, second).unwrap().for_each(|left, right| pairs.push((left, right)));
        pairs
    }

    #[test]
    fn a_column_and_a_row_make_a_table() {
        assert_eq!(pairs(&[2, 1], &[3]), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
        assert_eq!(Pairing::new(&[2, 1], &[3]).unwrap().shape(), [2, 3]);
    }

    #[test]
    fn scalars_and_empty_tensors_pair() {
        assert_eq!(pairs(&[], &[]), [(0, 0)]);
        assert_eq!(pairs(&[0], &[1]), []);
        assert_eq!(pairs(&[2, 2, 2], &[2, 1, 2]).len(), 8);
        assert_eq!(pairs(&[2, 2, 2], &[2, 1, 2])[5], (5, 3));
    }

    #[test]
    fn shapes_that_differ_are_an_error() {
        assert!(Pairing::new(&[2], &[3]).is_err());
    }
}
