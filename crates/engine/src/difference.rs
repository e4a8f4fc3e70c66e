//! How far an answer is from what was expected.

use crate::tensor::Tensor;

/// The largest difference of two tensors in parts of the largest value expected, infinities
/// excepted. Values that are no floating point numbers must be equal. The error says why the tensors can't
/// be compared, or what differs.
pub fn difference(found: &Tensor, expected: &Tensor) -> Result<f64, String> {
    if found.element_type() != expected.element_type() {
        return Err(format!("the type is {}, not {}", found.element_type(), expected.element_type()));
    }
    if found.shape() != expected.shape() {
        return Err(format!("the shape is {:?}, not {:?}", found.shape(), expected.shape()));
    }
    if let (Some(found), Some(expected)) = (found.elements().reals(), expected.elements().reals()) {
        return Ok(distance(&found, &expected));
    }
    if found.elements() == expected.elements() {
        return Ok(0.0);
    }
    Err(format!("{:.200?} is not {:.200?}", found.elements(), expected.elements()))
}

fn distance(found: &[f64], expected: &[f64]) -> f64 {
    let largest = expected.iter().filter(|value| value.is_finite()).fold(0.0_f64, |a, b| a.max(b.abs()));
    let differences = found.iter().zip(expected).map(|(found, expected)| match found - expected {
        _ if found == expected || (found.is_nan() && expected.is_nan()) => 0.0,
        difference if difference.is_nan() => f64::INFINITY,
        difference => difference.abs(),
    });
    let worst = differences.fold(0.0, f64::max);
    if worst == 0.0 { 0.0 } else { worst / largest.max(f64::MIN_POSITIVE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_in_parts_of_the_largest() {
        let expected = Tensor::vector(vec![1.0_f32, -200.0, f32::NAN, f32::INFINITY]);
        assert_eq!(difference(&expected, &expected), Ok(0.0));
        let found = Tensor::vector(vec![3.0_f32, -200.0, f32::NAN, f32::INFINITY]);
        assert_eq!(difference(&found, &expected), Ok(0.01));
        let found = Tensor::vector(vec![f32::NAN, -200.0, f32::NAN, f32::INFINITY]);
        assert_eq!(difference(&found, &expected), Ok(f64::INFINITY));
        let zeros = Tensor::vector(vec![0.0_f32; 4]);
        assert!(difference(&expected, &zeros).is_ok_and(|difference| difference > 1.0));
    }

    #[test]
    fn all_else_is_equal_or_not() {
        let one = Tensor::vector(vec![1_i64, 2]);
        assert_eq!(difference(&one, &one), Ok(0.0));
        assert!(difference(&Tensor::vector(vec![1_i64, 3]), &one).is_err());
        assert!(difference(&Tensor::vector(vec![1.0_f32, 2.0]), &one).unwrap_err().contains("type"));
        assert!(difference(&Tensor::vector(vec![1_i64]), &one).unwrap_err().contains("shape"));
    }
}
