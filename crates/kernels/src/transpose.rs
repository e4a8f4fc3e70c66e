//! Matrices with rows and columns exchanged, a block of 16 by 16 after the other: so each line of memory is read
//! and written while it is in the nearest cache.

#![expect(unsafe_code, reason = "threads write into one buffer")]

use super::{BLOCK, Part, Unfit, buffer::Shared};

/// Exchanges the rows and the columns of `[matrix][row][column]`: this thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn transpose(
    values: &[f32],
    [matrices, rows, columns]: [usize; 3],
    output: Shared<'_>,
    part: Part,
) -> Result<(), Unfit> {
    const WRONG: Unfit = Unfit("a transposition");
    let size = rows.checked_mul(columns).ok_or(WRONG)?;
    if matrices.checked_mul(size) != Some(values.len()) || output.len() != values.len() {
        return Err(WRONG);
    }
    // A share is some bands of 16 columns, which are rows of the output.
    let bands = columns.div_ceil(BLOCK);
    for band in part.of(matrices * bands) {
        let (matrix, first) = (band / bands, band % bands * BLOCK);
        let count = BLOCK.min(columns - first);
        let from = &values[matrix * size..(matrix + 1) * size];
        // SAFETY: bands are rows of the output of their own.
        let to = unsafe { output.part(matrix * size + first * rows, count * rows) }.ok_or(WRONG)?;
        turn(from, [rows, columns], first, count, to);
    }
    Ok(())
}

/// `count` columns of a matrix, from `first` on, as rows.
fn turn(from: &[f32], [rows, columns]: [usize; 2], first: usize, count: usize, to: &mut [f32]) {
    for start in (0..rows).step_by(BLOCK) {
        let height = BLOCK.min(rows - start);
        if height == BLOCK && count == BLOCK {
            let mut block = [[0.0; BLOCK]; BLOCK];
            for (row, target) in block.iter_mut().enumerate() {
                target.copy_from_slice(&from[(start + row) * columns + first..][..BLOCK]);
            }
            for column in 0..BLOCK {
                let target = &mut to[column * rows + start..][..BLOCK];
                for (target, row) in target.iter_mut().zip(&block) {
                    *target = row[column];
                }
            }
            continue;
        }
        for column in 0..count {
            let target = &mut to[column * rows + start..][..height];
            for (row, target) in target.iter_mut().enumerate() {
                *target = from[(start + row) * columns + first + column];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_become_columns(matrices in 0_usize..4, rows in 0_usize..40, columns in 0_usize..40, threads in 1_usize..4) {
            let values: Vec<f32> = (0..matrices * rows * columns).map(|place| place as f32).collect();
            let mut output = vec![f32::NAN; values.len()];
            for index in 0..threads {
                let part = Part { index, count: threads };
                transpose(&values, [matrices, rows, columns], Shared::new(&mut output), part).unwrap();
            }
            for matrix in 0..matrices {
                for row in 0..rows {
                    for column in 0..columns {
                        prop_assert_eq!(
                            output[(matrix * columns + column) * rows + row],
                            values[(matrix * rows + row) * columns + column]
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let mut output = [0.0; 6];
        assert!(transpose(&[0.0; 5], [1, 2, 3], Shared::new(&mut output), Part::WHOLE).is_err());
        assert!(transpose(&[0.0; 6], [1, 2, 3], Shared::new(&mut output[..5]), Part::WHOLE).is_err());
    }
}
