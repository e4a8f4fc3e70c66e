//! Random tensors: RandomNormal and its Like form, RandomUniform, Multinomial. RandomUniformLike
//! and Bernoulli are refused.
//!
//! ONNX does not say which generator draws. Ours starts at the node's seed (0 if it has
//! none) at every run, so a request's answer depends on nothing but the request; it is that
//! of NumPy, which ONNX's reference implementation draws from.

use super::{
    Built, Definition, OperatorError, Refusal,
    arguments::{fault, single, tensor_of, unfit},
    axes::sizes_of_input,
    cast::{as_doubles, convert},
    constant::type_attribute,
    definition::Builder,
    widen::is_half,
};
use crate::tensor::{ElementType, Tensor};

/// The operators of this family.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "RandomNormal", random),
    ("", "RandomNormalLike", random),
    ("", "RandomUniform", random),
    ("", "RandomUniformLike", unchecked),
    ("", "Bernoulli", unchecked),
    ("", "Multinomial", multinomial),
];

/// How many words the generator's state has.
const WORDS: usize = 624;

/// A generator of numbers that only look random: the Mersenne Twister (Matsumoto and
/// Nishimura 1998), seeded and read as NumPy's `RandomState` does.
pub(crate) struct Generator {
    words: Vec<u32>,
    next: usize,
    /// The second of two normal numbers that are made together.
    spare: Option<f64>,
}

impl Generator {
    /// From a seed, of which 32 bits count.
    pub(crate) fn new(seed: i64) -> Self {
        let mut words = Vec::with_capacity(WORDS);
        let mut word = seed as u32;
        for place in 1..=WORDS as u32 {
            words.push(word);
            word = 1_812_433_253_u32.wrapping_mul(word ^ (word >> 30)).wrapping_add(place);
        }
        Self { words, next: WORDS, spare: None }
    }

    fn bits(&mut self) -> u32 {
        if self.next >= WORDS {
            for place in 0..WORDS {
                let high = self.words[place] & 0x8000_0000;
                let mixed = high | (self.words[(place + 1) % WORDS] & 0x7fff_ffff);
                let twist = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
                self.words[place] = self.words[(place + 397) % WORDS] ^ (mixed >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut word = self.words[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A number from 0 to below 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        let (high, low) = (self.bits() >> 5, self.bits() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// A number of the standard normal distribution (Marsaglia's polar method).
    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square != 0.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(factor * x);
                return factor * y;
            }
        }
    }
}

fn seed(definition: &Definition<'_>) -> Result<i64, Refusal> {
    Ok(definition.attributes.float("seed")?.map_or(0, |seed| seed as i64))
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

/// Bernoulli, and the uniform draws that it is written out as. ONNX says that another
/// implementation may draw other values even from the same seed, so no answer can be checked.
fn unchecked(definition: &Definition<'_>) -> Result<Built, Refusal> {
    Err(Refusal::new(format!(
        "{} draws its answer at random, and every runtime draws another; export the model for inference, or \
         give it what is drawn as an input",
        definition.operator
    )))
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

#[cfg(test)]
mod tests {
    use super::Generator;

    #[test]
    fn numbers_are_numpys() {
        // numpy.random.RandomState(7): rand() twice, then of a new one randn() thrice.
        let mut generator = Generator::new(7);
        assert_eq!(generator.uniform(), 0.07630828937395717);
        assert_eq!(generator.uniform(), 0.7799187922401146);
        let mut generator = Generator::new(7);
        for expected in NORMALS {
            assert!((generator.normal() - expected).abs() < 1e-15);
        }
    }

    const NORMALS: [f64; 3] = [1.690525703800356, -0.4659373705408328, 0.0328201636785844];
}
