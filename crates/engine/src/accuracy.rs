//! Whether answers in 16-bit floats are near enough to those in 32-bit floats.

use crate::{precision::PrecisionError, tensor::Tensor};

/// The largest distance of an output, in parts of its largest value over all runs. A first place that was ahead of
/// the new one by no more than this was a near tie: made-up inputs are often between two classes.
pub const DISTANCE: f64 = 0.05;

/// The answers of one output in several runs.
#[derive(Debug)]
pub struct Answers<'a> {
    pub name: &'a str,
    /// Those in 32-bit floats, and in 16-bit floats.
    pub pairs: Vec<(&'a Tensor, &'a Tensor)>,
}

/// Compares the answers of an output.
///
/// - Shapes and types are the same. A NaN is one in both, and an infinity is the same one.
/// - No number differs by more than [`DISTANCE`] of the largest one of all runs.
/// - In a table of rows (two dimensions), as classifiers give it, the largest number of a row is at the same
///   place, but for near ties: see [`DISTANCE`].
/// - Of whole numbers, texts and so on, at most a quarter differs over all runs: there is no distance, and a near tie
///   may go either way.
///
/// # Errors
/// How far the output is off.
pub fn judge(answers: &Answers<'_>) -> Result<(), PrecisionError> {
    let failure =
        |reason: String| Err(PrecisionError::Inaccurate { output: answers.name.to_owned(), reason });
    let mut reals = Vec::new();
    let (mut differing, mut count) = (0, 0);
    for (exact, found) in &answers.pairs {
        if exact.shape() != found.shape() || exact.element_type() != found.element_type() {
            return failure(format!(
                "has the shape {:?} and not {:?}, which depends on its numbers",
                found.shape(),
                exact.shape()
            ));
        }
        match (exact.elements().reals(), found.elements().reals()) {
            (Some(exact_reals), Some(found_reals)) => {
                reals.push((exact.shape(), exact_reals, found_reals));
            }
            _ => {
                differing += usize::from(exact.elements() != found.elements());
                count += 1;
            }
        }
    }
    if differing * 4 > count {
        return failure(format!("differs in {differing} of {count} runs; a quarter may"));
    }
    let finite = reals.iter().flat_map(|(_, exact, _)| exact).filter(|value| value.is_finite());
    let largest = finite.fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let mut distance = 0.0_f64;
    for (_, exact, found) in &reals {
        for (exact, found) in exact.iter().zip(found) {
            if exact == found || exact.is_nan() && found.is_nan() {
                continue;
            }
            if !exact.is_finite() || !found.is_finite() {
                return failure(format!("has {found} where 32-bit floats give {exact}"));
            }
            distance = distance.max((exact - found).abs());
        }
    }
    let relative = if distance > 0.0 { distance / largest } else { 0.0 };
    if relative > DISTANCE {
        return failure(format!(
            "is off by {:.3} % of its largest value; {:.0} % is allowed",
            relative * 100.0,
            DISTANCE * 100.0
        ));
    }
    let lost = reals.iter().filter_map(|(shape, exact, found)| match shape {
        [_, classes] if *classes > 1 => Some((*classes, exact, found)),
        _ => None,
    });
    for (classes, exact, found) in lost {
        for (row, (exact, found)) in exact.chunks(classes).zip(found.chunks(classes)).enumerate() {
            let Some((first, now)) = first_place(exact).zip(first_place(found)) else { continue };
            let lead = exact.get(first).zip(exact.get(now)).map_or(0.0, |(first, now)| first - now);
            if lead > DISTANCE * largest {
                return failure(format!(
                    "has its largest value at {now} and not at {first} in row {row}, which was ahead by {:.1} % of \
                     the largest value",
                    lead / largest * 100.0
                ));
            }
        }
    }
    Ok(())
}

/// The place of the largest number, the first of equal ones.
fn first_place(values: &[f64]) -> Option<usize> {
    let places = values.iter().enumerate().filter(|(_, value)| !value.is_nan());
    places
        .fold(None, |best: Option<(usize, f64)>, (place, value)| match best {
            Some((_, largest)) if largest >= *value => best,
            _ => Some((place, *value)),
        })
        .map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(shape: &[usize], exact: &[f32], found: &[f32]) -> Result<(), String> {
        let tensor = |values: &[f32]| Tensor::from_vec(shape.to_vec(), values.to_vec()).unwrap();
        let (exact, found) = (tensor(exact), tensor(found));
        judge(&Answers { name: "y", pairs: vec![(&exact, &found)] }).map_err(|error| error.to_string())
    }

    #[test]
    fn a_distance_is_a_part_of_the_largest_value() {
        assert_eq!(judged(&[3], &[100.0, 0.0, -1.0], &[96.0, 4.0, 2.0]), Ok(()));
        assert!(judged(&[2], &[100.0, 0.0], &[100.0, 6.0]).unwrap_err().contains("6.000 %"));
        // Small outputs are judged by their own size, and zeros must stay zeros.
        assert!(judged(&[2], &[1e-20, 0.0], &[1.2e-20, 0.0]).is_err());
        assert_eq!(judged(&[2], &[0.0, 0.0], &[0.0, 0.0]), Ok(()));
        assert!(judged(&[2], &[0.0, 0.0], &[0.0, 1e-30]).is_err());
    }

    #[test]
    fn what_is_not_finite_stays_where_it_is() {
        let (nan, infinity) = (f32::NAN, f32::INFINITY);
        assert_eq!(judged(&[3], &[nan, infinity, 1.0], &[nan, infinity, 1.0]), Ok(()));
        assert!(judged(&[2], &[1.0, 1.0], &[1.0, nan]).unwrap_err().contains("NaN"));
        assert!(judged(&[2], &[infinity, 1.0], &[1.0, 1.0]).is_err());
        assert!(judged(&[2], &[infinity, 1.0], &[-infinity, 1.0]).is_err());
    }

    #[test]
    fn the_first_place_of_a_row_stays_unless_it_was_a_near_tie() {
        assert!(
            judged(&[1, 3], &[10.0, 9.3, 0.0], &[9.5, 9.6, 0.0]).unwrap_err().contains("at 1 and not at 0")
        );
        assert_eq!(judged(&[1, 3], &[10.0, 9.6, 0.0], &[9.7, 9.8, 0.0]), Ok(()));
        // No table of classes.
        assert_eq!(judged(&[3], &[10.0, 9.3, 0.0], &[9.5, 9.6, 0.0]), Ok(()));
    }

    #[test]
    fn whole_numbers_may_differ_in_a_quarter_of_the_runs() {
        let (one, two) = (Tensor::vector(vec![1_i64]), Tensor::vector(vec![2_i64]));
        let mut pairs = vec![(&one, &one), (&one, &one), (&one, &one), (&one, &two)];
        assert!(judge(&Answers { name: "label", pairs: pairs.clone() }).is_ok());
        pairs[0] = (&two, &one);
        assert!(judge(&Answers { name: "label", pairs }).is_err());
        let long = Tensor::vector(vec![1_i64, 1]);
        let error = judge(&Answers { name: "label", pairs: vec![(&one, &long)] }).unwrap_err();
        assert_eq!(error.code(), "precision-inaccurate");
    }
}
