//! Runs to compare two forms of one model with: examples that come with it, and inputs that are made up.

use crate::{
    engine::{Example, Examples, LoadedModel, Run, Signature},
    onnx::model::Dimension,
    operators::{Cancellation, Memory},
    tensor::{ElementType, Tensor, Text, Value},
    threads::Threads,
};

/// What open dimensions are tried as, the first that the model answers: several rows or words before one, and then
/// sizes without which some models can't do.
const SIZES: [usize; 10] = [4, 1, 2, 8, 32, 128, 224, 48, 512, 16_000];

/// Elements of an input, at most.
const LARGEST: usize = 16 << 20;

/// Examples that are asked, at most.
const EXAMPLES: usize = 8;

/// Bytes of the values of a run, at most.
const MEMORY: usize = 4 << 30;

/// How numbers are made up.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Floats from -1 to 1, whole numbers 0.
    Signed,
    /// Floats from 0 to 1, whole numbers 1.
    Positive,
    /// Other floats from -1 to 1, whole numbers 0 and 1.
    Other,
    /// Floats around 0, most of them small, whole numbers up to 99.
    Gathered,
}

const KINDS: [Kind; 4] = [Kind::Signed, Kind::Positive, Kind::Other, Kind::Gathered];

/// A run, and the answers of a model, in the order of its outputs.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) example: Example,
    pub(crate) answers: Vec<Value>,
}

/// Runs that a model answers, so that each output is in one of them: the examples that come with the model, and for outputs
/// that they don't have, inputs that are made up. An error says why there are none.
pub(crate) fn probe(
    model: &dyn LoadedModel,
    examples: &dyn Examples,
    threads: &Threads,
) -> Result<Vec<Probe>, String> {
    let mut found = Vec::new();
    for example in examples.of(model, EXAMPLES) {
        if let Ok(answers) = answer(model, &example, threads) {
            found.push(Probe { example, answers });
        }
    }
    let is_measured = |index: &usize| found.iter().any(|probe| probe.example.outputs.contains(index));
    let others: Vec<usize> =
        (0..model.signature().outputs.len()).filter(|index| !is_measured(index)).collect();
    if others.is_empty() {
        return Ok(found);
    }
    let mut reason = "an input has no known number of dimensions, or is too large".to_owned();
    for size in SIZES {
        let measured = found.len();
        for kind in KINDS {
            let Some(inputs) = made_up(model.signature(), size, kind) else { continue };
            let example = Example { inputs, outputs: others.clone() };
            match answer(model, &example, threads) {
                Ok(answers) => found.push(Probe { example, answers }),
                Err(error) => reason = error,
            }
        }
        if found.len() > measured {
            return Ok(found);
        }
    }
    Err(reason)
}

/// The answers of a model.
pub(crate) fn answer(
    model: &dyn LoadedModel,
    example: &Example,
    threads: &Threads,
) -> Result<Vec<Value>, String> {
    let (memory, cancellation) = (Memory::new(MEMORY), Cancellation::default());
    let run = Run { threads, budget: &memory, cancellation: &cancellation };
    model.run(example.inputs.clone(), &example.outputs, run).map_err(|error| error.to_string())
}

/// The inputs of a kind, with `size` for what is open. `None` if their number of dimensions is not known, if they
/// would be too large, or if they are no tensors.
fn made_up(signature: &Signature, size: usize, kind: Kind) -> Option<Vec<Option<Value>>> {
    let mut random = Random::new(kind);
    signature
        .inputs
        .iter()
        .map(|specification| {
            let dimensions = specification.shape.as_ref()?.iter();
            let shape: Vec<usize> = dimensions
                .map(|dimension| match dimension {
                    Dimension::Fixed(size) => *size,
                    Dimension::Named(_) | Dimension::Any => size,
                })
                .collect();
            let count = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))?;
            if count > LARGEST {
                return None;
            }
            tensor(specification.element_type()?, shape, count, &mut random)
                .map(|tensor| Some(Value::Tensor(tensor)))
        })
        .collect()
}

fn tensor(element_type: ElementType, shape: Vec<usize>, count: usize, random: &mut Random) -> Option<Tensor> {
    macro_rules! filled {
        ($value:expr) => {
            Tensor::from_vec(shape, std::iter::repeat_with(|| $value).take(count).collect::<Vec<_>>())
        };
    }
    match element_type {
        ElementType::Float => filled!(random.real() as f32),
        ElementType::Double => filled!(random.real()),
        ElementType::Half => filled!(half::f16::from_f64(random.real())),
        ElementType::Bfloat16 => filled!(half::bf16::from_f64(random.real())),
        ElementType::Int8 => filled!(random.whole() as i8),
        ElementType::Int16 => filled!(i16::from(random.whole())),
        ElementType::Int32 => filled!(i32::from(random.whole())),
        ElementType::Int64 => filled!(i64::from(random.whole())),
        ElementType::Uint8 => filled!(random.whole()),
        ElementType::Uint16 => filled!(u16::from(random.whole())),
        ElementType::Uint32 => filled!(u32::from(random.whole())),
        ElementType::Uint64 => filled!(u64::from(random.whole())),
        ElementType::Bool => filled!(random.whole() % 2 == 1),
        ElementType::Text => filled!(Text::from_static(b"1")),
    }
}

/// Numbers that look random, and are the same each time.
struct Random {
    kind: Kind,
    state: u64,
}

impl Random {
    fn new(kind: Kind) -> Self {
        Self { kind, state: 0x2545_f491_4f6c_dd1d ^ (kind as u64) << 40 }
    }

    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 40) as f64 / (1_u64 << 24) as f64
    }

    fn real(&mut self) -> f64 {
        match self.kind {
            Kind::Signed | Kind::Other => 2.0 * self.next() - 1.0,
            Kind::Positive => self.next(),
            Kind::Gathered => (0..4).map(|_| self.next() - 0.5).sum(),
        }
    }

    fn whole(&mut self) -> u8 {
        match self.kind {
            Kind::Signed => 0,
            Kind::Positive => 1,
            Kind::Other => (self.next() * 2.0) as u8,
            Kind::Gathered => (self.next() * 100.0) as u8,
        }
    }
}
