//! A loaded version of a model, with what requests need to know of it.

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use adytum_engine::{
    engine::{LoadedModel, Run, RunError},
    operators::{Cancellation, OperatorError},
    tensor::{ElementType, Tensor, Value},
    threads::Threads,
};

use crate::{
    error::RequestError,
    limits::{MemoryEstimate, RunBudget, RunMemory},
    scheduler::CostEstimate,
    tensor::{NotATensor, Signature, TensorSpecification},
};

/// The largest input that a warm-up makes up, in elements: 16 Mi.
const LARGEST_WARM_UP: usize = 16 << 20;

/// What a dimension that may vary is tried as: one example first; then sizes without
/// which some models can't do, such as the length of a text or the side of a picture.
const TRIED_SIZES: [usize; 7] = [1, 2, 4, 8, 32, 128, 224];

/// A first run that takes this long says enough of what a run costs: it is far from
/// where the cost decides anything.
const LONG: Duration = Duration::from_millis(20);

/// Why a loaded model does not answer requests.
///
/// Retry: no
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServableError {
    /// The model has an input or output that the API can't carry.
    ///
    /// Do: export the model with tensors as its inputs and outputs.
    #[error(transparent)]
    Signature(#[from] NotATensor),
    /// The model answered none of the inputs that were made up for it.
    ///
    /// Do: run the model with its own framework on an input of the declared shape, and
    /// export it again.
    #[error("the model answers no input of its declared types and shapes: {reason}")]
    NeverAnswers {
        /// What the engine said of the first.
        reason: String,
    },
}

impl ServableError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Signature(_) => "model-not-tensors",
            Self::NeverAnswers { .. } => "model-never-answers",
        }
    }
}

/// The resources that a model's runs may use.
#[derive(Clone, Debug)]
pub struct Resources {
    /// Cores of this machine.
    pub cores: NonZeroUsize,
    /// The memory for the values of runs.
    pub run_memory: RunMemory,
}

/// A version that answers requests.
pub struct Servable {
    name: String,
    version: i64,
    model: Box<dyn LoadedModel>,
    signature: Signature,
    run_memory: RunMemory,
    cost: CostEstimate,
    memory: MemoryEstimate,
}

impl Servable {
    /// A loaded model. It is run with inputs that are made up, so that the first request
    /// does not pay for what happens once, to learn what a run costs, and since a model
    /// that answers none of them can't answer requests: first on all cores, since
    /// somebody waits for it; and once more on one, if that was short.
    pub fn new(
        name: String,
        version: i64,
        model: Box<dyn LoadedModel>,
        resources: Resources,
    ) -> Result<Self, ServableError> {
        let Resources { cores, run_memory } = resources;
        let signature = Signature::of(model.signature())?;
        let servable = Self {
            name,
            version,
            model,
            signature,
            run_memory,
            cost: CostEstimate::default(),
            memory: MemoryEstimate::default(),
        };
        servable.warm_up(cores.get())?;
        let one_core = servable.cost.predict(count_declared(servable.signature()));
        tracing::info!(model = servable.name, version, ?one_core, "warmed up");
        Ok(servable)
    }

    fn warm_up(&self, cores: usize) -> Result<(), ServableError> {
        let mut reason = None;
        for size in TRIED_SIZES {
            for ones in [false, true] {
                let Some(inputs) = self.made_up(size, ones) else { continue };
                match self.run_once(inputs.clone(), &Threads::new(cores)) {
                    Ok(took) => {
                        self.learn(inputs, took, cores);
                        // How memory grows shows in a second size, unless that takes long.
                        if took < LONG
                            && let Some(twice) = self.made_up(size.saturating_mul(2), ones)
                        {
                            let _ = self.run_once(twice, &Threads::new(1));
                        }
                        return Ok(());
                    }
                    Err(error) => {
                        reason.get_or_insert(error);
                    }
                }
            }
            if self.signature.inputs.iter().all(|input| input.shape.iter().flatten().all(Option::is_some)) {
                // Other sizes would be the same.
                break;
            }
        }
        match reason {
            Some(reason) => Err(ServableError::NeverAnswers { reason }),
            // Its inputs are too large to be made up, or of an unknown rank.
            None => Ok(()),
        }
    }

    fn learn(&self, inputs: Vec<Tensor>, took: Duration, cores: usize) {
        let elements = count(&inputs);
        if took < LONG {
            if let Ok(took) = self.run_once(inputs, &Threads::new(1)) {
                self.cost.observe(elements, took);
            }
        } else {
            // At most so long on one core.
            let cores = u32::try_from(cores).unwrap_or(u32::MAX);
            self.cost.observe(elements, took.saturating_mul(cores));
        }
    }

