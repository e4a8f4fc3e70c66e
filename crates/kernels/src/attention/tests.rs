use proptest::prelude::*;

use super::*;

fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed | 1;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0) * 3.0
        })
        .collect()
}

/// Attention by plain loops. Rows are side by side by heads.
fn plain(attention: &Attention<'_>, place: [usize; 3]) -> Vec<f64> {
    let [batch, head, row] = place;
    let query = attention.query.row(batch, head, row, attention.size);
    let scores: Vec<f64> = (0..attention.keys)
        .map(|key| {
            let other = attention.key.row(batch, head / attention.share, key, attention.size);
            let product: f64 = query.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let score = product * f64::from(attention.scale);
            let at = |steps: Steps| batch * steps[0] + head * steps[1] + row * steps[2] + key * steps[3];
            match attention.mask {
                Mask::None => score,
                Mask::Add(values, steps) => score + f64::from(values[at(steps)]),
                Mask::Keep { keeps, steps, other } => {
                    if keeps[at(steps)] {
                        score
                    } else {
                        f64::from(other)
                    }
                }
            }
        })
        .collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let total: f64 = weights.iter().sum();
    (0..attention.value_size)
        .map(|column| {
            let at = |key| {
                let row = attention.value.row(batch, head / attention.share, key, attention.value_size);
                f64::from(row[column])
            };
            weights.iter().enumerate().map(|(key, weight)| weight * at(key)).sum::<f64>() / total
        })
        .collect()
}

fn run(attention: &Attention<'_>, threads: usize) -> Vec<f32> {
    let count = attention.batch * attention.heads * attention.queries * attention.value_size;
    let mut output = vec![f32::NAN; count];
    let shared = Shared::new(&mut output);
    for index in 0..threads {
        attention.run(shared, Part { index, count: threads }).unwrap();
    }
    output
}

/// Heads side by side: the steps of rows of `heads` times `size` numbers.
fn side_by_side(heads: usize, rows: usize, size: usize) -> [usize; 3] {
    [rows * heads * size, size, heads * size]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn attention_is_that_of_plain_loops(
        seed in any::<u64>(),
        (batch, groups, share) in (1_usize..3, 1_usize..4, 1_usize..3),
        queries in 1_usize..40,
        keys in prop_oneof![1_usize..70, 505_usize..520, 1020_usize..1030],
        size in 1_usize..40,
        value_size in 1_usize..40,
        kind in 0_usize..6,
        threads in 1_usize..4,
    ) {
        let heads = groups * share;
        let query = numbers(seed, batch * queries * heads * size);
        let key = numbers(seed ^ 1, batch * keys * groups * size);
        let value = numbers(seed ^ 2, batch * keys * groups * value_size);
        let added = numbers(seed ^ 3, batch * heads * queries * keys);
        let keeps: Vec<bool> = added.iter().map(|value| *value < 0.5).collect();
        let full = [heads * queries * keys, queries * keys, keys, 1];
        let mask = match kind {
            0 => Mask::None,
            1 => Mask::Add(&added, full),
            2 => Mask::Add(&added, [keys, 0, 0, 1]),
            3 => Mask::Add(&added, [0, 0, keys, 1]),
            4 => Mask::Keep { keeps: &keeps, steps: full, other: -3.402_823_5e38 },
            _ => Mask::Keep { keeps: &keeps, steps: [0, 0, 1, 0], other: -1.0 },
        };
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            let attention = Attention {
                level, batch, heads, share, queries, keys, size, value_size,
                query: Heads { values: &query, offset: 0, steps: side_by_side(heads, queries, size) },
                key: Heads { values: &key, offset: 0, steps: side_by_side(groups, keys, size) },
                value: Heads { values: &value, offset: 0, steps: side_by_side(groups, keys, value_size) },
                scale: 0.3,
                mask,
                output: side_by_side(heads, queries, value_size),
            };
            let found = run(&attention, threads);
            prop_assert_eq!(&found, &run(&attention, 1));
            for entry in 0..batch {
                for head in 0..heads {
                    for row in 0..queries {
                        let expected = plain(&attention, [entry, head, row]);
                        let start = (entry * queries + row) * heads * value_size + head * value_size;
                        for (found, expected) in found[start..].iter().zip(expected) {
                            let own = f64::from(*found);
                            prop_assert!((own - expected).abs() < 2e-5, "{level:?} {own} {expected}");
                        }
                    }
                }
            }
        }
    }
}

