//! A loaded version of a model, with what requests need to know of it.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use crate::{
    engine::{LoadedModel, RunError, Threads},
    onnx::signature::{Signature, TensorSpecification},
    scheduler::CostEstimate,
    tensor::{ElementType, Tensor},
};

/// The largest input that a warm-up makes up, in elements: 16 Mi.
const LARGEST_WARM_UP: usize = 16 << 20;

/// A version that answers requests.
pub struct Servable {
    name: String,
    version: i64,
    model: Box<dyn LoadedModel>,
    cost: CostEstimate,
}

impl Servable {
    /// A loaded model. It is run twice with zeros, so that the first request
    /// does not pay for what happens once, and to learn what a run costs.
    pub fn new(name: String, version: i64, model: Box<dyn LoadedModel>) -> Self {
        let servable = Self { name, version, model, cost: CostEstimate::default() };
        servable.warm_up();
        servable
    }

    fn warm_up(&self) {
        let threads = Threads::new(1);
        let outputs: Vec<usize> = (0..self.signature().outputs.len()).collect();
        for run in 0..2 {
            let inputs: Option<Vec<Tensor>> = self.signature().inputs.iter().map(made_up).collect();
            let Some(inputs) = inputs else { return };
            let elements = count(&inputs);
            let started = Instant::now();
            // A model that can't run on zeros or on one example is not wrong.
            let result = catch_unwind(AssertUnwindSafe(|| {
                threads.enter(|| self.model.run(inputs, &outputs, &threads))
            }));
            if !matches!(result, Ok(Ok(_))) {
                tracing::debug!(model = self.name, version = self.version, "no warm-up: zeros don't run");
                return;
            }
            if run > 0 {
                self.cost.observe(elements, started.elapsed());
            }
        }
        tracing::info!(
            model = self.name,
            version = self.version,
            one_core = ?self.cost.predict(count_declared(self.signature())),
            "warmed up"
        );
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

    /// What runs cost.
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