    /// How long these inputs took, or why there was no answer.
    fn run_once(&self, inputs: Vec<Tensor>, threads: &Threads) -> Result<Duration, String> {
        let outputs: Vec<usize> = (0..self.signature.outputs.len()).collect();
        let started = Instant::now();
        let cancellation = Cancellation::default();
        let elements = count(&inputs);
        let budget = self.run_memory.begin(0).map_err(|error| error.to_string())?;
        let run = || threads.enter(|| self.answer(inputs, &outputs, threads, &budget, &cancellation));
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(_)) => {
                let took = started.elapsed();
                self.memory.measured(elements, budget.peak());
                Ok(took)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the engine panicked".to_owned()),
        }
    }

    /// Inputs of the declared shapes, with `size` for what may vary; `None` where they
    /// would be too large.
    fn made_up(&self, size: usize, ones: bool) -> Option<Vec<Tensor>> {
        self.signature.inputs.iter().map(|input| made_up(input, size, ones)).collect()
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Inputs and outputs.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The names of the inputs.
    pub fn input_names(&self) -> BTreeSet<String> {
        self.signature.inputs.iter().map(|input| input.name.clone()).collect()
    }

    /// The names of the outputs.
    pub fn output_names(&self) -> BTreeSet<String> {
        self.signature.outputs.iter().map(|output| output.name.clone()).collect()
    }

    /// The estimated cost of a run.
    pub fn cost(&self) -> &CostEstimate {
        &self.cost
    }

    /// Whether a run with inputs of this many elements may have the memory that it needs.
    pub fn check_memory(&self, elements: usize) -> Result<(), RequestError> {
        self.run_memory.check(self.memory.predict(elements))
    }

    /// Runs the model if there is memory for it, and learns what that costs, in time if it
    /// is on one core.
    pub fn run(
        &self,
        inputs: Vec<Tensor>,
        outputs: &[usize],
        threads: &Threads,
        cancellation: &Cancellation,
    ) -> Result<Vec<Tensor>, RequestError> {
        let elements = count(&inputs);
        let budget = self.run_memory.begin(self.memory.predict(elements))?;
        let started = Instant::now();
        let answers = self.answer(inputs, outputs, threads, &budget, cancellation)?;
        if threads.count() == 1 {
            self.cost.observe(elements, started.elapsed());
        }
        Ok(answers)
    }

    fn answer(
        &self,
        inputs: Vec<Tensor>,
        outputs: &[usize],
        threads: &Threads,
        budget: &RunBudget,
        cancellation: &Cancellation,
    ) -> Result<Vec<Tensor>, RunError> {
        let run = Run { threads, budget, cancellation };
        let answers = self.model.run(
            inputs.into_iter().map(|input| Some(Value::from(input))).collect(),
            outputs,
            run,
        )?;
        answers
            .into_iter()
            .map(|value| {
                value.into_tensor().ok_or_else(|| RunError::Node {
                    node: "the graph".to_owned(),
                    error: OperatorError::Engine { reason: "an output is not a tensor".to_owned() },
                })
            })
            .collect()
    }
}

/// Elements of all inputs together.
pub(crate) fn count(inputs: &[Tensor]) -> usize {
    inputs.iter().map(Tensor::len).fold(0, usize::saturating_add)
}

fn count_declared(signature: &Signature) -> usize {
    signature
        .inputs
        .iter()
        .map(|input| {
            input.shape.iter().flatten().map(|size| size.unwrap_or(1)).fold(1, usize::saturating_mul)
        })
        .fold(0, usize::saturating_add)
}

/// Zeros or ones of the declared shape, with `size` for what may vary; `None` of an
/// unknown rank, which nothing can be made up for.
fn made_up(specification: &TensorSpecification, size: usize, ones: bool) -> Option<Tensor> {
    let shape: Vec<usize> = specification.shape.as_ref()?.iter().map(|known| known.unwrap_or(size)).collect();
    let count = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))?;
    if count > LARGEST_WARM_UP {
        return None;
    }
    if !ones {
        return Tensor::zeros(specification.element_type, shape);
    }
    macro_rules! ones {
        ($one:expr) => {
            Tensor::from_vec(shape, vec![$one; count])
        };
    }
    match specification.element_type {
        ElementType::Float => ones!(1.0_f32),
        ElementType::Double => ones!(1.0_f64),
        ElementType::Half => ones!(half::f16::ONE),
        ElementType::Bfloat16 => ones!(half::bf16::ONE),
        ElementType::Int8 => ones!(1_i8),
        ElementType::Int16 => ones!(1_i16),
        ElementType::Int32 => ones!(1_i32),
        ElementType::Int64 => ones!(1_i64),
        ElementType::Uint8 => ones!(1_u8),
        ElementType::Uint16 => ones!(1_u16),
        ElementType::Uint32 => ones!(1_u32),
        ElementType::Uint64 => ones!(1_u64),
        ElementType::Bool => ones!(true),
        ElementType::Text => ones!(adytum_engine::tensor::Text::from_static(b"1")),
    }
}
