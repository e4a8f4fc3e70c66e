//! The last step, from a model's scores to its results: `post_transform`.

use crate::operators::{Attributes, Refusal};

/// The transformation of a row of scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transform {
    /// None.
    Identity,
    /// The logistic function of each.
    Logistic,
    /// The softmax of the row.
    Softmax,
    /// The softmax of those that are not zero.
    SoftmaxZero,
    /// The quantile function of the normal distribution of each.
    Probit,
}

impl Transform {
    /// Reads `post_transform`.
    pub(super) fn read(attributes: &Attributes) -> Result<Self, Refusal> {
        match attributes.text("post_transform")? {
            None | Some("NONE") => Ok(Self::Identity),
            Some("LOGISTIC") => Ok(Self::Logistic),
            Some("SOFTMAX") => Ok(Self::Softmax),
            Some("SOFTMAX_ZERO") => Ok(Self::SoftmaxZero),
            Some("PROBIT") => Ok(Self::Probit),
            Some(other) => Err(Refusal::new(format!(
                "the attribute post_transform is {other:?}, which ONNX does not know"
            ))),
        }
    }

    /// The number of `TreeEnsemble`'s attribute.
    pub(super) fn from_number(number: i64) -> Result<Self, Refusal> {
        match number {
            0 => Ok(Self::Identity),
            1 => Ok(Self::Softmax),
            2 => Ok(Self::Logistic),
            3 => Ok(Self::SoftmaxZero),
            4 => Ok(Self::Probit),
            _ => Err(Refusal::new(format!("the attribute post_transform is {number}; 0 to 4 are expected"))),
        }
    }

    /// Transforms a row of two scores or more.
    pub(super) fn apply(self, row: &mut [f32]) {
        match self {
            Self::Identity => {}
            Self::Logistic => row.iter_mut().for_each(|score| *score = logistic(*score)),
            Self::Softmax => softmax(row),
            Self::SoftmaxZero => softmax_zero(row),
            Self::Probit => row.iter_mut().for_each(|score| *score = probit(*score)),
        }
    }
}

/// The logistic function, without overflow.
pub(super) fn logistic(score: f32) -> f32 {
    let value = 1.0 / (1.0 + (-score.abs()).exp());
    if score < 0.0 { 1.0 - value } else { value }
}

/// The quantile function of the normal distribution, with Winitzki's approximation of
/// the inverse error function, as ONNX Runtime computes it.
pub(super) fn probit(score: f32) -> f32 {
    std::f32::consts::SQRT_2 * inverse_error_function(2.0 * score - 1.0)
}

#[expect(clippy::approx_constant, reason = "the constant of the approximation, as ONNX Runtime has it")]
fn inverse_error_function(x: f32) -> f32 {
    let sign = if x < 0.0 { -1.0 } else { 1.0 };
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let first = 2.0 / (3.14159 * 0.147) + 0.5 * log;
    let second = 1.0 / 0.147 * log;
    sign * (-first + (first * first - second).sqrt()).sqrt()
}

fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in row.iter_mut() {
        *score = (*score - largest).exp();
        sum += *score;
    }
    row.iter_mut().for_each(|score| *score /= sum);
}

fn softmax_zero(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::MIN, f32::max);
    let scale = (-largest).exp();
    let mut sum = 0.0;
    for score in row.iter_mut() {
        if score.abs() > 1e-7 {
            *score = (*score - largest).exp();
            sum += *score;
        } else {
            *score *= scale;
        }
    }
    row.iter_mut().for_each(|score| *score /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transformations_of_onnx_runtime() {
        let mut row = [1.0, 0.0, -2.0];
        Transform::SoftmaxZero.apply(&mut row);
        assert!((row[0] - 0.952_574).abs() < 1e-6 && row[1] == 0.0 && (row[2] - 0.047_425_9).abs() < 1e-6);
        let mut row = [1.0, 0.0, -2.0];
        Transform::Softmax.apply(&mut row);
        assert!((row[0] - 0.705_384_5).abs() < 1e-6);
        assert!((probit(0.975) - 1.960_4).abs() < 5e-3 && probit(0.5).abs() < 1e-3);
        assert!((logistic(-3.0) - 0.047_425_87).abs() < 1e-7);
    }
}
