//! Activation functions with settings, of floats and doubles.

use super::{arithmetic::common_type, unary::map};
use crate::{
    operators::{
        Built, Definition, OperatorError, Refusal,
        arguments::{single, unfit},
        broadcast::{broadcasts_to, combine},
        number::{Number, Real},
        registry::Builder,
        types::{for_numbers, for_reals},
        widen::in_float,
    },
    tensor::Tensor,
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "Celu", activation),
    ("", "Elu", activation),
    ("", "Gelu", activation),
    ("com.microsoft", "Gelu", activation),
    ("com.microsoft", "QuickGelu", activation),
    ("com.microsoft", "FastGelu", biased_gelu),
    ("com.microsoft", "BiasGelu", biased_gelu),
    ("", "HardSigmoid", activation),
    ("", "LeakyRelu", activation),
    ("", "Selu", activation),
    ("", "Swish", activation),
    ("", "ThresholdedRelu", activation),
    ("", "PRelu", parametric_relu),
    ("", "SwiGLU", gated),
];

/// An activation function with its settings.
#[derive(Clone, Copy, Debug)]
enum Activation<T> {
    Celu { alpha: T },
    Elu { alpha: T },
    Gelu,
    GeluByTanh,
    HardSigmoid { alpha: T, beta: T },
    LeakyRelu { alpha: T },
    Selu { alpha: T, gamma: T },
    Swish { alpha: T },
    ThresholdedRelu { alpha: T },
}

impl<T: Real> Activation<T> {
    fn new(definition: &Definition<'_>) -> Result<Self, Refusal> {
        let setting = |name: &str, default: f32| -> Result<T, Refusal> {
            let value = definition.attributes.float(name)?.unwrap_or(default);
            Ok(T::from_f64(value.into()))
        };
        Ok(match definition.operator {
            "Celu" => {
                let alpha = setting("alpha", 1.0)?;
                if alpha == T::ZERO {
                    return Err(Refusal::new("alpha of Celu is 0, by which it divides"));
                }
                Self::Celu { alpha }
            }
            "Elu" => Self::Elu { alpha: setting("alpha", 1.0)? },
            "Gelu" => match definition.attributes.text("approximate")? {
                None | Some("none") => Self::Gelu,
                Some("tanh") => Self::GeluByTanh,
                Some(other) => {
                    return Err(Refusal::new(format!(
                        "Gelu by {other:?} is not known; expected none or tanh"
                    )));
                }
            },
            "HardSigmoid" => Self::HardSigmoid { alpha: setting("alpha", 0.2)?, beta: setting("beta", 0.5)? },
            "LeakyRelu" => Self::LeakyRelu { alpha: setting("alpha", 0.01)? },
            "Selu" => {
                Self::Selu { alpha: setting("alpha", 1.673_263_2)?, gamma: setting("gamma", 1.050_701)? }
            }
            "Swish" => Self::Swish { alpha: setting("alpha", 1.0)? },
            "QuickGelu" => Self::Swish { alpha: setting("alpha", 1.702)? },
            "ThresholdedRelu" => Self::ThresholdedRelu { alpha: setting("alpha", 1.0)? },
            other => return Err(Refusal::new(format!("there is no activation {other}"))),
        })
    }

    fn apply(self, x: T) -> T {
        match self {
            Self::Celu { alpha } => x.greatest(T::ZERO) + T::ZERO.least(alpha * (x / alpha).exp_m1()),
            Self::Elu { alpha } => {
                if x < T::ZERO {
                    alpha * x.exp_m1()
                } else {
                    x
                }
            }
            Self::Gelu => {
                let scaled = x * T::from_f64(std::f64::consts::FRAC_1_SQRT_2);
                T::from_f64(0.5) * x * (T::ONE + scaled.error_function())
            }
            Self::GeluByTanh => gelu_by_tanh(x),
            Self::HardSigmoid { alpha, beta } => (alpha * x + beta).greatest(T::ZERO).least(T::ONE),
            Self::LeakyRelu { alpha } => {
                if x < T::ZERO {
                    alpha * x
                } else {
                    x
                }
            }
            Self::Selu { alpha, gamma } => {
                if x > T::ZERO {
                    gamma * x
                } else {
                    gamma * alpha * x.exp_m1()
                }
            }
            Self::Swish { alpha } => x * (alpha * x).sigmoid(),
            Self::ThresholdedRelu { alpha } => {
                if x > alpha || x.is_nan() {
                    x
                } else {
                    T::ZERO
                }
            }
        }
    }
}

fn gelu_by_tanh<T: Real>(x: T) -> T {
    let inner = T::from_f64(0.797_884_560_802_865_4) * (x + T::from_f64(0.044_715) * x * x * x);
    T::from_f64(0.5) * x * (T::ONE + inner.tanh())
}

fn activation(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        for_reals!(
            element_type,
            T => {
                let activation = Activation::<T>::new(definition)?;
                single(definition, element_type, move |arguments, _| {
                    map::<T>(arguments, |value| activation.apply(value))
                })
            },
            Err(definition.unsupported_type(0))
        )
    })
}

/// Gelu of the sum of an input and a bias of its last dimension.
fn biased_gelu(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let by_tanh = definition.operator == "FastGelu";
        let biased = definition.has_input(1);
        for_reals!(
            element_type,
            T => {
                let activation = if by_tanh { Activation::<T>::GeluByTanh } else { Activation::Gelu };
                single(definition, element_type, move |mut arguments, context| {
                    if !biased {
                        return map::<T>(arguments, |value| activation.apply(value));
                    }
                    let (tensor, bias) = (arguments.take(0)?, arguments.take(1)?);
                    fitting(&bias, &tensor)?;
                    combine::<T>(tensor, bias, context, |value, bias| activation.apply(value + bias))
                })
            },
            Err(definition.unsupported_type(0))
        )
    })
}

fn fitting(small: &Tensor, large: &Tensor) -> Result<(), OperatorError> {
    if broadcasts_to(small.shape(), large.shape()) {
        return Ok(());
    }
    unfit(format!("the shape {:?} does not broadcast to {:?}", small.shape(), large.shape()))
}

fn parametric_relu(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = common_type(definition)?;
    for_numbers!(
        element_type,
        T => single(definition, element_type, |mut arguments, context| {
            let (tensor, slope) = (arguments.take(0)?, arguments.take(1)?);
            fitting(&slope, &tensor)?;
            combine::<T>(tensor, slope, context, |value, slope| {
                if value.is_below_zero() { value.times(slope) } else { value }
            })
        }),
        Err(definition.unsupported_type(0))
    )
}

fn gated(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = common_type(definition)?;
        for_reals!(
            element_type,
            T => {
                let alpha = T::from_f64(definition.attributes.float("alpha")?.unwrap_or(1.0).into());
                single(definition, element_type, move |mut arguments, context| {
                    let (gate, linear) = (arguments.take(0)?, arguments.take(1)?);
                    if gate.shape() != linear.shape() {
                        return unfit(format!(
                            "the shapes {:?} and {:?} differ; SwiGLU takes equal ones",
                            gate.shape(),
                            linear.shape()
                        ));
                    }
                    combine::<T>(gate, linear, context, |gate, linear| {
                        gate * (alpha * gate).sigmoid() * linear
                    })
                })
            },
            Err(definition.unsupported_type(0))
        )
    })
}
