//! A loaded version of a model, with what requests need to know of it.

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use crate::{
    engine::{LoadedModel, RunError, Threads},
    onnx::signature::Signature,
    scheduler::CostEstimate,
    tensor::{ElementType, Tensor, TensorSpecification},
};

/// The largest input that a warm-up makes up, in elements: 16 Mi.
const LARGEST_WARM_UP: usize = 16 << 20;

/// A first run that takes this long says enough of what a run costs: it is far from
/// where the cost decides anything.
const LONG: Duration = Duration::from_millis(20);

/// A version that answers requests.
pub struct Servable {
    name: String,
    version: i64,
    model: Box<dyn LoadedModel>,
    cost: CostEstimate,
}

impl Servable {
    /// A loaded model. It is run with zeros, so that the first request does not pay
    /// for what happens once, and to learn what a run costs: first on all `cores`,
    /// since somebody waits for it; and once more on one, if that was short.
    pub fn new(name: String, version: i64, model: Box<dyn LoadedModel>, cores: NonZeroUsize) -> Self {
        let servable = Self { name, version, model, cost: CostEstimate::default() };
        if servable.warm_up(cores.get()).is_none() {
            tracing::debug!(model = servable.name, version, "no warm-up: zeros don't run");
        } else {
            let one_core = servable.cost.predict(count_declared(servable.signature()));
            tracing::info!(model = servable.name, version, ?one_core, "warmed up");
        }
        servable
    }

    /// A model that can't run on zeros or on one example is not wrong, but nothing
    /// is learned of it.
    fn warm_up(&self, cores: usize) -> Option<()> {
        let (elements, took) = self.run_once(&Threads::new(cores))?;
        if took < LONG {
            let (elements, took) = self.run_once(&Threads::new(1))?;
            self.cost.observe(elements, took);
        } else {
            // At most so long on one core.
            let cores = u32::try_from(cores).unwrap_or(u32::MAX);
            self.cost.observe(elements, took.saturating_mul(cores));
        }
        Some(())
    }

    /// How many elements zeros have, and how long they took.
    fn run_once(&self, threads: &Threads) -> Option<(usize, Duration)> {
        let outputs: Vec<usize> = (0..self.signature().outputs.len()).collect();
        let inputs = self.signature().inputs.iter().map(made_up).collect::<Option<Vec<Tensor>>>()?;
        let elements = count(&inputs);
        let started = Instant::now();
        let result =
            catch_unwind(AssertUnwindSafe(|| threads.enter(|| self.model.run(inputs, &outputs, threads))));
        matches!(result, Ok(Ok(_))).then(|| (elements, started.elapsed()))
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
        self.model.signature()
    }

    /// The names of the inputs.
    pub fn input_names(&self) -> BTreeSet<String> {
        self.signature().inputs.iter().map(|input| input.name.clone()).collect()
    }

    /// The names of the outputs.
    pub fn output_names(&self) -> BTreeSet<String> {
        self.signature().outputs.iter().map(|output| output.name.clone()).collect()
    }

    /// The estimated cost of a run.
    pub fn cost(&self) -> &CostEstimate {
        &self.cost
    }

    /// Runs the model, and learns what that costs if it is on one core.
    pub fn run(
        &self,
        inputs: Vec<Tensor>,
        outputs: &[usize],
        threads: &Threads,
    ) -> Result<Vec<Tensor>, RunError> {
        let elements = count(&inputs);
        let started = Instant::now();
        let result = self.model.run(inputs, outputs, threads);
        if threads.count() == 1 && result.is_ok() {
            self.cost.observe(elements, started.elapsed());
        }
        result
    }
}

/// Elements of all inputs together.
pub(crate) fn count(inputs: &[Tensor]) -> usize {
    inputs.iter().map(|tensor| tensor.elements().len()).fold(0, usize::saturating_add)
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

/// Zeros of the declared shape, with 1 for what may vary.
fn made_up(specification: &TensorSpecification) -> Option<Tensor> {
    let shape: Vec<usize> = specification.shape.as_ref()?.iter().map(|size| size.unwrap_or(1)).collect();
    let count = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))?;
    if count > LARGEST_WARM_UP {
        return None;
    }
    Tensor::zeros(specification.element_type.unwrap_or(ElementType::Float), shape)
}
