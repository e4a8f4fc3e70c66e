use proptest::prelude::*;

use super::*;
use crate::weights::Numbers;

/// Numbers that look random, from -1 to 1.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed | 1;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
        })
        .collect()
}

fn run(product: &Product<'_>, threads: usize) -> Vec<f32> {
    let count = product.rows.len() / product.matrix.depth();
    let mut output = vec![f32::NAN; count * product.matrix.columns()];
    let shared = Shared::new(&mut output);
    for index in 0..threads {
        product.run(shared, Part { index, count: threads }).unwrap();
    }
    output
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn products_are_those_of_plain_loops(
        seed in any::<u64>(),
        rows in 1_usize..40,
        depth in prop_oneof![1_usize..70, 760_usize..790, 1530_usize..1545],
        columns in 1_usize..100,
        threads in 1_usize..4,
        is_turned in any::<bool>(),
        is_summed in any::<bool>(),
        is_rectified in any::<bool>(),
    ) {
        let left = numbers(seed, rows * depth);
        let right = numbers(seed ^ 7, depth * columns);
        let bytes: Vec<[u8; 4]> = right.iter().map(|value| value.to_le_bytes()).collect();
        let (bias, factors) = (numbers(seed ^ 8, columns), numbers(seed ^ 9, columns));
        let residual = numbers(seed ^ 10, rows * columns);
        let order = if is_turned { Order::Columns } else { Order::Rows };
        let mut arena = Arena::default();
        let activation = if is_rectified { Activation::RELU } else { Activation::Identity };
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            let sizes = [depth, columns];
            let values = if seed % 2 == 0 { Numbers::Bytes(&bytes) } else { Numbers::Floats(&right) };
            let matrix = Matrix::pack((level, Form::Single), values, sizes, order, Some(&factors), Some(&bias), &mut arena).unwrap();
            let residual = is_summed.then_some(residual.as_slice());
            let product = Product { matrix: &matrix, rows: &left, activation, residual };
            let found = run(&product, threads);
            for row in 0..rows {
                let alone = Product {
                    rows: &left[row * depth..(row + 1) * depth],
                    residual: residual.map(|values| &values[row * columns..(row + 1) * columns]),
                    ..product
                };
                prop_assert_eq!(&run(&alone, 1), &found[row * columns..(row + 1) * columns]);
                for column in 0..columns {
                    let place = |step| if is_turned { column * depth + step } else { step * columns + column };
                    let sum: f64 = (0..depth)
                        .map(|step| f64::from(left[row * depth + step]) * f64::from(right[place(step)]))
                        .sum();
                    let sum = sum * f64::from(factors[column]) + f64::from(bias[column]);
                    let sum = if is_rectified { sum.max(0.0) } else { sum };
                    let sum = sum + residual.map_or(0.0, |values| f64::from(values[row * columns + column]));
                    let own = f64::from(found[row * columns + column]);
                    // A rounding of each step, of sums of at most the root of the depth or so.
                    prop_assert!((own - sum).abs() < 1e-6 * (depth as f64 + 8.0), "{own} {sum}");
                }
            }
        }
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    assert!(
        Matrix::pack(
            (Level::Plain, Form::Single),
            Numbers::Floats(&[1.0; 5]),
            [2, 3],
            Order::Rows,
            None,
            None,
            &mut Arena::default()
        )
        .is_none()
    );
    assert!(
        Matrix::pack(
            (Level::Plain, Form::Single),
            Numbers::Floats(&[1.0; 6]),
            [2, 3],
            Order::Rows,
            Some(&[1.0]),
            None,
            &mut Arena::default()
        )
        .is_none()
    );
    let matrix = Matrix::pack(
        (Level::Plain, Form::Single),
        Numbers::Floats(&[1.0; 6]),
        [2, 3],
        Order::Rows,
        None,
        None,
        &mut Arena::default(),
    )
    .unwrap();
    let activation = Activation::Identity;
    let mut output = [0.0; 6];
    for (rows, count) in [(&[1.0; 3][..], 3), (&[1.0; 4], 5)] {
        let product = Product { matrix: &matrix, rows, activation, residual: None };
        assert!(product.run(Shared::new(&mut output[..count]), Part::WHOLE).is_err());
    }
    let product = Product { matrix: &matrix, rows: &[1.0; 4], activation, residual: Some(&[0.0; 5]) };
    assert!(product.run(Shared::new(&mut output), Part::WHOLE).is_err());
}

