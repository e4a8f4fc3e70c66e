//! The activation functions of recurrent cells.

use crate::operators::{Attributes, Refusal, number::Real};

/// A function with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Activation {
    Relu,
    Tanh,
    Sigmoid,
    Affine { alpha: f32, beta: f32 },
    LeakyRelu { alpha: f32 },
    ThresholdedRelu { alpha: f32 },
    ScaledTanh { alpha: f32, beta: f32 },
    HardSigmoid { alpha: f32, beta: f32 },
    Elu { alpha: f32 },
    Softsign,
    Softplus,
}

/// The functions of a node: `defaults` for each direction if it names none. Settings are
/// taken in order by the functions that have them.
pub(super) fn activations(
    attributes: &Attributes,
    defaults: &[Activation],
    directions: usize,
) -> Result<Vec<Activation>, Refusal> {
    let count = defaults.len() * directions;
    let Some(names) = attributes.texts("activations")? else {
        return Ok(defaults.iter().copied().cycle().take(count).collect());
    };
    if names.len() != count {
        return Err(Refusal::new(format!("{} activations are named; expected {count}", names.len())));
    }
    let mut alphas = attributes.floats("activation_alpha")?.unwrap_or(&[]).iter().copied();
    let mut betas = attributes.floats("activation_beta")?.unwrap_or(&[]).iter().copied();
    let mut found = Vec::with_capacity(count);
    for name in names {
        let name = String::from_utf8_lossy(name);
        let mut alpha = |default: f32| alphas.next().unwrap_or(default);
        let mut beta = |default: f32| betas.next().unwrap_or(default);
        found.push(match name.to_ascii_lowercase().as_str() {
            "relu" => Activation::Relu,
            "tanh" => Activation::Tanh,
            "sigmoid" => Activation::Sigmoid,
            "affine" => Activation::Affine { alpha: alpha(1.0), beta: beta(0.0) },
            "leakyrelu" => Activation::LeakyRelu { alpha: alpha(0.01) },
            "thresholdedrelu" => Activation::ThresholdedRelu { alpha: alpha(1.0) },
            "scaledtanh" => Activation::ScaledTanh { alpha: alpha(1.0), beta: beta(1.0) },
            "hardsigmoid" => Activation::HardSigmoid { alpha: alpha(0.2), beta: beta(0.5) },
            "elu" => Activation::Elu { alpha: alpha(1.0) },
            "softsign" => Activation::Softsign,
            "softplus" => Activation::Softplus,
            _ => return Err(Refusal::new(format!("the activation {name:?} is not known"))),
        });
    }
    Ok(found)
}

impl Activation {
    /// The function's value.
    pub(super) fn apply<T: Real>(self, x: T) -> T {
        let number = |value: f32| T::from_f64(value.into());
        match self {
            Self::Relu => {
                if x < T::ZERO {
                    T::ZERO
                } else {
                    x
                }
            }
            Self::Tanh => x.tanh(),
            Self::Sigmoid => x.sigmoid(),
            Self::Affine { alpha, beta } => number(alpha) * x + number(beta),
            Self::LeakyRelu { alpha } => {
                if x < T::ZERO {
                    number(alpha) * x
                } else {
                    x
                }
            }
            Self::ThresholdedRelu { alpha } => {
                if x < number(alpha) {
                    T::ZERO
                } else {
                    x
                }
            }
            Self::ScaledTanh { alpha, beta } => number(alpha) * (number(beta) * x).tanh(),
            Self::HardSigmoid { alpha, beta } => {
                (number(alpha) * x + number(beta)).greatest(T::ZERO).least(T::ONE)
            }
            Self::Elu { alpha } => {
                if x < T::ZERO {
                    number(alpha) * x.exp_m1()
                } else {
                    x
                }
            }
            Self::Softsign => x / (T::ONE + x.abs()),
            Self::Softplus => x.softplus(),
        }
    }
}