fn single<'a>(
    level: Level,
    query: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
    mask: Mask<'a>,
) -> Attention<'a> {
    let keys = key.len();
    let heads = |values| Heads { values, offset: 0, steps: [0, 0, 1] };
    Attention {
        level,
        batch: 1,
        heads: 1,
        share: 1,
        queries: query.len(),
        keys,
        size: 1,
        value_size: 1,
        query: heads(query),
        key: heads(key),
        value: heads(value),
        scale: 1.0,
        mask,
        output: [query.len(), query.len(), 1],
    }
}

#[test]
fn rows_without_a_finite_score_answer_as_the_operators_do() {
    let (low, infinity) = (f32::MIN, f32::INFINITY);
    for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
        let keys = vec![1.0; 700];
        let mut values = vec![0.0; 700];
        values[..350].fill(2.0);
        // The lowest number for all keys leaves all of them equal.
        let mask = vec![low; 700];
        let found = run(&single(level, &[1.0], &keys, &values, Mask::Add(&mask, [0, 0, 0, 1])), 1);
        assert!((found[0] - 1.0).abs() < 1e-5, "{level:?} {found:?}");
        let keeps = vec![false; 700];
        let keep = Mask::Keep { keeps: &keeps, steps: [0, 0, 0, 1], other: low };
        assert!((run(&single(level, &[1.0], &keys, &values, keep), 1)[0] - 1.0).abs() < 1e-5);
        // Negative infinity for all keys is no number; for all of the first blocks it is nothing.
        let mut mask = vec![-infinity; 700];
        let found = run(&single(level, &[1.0], &keys, &values, Mask::Add(&mask, [0, 0, 0, 1])), 1);
        assert!(found[0].is_nan());
        mask[699] = 0.0;
        values[699] = 5.0;
        let found = run(&single(level, &[1.0], &keys, &values, Mask::Add(&mask, [0, 0, 0, 1])), 1);
        assert_eq!(found[0], 5.0);
        for query in [f32::NAN, infinity] {
            let found = run(&single(level, &[1.0, query, 2.0], &keys, &values, Mask::None), 1);
            assert!(found[0].is_finite() && found[1].is_nan() && found[2].is_finite(), "{level:?} {found:?}");
        }
        let mut keys = keys.clone();
        keys[600] = f32::NAN;
        let found = run(&single(level, &[1.0], &keys, &values, Mask::None), 1);
        assert!(found[0].is_nan());
        keys[600] = infinity;
        assert!(run(&single(level, &[1.0], &keys, &values, Mask::None), 1)[0].is_nan());
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let good = single(Level::Plain, &[1.0; 3], &[1.0; 4], &[1.0; 4], Mask::None);
    let mut output = [0.0; 3];
    let mut is_refused =
        |attention: Attention<'_>| attention.run(Shared::new(&mut output), Part::WHOLE).is_err();
    assert!(!is_refused(good));
    assert!(is_refused(Attention { queries: 4, ..good }));
    assert!(is_refused(Attention { keys: 5, ..good }));
    assert!(is_refused(Attention { size: 2, ..good }));
    assert!(is_refused(Attention { heads: 2, ..good }));
    assert!(is_refused(Attention { share: 0, ..good }));
    assert!(is_refused(Attention { share: 2, ..good }));
    assert!(is_refused(Attention { output: [3, 3, 0], ..good }));
    assert!(is_refused(Attention { mask: Mask::Add(&[0.0; 3], [0, 0, 0, 1]), ..good }));
    assert!(is_refused(Attention { value: Heads { values: &[], ..good.value }, ..good }));
}