#[test]
fn what_is_not_a_number_stays_in_its_row() {
    for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
        let matrix = Matrix::pack(
            (level, Form::Single),
            Numbers::Floats(&[0.0; 40]),
            [2, 20],
            Order::Rows,
            None,
            None,
            &mut Arena::default(),
        )
        .unwrap();
        let rows = [1.0, 2.0, f32::NAN, 0.0, 3.0, 4.0, 0.0, f32::INFINITY];
        let product = Product { matrix: &matrix, rows: &rows, activation: Activation::RELU, residual: None };
        let found = run(&product, 1);
        for (row, is_number) in [true, false, true, false].into_iter().enumerate() {
            let values = &found[row * 20..(row + 1) * 20];
            assert!(values.iter().all(|value| value.is_nan() != is_number), "{level:?} {row}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Products of 16-bit floats are chains of the instruction's steps, bit for bit, at every level. Those of AMX have
    /// another order.
    #[test]
    fn products_of_pairs_are_chains_of_dots(
        seed in any::<u64>(),
        rows in 1_usize..20,
        depth in prop_oneof![1_usize..70, 1530_usize..1545],
        columns in 1_usize..70,
        threads in 1_usize..4,
        is_turned in any::<bool>(),
        is_summed in any::<bool>(),
        is_tiled in any::<bool>(),
    ) {
        let is_tiled = is_tiled && bfloat::is_available(Level::Avx512);
        let form = if is_tiled { Form::Tile } else { Form::Pair };
        let (left, right) = (numbers(seed, rows * depth), numbers(seed ^ 7, depth * columns));
        let (bias, factors) = (numbers(seed ^ 8, columns), numbers(seed ^ 9, columns));
        let residual = numbers(seed ^ 10, rows * columns);
        let residual = is_summed.then_some(residual.as_slice());
        let order = if is_turned { Order::Columns } else { Order::Rows };
        let mut expected = Vec::new();
        for row in 0..rows {
            for column in 0..columns {
                let place = |step| if is_turned { column * depth + step } else { step * columns + column };
                let weight = |step| if step < depth { right[place(step)] * factors[column] } else { 0.0 };
                let value = |step| if step < depth { left[row * depth + step] } else { 0.0 };
                let words: Vec<(f32, f32)> = (0..depth)
                    .step_by(2)
                    .map(|step| {
                        (word(value(step), value(step + 1)), word(weight(step), weight(step + 1)))
                    })
                    .collect();
                let sum = words.chunks(BLOCK).fold(bias[column], |sum, words| {
                    let words = words.iter().copied();
                    match form {
                        Form::Tile => bfloat::dot_of_tiles(sum, words),
                        _ => words.fold(sum, |sum, (left, right)| bfloat::dot(sum, left, right)),
                    }
                });
                expected.push(sum.max(0.0) + residual.map_or(0.0, |residual| residual[row * columns + column]));
            }
        }
        let levels = Level::ALL.into_iter().filter(|level| level.is_available());
        for level in levels.filter(|level| !is_tiled || *level == Level::Avx512) {
            let matrix = Matrix::pack(
                (level, form),
                Numbers::Floats(&right),
                [depth, columns],
                order,
                Some(&factors),
                Some(&bias),
                &mut Arena::default(),
            )
            .unwrap();
            let product = Product { matrix: &matrix, rows: &left, activation: Activation::RELU, residual };
            prop_assert_eq!(&run(&product, threads), &expected, "{:?}", level);
        }
    }
}
