//! The product of two matrices, by plain loops that a compiler vectorises.

use crate::operators::number::Number;

/// Columns that are computed together: their part of a row stays in the nearest cache.
const COLUMNS: usize = 512;
/// Rows that share one reading of the right matrix.
const ROWS: usize = 4;

/// Adds the product of `left` (`rows` by `depth`) and `right` (`depth` by `columns`) to
/// `result` (`rows` by `columns`), all row-major.
pub(crate) fn add_product<T: Number>(
    left: &[T],
    right: &[T],
    result: &mut [T],
    rows: usize,
    depth: usize,
    columns: usize,
) {
    if rows == 0 || depth == 0 || columns == 0 {
        return;
    }
    for first in (0..columns).step_by(COLUMNS) {
        let width = COLUMNS.min(columns - first);
        let mut blocks = result.chunks_mut(ROWS * columns);
        for (number, block) in blocks.by_ref().enumerate() {
            let row = number * ROWS;
            if block.len() == ROWS * columns {
                add_four_rows(
                    &left[row * depth..(row + ROWS) * depth],
                    right,
                    block,
                    depth,
                    columns,
                    first,
                    width,
                );
            } else {
                for (own, target) in block.chunks_mut(columns).enumerate() {
                    let own = &left[(row + own) * depth..(row + own + 1) * depth];
                    let target = &mut target[first..first + width];
                    for (step, factor) in own.iter().enumerate() {
                        let start = step * columns + first;
                        for (sum, value) in target.iter_mut().zip(&right[start..start + width]) {
                            *sum = sum.plus(factor.times(*value));
                        }
                    }
                }
            }
        }
    }
}

fn add_four_rows<T: Number>(
    left: &[T],
    right: &[T],
    block: &mut [T],
    depth: usize,
    columns: usize,
    first: usize,
    width: usize,
) {
    let (top, bottom) = block.split_at_mut(2 * columns);
    let (one, two) = top.split_at_mut(columns);
    let (three, four) = bottom.split_at_mut(columns);
    let one = &mut one[first..first + width];
    let two = &mut two[first..first + width];
    let three = &mut three[first..first + width];
    let four = &mut four[first..first + width];
    for step in 0..depth {
        let factors = [left[step], left[depth + step], left[2 * depth + step], left[3 * depth + step]];
        let start = step * columns + first;
        let values = &right[start..start + width];
        let sums = one.iter_mut().zip(two.iter_mut()).zip(three.iter_mut().zip(four.iter_mut()));
        for (((a, b), (c, d)), value) in sums.zip(values) {
            *a = a.plus(factors[0].times(*value));
            *b = b.plus(factors[1].times(*value));
            *c = c.plus(factors[2].times(*value));
            *d = d.plus(factors[3].times(*value));
        }
    }
}

/// The sum of products of two rows, in eight lanes.
pub(crate) fn dot<T: Number>(left: &[T], right: &[T]) -> T {
    let mut lanes = [T::ZERO; 8];
    let (whole, rest) = (left.chunks_exact(8), left.chunks_exact(8).remainder());
    let (other, other_rest) = (right.chunks_exact(8), right.chunks_exact(8).remainder());
    for (a, b) in whole.zip(other) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane = lane.plus(a.times(*b));
        }
    }
    let rest = rest.iter().zip(other_rest).fold(T::ZERO, |sum, (a, b)| sum.plus(a.times(*b)));
    lanes.into_iter().fold(rest, T::plus)
}

/// The sums of products of a row and each of the four rows of `others`, in eight lanes.
pub(crate) fn four_dots<T: Number>(row: &[T], others: &[T]) -> [T; 4] {
    let length = row.len();
    let (first, second) = others.split_at(2 * length);
    let (a, b) = first.split_at(length);
    let (c, d) = second.split_at(length);
    let mut lanes = [[T::ZERO; 8]; 4];
    let whole = row.chunks_exact(8).zip(a.chunks_exact(8).zip(b.chunks_exact(8)));
    for ((row, (a, b)), (c, d)) in whole.zip(c.chunks_exact(8).zip(d.chunks_exact(8))) {
        for (lanes, other) in lanes.iter_mut().zip([a, b, c, d]) {
            for ((lane, row), other) in lanes.iter_mut().zip(row).zip(other) {
                *lane = lane.plus(row.times(*other));
            }
        }
    }
    let rest = length - length % 8;
    let mut sums = [T::ZERO; 4];
    for ((sum, lanes), other) in sums.iter_mut().zip(lanes).zip([a, b, c, d]) {
        *sum = lanes.into_iter().fold(dot(&row[rest..], &other[rest..]), T::plus);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_sums_of_products() {
        let (rows, depth, columns) = (7, 5, 1030);
        let left: Vec<i64> = (0..rows * depth).map(|value| value as i64 % 13 - 6).collect();
        let right: Vec<i64> = (0..depth * columns).map(|value| value as i64 % 11 - 5).collect();
        let mut result = vec![1; rows * columns];
        add_product(&left, &right, &mut result, rows, depth, columns);
        for row in 0..rows {
            for column in 0..columns {
                let expected: i64 =
                    (0..depth).map(|step| left[row * depth + step] * right[step * columns + column]).sum();
                assert_eq!(result[row * columns + column], expected + 1);
            }
        }
        assert_eq!(dot(&left[..19], &right[..19]), (0..19).map(|place| left[place] * right[place]).sum());
        let four = four_dots(&left[..19], &right[..76]);
        assert_eq!(four, [0, 1, 2, 3].map(|own| dot(&left[..19], &right[own * 19..(own + 1) * 19])));
    }
}
