//! Random tensors: RandomNormal, RandomUniform, their Like forms, Bernoulli, Multinomial.
//!
//! ONNX does not say which generator draws. Ours starts at the node's seed (0 if it has
//! none) at every run, so a request's answer depends on nothing but the request.

use super::{
    Built, Definition, OperatorError, Refusal,
    arguments::{fault, single, tensor_of, unfit},
    axes::sizes_of_input,
    cast::{as_doubles, convert},
    constant::type_attribute,
    registry::Builder,
    widen::is_half,
};
use crate::tensor::{ElementType, Tensor};

/// The operators of this family.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "RandomNormal", random),
    ("", "RandomNormalLike", random),
    ("", "RandomUniform", random),
    ("", "RandomUniformLike", random),
    ("", "Bernoulli", bernoulli),
    ("", "Multinomial", multinomial),
];

/// A generator of numbers that only look random: SplitMix64.
pub(crate) struct Generator(u64);

impl Generator {
    /// From a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number of the standard normal distribution (Box and Muller).
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

fn seed(definition: &Definition<'_>) -> Result<u64, Refusal> {
    Ok(definition.attributes.float("seed")?.map_or(0, |seed| u64::from(seed.to_bits())))
}

fn random(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let attributes = definition.attributes;
    let like = definition.operator.ends_with("Like");
    let normal = definition.operator.starts_with("RandomNormal");
    let element_type = match type_attribute(definition)? {
        Some(element_type) => element_type,
        None if like => definition.tensor_type(0)?,
        None => ElementType::Float,
    };
    let real = matches!(element_type, ElementType::Float | ElementType::Double);
    if !real && !is_half(element_type) {
        return Err(Refusal::new(format!("{} of {element_type} is not known", definition.operator)));
    }
    let (first, second) = if normal {
        (attributes.float("mean")?.unwrap_or(0.0), attributes.float("scale")?.unwrap_or(1.0))
    } else {
        (attributes.float("low")?.unwrap_or(0.0), attributes.float("high")?.unwrap_or(1.0))
    };
    let (first, second) = (f64::from(first), f64::from(second));
    let seed = seed(definition)?;
    let fixed = if like {
        None
    } else {
        let sizes = attributes.integers("shape")?.ok_or_else(|| Refusal::new("the shape is missing"))?;
        Some(sizes_of_input(sizes, "a size").map_err(|error| Refusal::new(error.to_string()))?)
    };
    single(definition, element_type, move |arguments, context| {
        let shape = match &fixed {
            Some(shape) => shape.clone(),
            None => arguments.tensor(0)?.shape().to_vec(),
        };
        let count = context.reserve(ElementType::Double, &shape)?;
        let mut generator = Generator::new(seed);
        let values: Vec<f64> = (0..count)
            .map(|_| {
                if normal {
                    first + second * generator.normal()
                } else {
                    first + (second - first) * generator.uniform()
                }
            })
            .collect();
        convert(tensor_of(shape, values)?, element_type, context)
    })
}

fn bernoulli(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let input_type = definition.tensor_type(0)?;
    let element_type = type_attribute(definition)?.unwrap_or(input_type);
    let seed = seed(definition)?;
    single(definition, element_type, move |arguments, context| {
        let tensor = arguments.tensor(0)?;
        context.reserve(ElementType::Double, tensor.shape())?;
        let mut generator = Generator::new(seed);
        let drawn =
            as_doubles(tensor)?.into_iter().map(|chance| generator.uniform() < chance).collect::<Vec<bool>>();
        convert(tensor_of(tensor.shape(), drawn)?, element_type, context)
    })
}

/// Draws classes by the logarithms of their chances, which need not sum to 1.
fn multinomial(definition: &Definition<'_>) -> Result<Built, Refusal> {
    definition.tensor_type(0)?;
    let element_type = type_attribute(definition)?.unwrap_or(ElementType::Int32);
    if !matches!(element_type, ElementType::Int32 | ElementType::Int64) {
        return Err(Refusal::new(format!("Multinomial of {element_type} is not known")));
    }
    let samples = definition.attributes.integer("sample_size")?.unwrap_or(1);
    let samples = usize::try_from(samples)
        .map_err(|_| Refusal::new(format!("the sample_size is {samples}; expected 0 or more")))?;
    let seed = seed(definition)?;
    single(definition, element_type, move |arguments, context| {
        let tensor = arguments.tensor(0)?;
        let [batch, classes] = tensor.shape() else {
            return unfit(format!("Multinomial takes a matrix; found the shape {:?}", tensor.shape()));
        };
        if *classes == 0 {
            return unfit("Multinomial has no class to draw");
        }
        let count = context.reserve(ElementType::Int64, &[*batch, samples])?;
        let logarithms = as_doubles(tensor)?;
        let mut generator = Generator::new(seed);
        let mut drawn: Vec<i64> = Vec::with_capacity(count);
        for row in logarithms.chunks_exact(*classes) {
            let greatest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sums: Vec<f64> = row
                .iter()
                .scan(0.0, |sum, value| {
                    *sum += (value - greatest).exp();
                    Some(*sum)
                })
                .collect();
            let total = sums.last().copied().ok_or_else(|| fault("a row has no classes"))?;
            for _ in 0..samples {
                let place = generator.uniform() * total;
                drawn.push(sums.partition_point(|sum| *sum <= place).min(classes - 1) as i64);
            }
        }
        let drawn: Result<Tensor, OperatorError> = tensor_of([*batch, samples], drawn);
        convert(drawn?, element_type, context)
    })
}
