//! A loaded version of a model, with what requests need to know of it.

use std::{
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use adytum_engine::{
    engine::{LoadedModel, Run, RunError},
    operators::{Cancellation, OperatorError},
    tensor::{ElementType, Tensor},
    threads::Threads,
};
use adytum_sealed::statement::Statement;

use super::{
    error::ServableError,
    presence::{Absence, Presence},
    signature::{ServedSignature, Signatures, find_signature, signatures},
    warm_up::{TRIED_SIZES, count_declared, made_up},
};
use crate::{
    error::RequestError,
    limits::{RunBudget, RunMemory},
    metrics::ModelMetrics,
};

/// A first run that takes this long says enough of what a run costs: it is far from
/// where the cost decides anything.
const LONG: Duration = Duration::from_millis(20);

/// A run with inputs that were made up, without an answer.
struct Failure {
    reason: String,
    /// Whether the inputs were at fault, not the model.
    by_inputs: bool,
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
    signatures: Signatures,
    run_memory: RunMemory,
    metrics: Arc<ModelMetrics>,
    statement: Option<Statement>,
    /// The last field: dropped when all others are freed.
    presence: Presence,
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
        let signatures = signatures(model.as_ref())?;
        let servable = Self {
            name,
            version,
            model,
            signatures,
            run_memory,
            metrics: Arc::default(),
            statement: None,
            presence: Presence::default(),
        };
        servable.warm_up(cores.get())?;
        Ok(servable)
    }

    /// Tries each signature. One that never answers is logged; if none does, the model
    /// is of no use.
    fn warm_up(&self, cores: usize) -> Result<(), ServableError> {
        let mut first = None;
        let mut answers = false;
        for signature in self.signatures.values() {
            let (model, name) = (&self.name, &signature.name);
            match self.warm_up_signature(signature, cores) {
                Ok(()) => {
                    answers = true;
                    let one_core = signature.cost.predict(count_declared(signature.run_inputs()));
                    tracing::info!(model, version = self.version, signature = name, ?one_core, "warmed up");
                }
                Err(reason) => {
                    tracing::warn!(
                        model,
                        version = self.version,
                        signature = name,
                        "answers no input of its declared types and shapes: {reason}"
                    );
                    first.get_or_insert(reason);
                }
            }
        }
        match first {
            Some(reason) if !answers => Err(ServableError::NeverAnswers { reason }),
            _ => Ok(()),
        }
    }

    fn warm_up_signature(&self, signature: &ServedSignature, cores: usize) -> Result<(), String> {
        let mut reason = None;
        for size in TRIED_SIZES {
            for ones in [false, true] {
                let inputs: Option<Vec<Tensor>> =
                    signature.run_inputs().map(|input| made_up(input, size, ones)).collect();
                let Some(inputs) = inputs else { continue };
                match self.run_once(signature, inputs.clone(), &Threads::new(cores)) {
                    Ok(took) => {
                        self.learn(signature, inputs, took, cores);
                        // How memory grows shows in a second size, unless that takes long.
                        let double = |input| made_up(input, size.saturating_mul(2), ones);
                        if took < LONG
                            && let Some(inputs) = signature.run_inputs().map(double).collect()
                        {
                            let _ = self.run_once(signature, inputs, &Threads::new(1));
                        }
                        return Ok(());
                    }
                    Err(error) => {
                        reason.get_or_insert(error);
                    }
                }
            }
            if signature.run_inputs().all(|input| input.shape.iter().flatten().all(Option::is_some)) {
                // Other sizes would be the same.
                break;
            }
        }
        // Without a reason, its inputs are too large to be made up, or of an unknown rank.
        match reason {
            None => Ok(()),
            Some(Failure { reason, by_inputs: true }) if has_parameters(signature) => {
                tracing::warn!(
                    model = self.name,
                    version = self.version,
                    signature = signature.name,
                    "not warmed up, since inputs that were made up did not fit: {reason}"
                );
                Ok(())
            }
            Some(Failure { reason, .. }) => Err(reason),
        }
    }

    fn learn(&self, signature: &ServedSignature, inputs: Vec<Tensor>, took: Duration, cores: usize) {
        let elements = count(&inputs);
        if took < LONG {
            if let Ok(took) = self.run_once(signature, inputs, &Threads::new(1)) {
                signature.cost.observe(elements, took);
            }
        } else {
            // At most so long on one core.
            let cores = u32::try_from(cores).unwrap_or(u32::MAX);
            signature.cost.observe(elements, took.saturating_mul(cores));
        }
    }

    /// How long these inputs took, or why there was no answer.
    fn run_once(
        &self,
        signature: &ServedSignature,
        inputs: Vec<Tensor>,
        threads: &Threads,
    ) -> Result<Duration, Failure> {
        let outputs: Vec<usize> = (0..signature.outputs.len()).collect();
        let started = Instant::now();
        let cancellation = Cancellation::default();
        let elements = count(&inputs);
        let budget = self
            .run_memory
            .begin(0)
            .map_err(|error| Failure { reason: error.to_string(), by_inputs: false })?;
        let run =
            || threads.enter(|| self.answer(signature, inputs, &outputs, threads, &budget, &cancellation));
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(_)) => {
                let took = started.elapsed();
                signature.memory.measured(elements, budget.peak());
                Ok(took)
            }
            Ok(Err(error)) => {
                let by_inputs = matches!(
                    error,
                    RunError::Node { error: OperatorError::Inputs { .. }, .. } | RunError::Input { .. }
                );
                Err(Failure { reason: error.to_string(), by_inputs })
            }
            Err(_) => Err(Failure { reason: "the engine panicked".to_owned(), by_inputs: false }),
        }
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Says when its memory is free.
    pub(crate) fn absence(&self) -> Absence {
        self.presence.watch()
    }

    /// The same version, counted there.
    pub(crate) fn counted_by(self, metrics: Arc<ModelMetrics>) -> Self {
        Self { metrics, ..self }
    }

    /// The same version, about which an owner signed this.
    #[must_use]
    pub fn stated_by(self, statement: Option<Statement>) -> Self {
        Self { statement, ..self }
    }

    /// What an owner signed about it, if it was sealed.
    pub fn statement(&self) -> Option<&Statement> {
        self.statement.as_ref()
    }

    /// The counts of its model.
    pub fn metrics(&self) -> &ModelMetrics {
        &self.metrics
    }

    /// What requests can ask for, by name.
    pub fn signatures(&self) -> &Signatures {
        &self.signatures
    }

    /// A signature; the empty name means [`DEFAULT_SIGNATURE`](super::DEFAULT_SIGNATURE).
    pub fn signature(&self, name: &str) -> Result<&ServedSignature, RequestError> {
        find_signature(&self.signatures, name)
    }

    /// Whether a run with inputs of this many elements may have the memory that it needs.
    pub fn check_memory(&self, signature: &ServedSignature, elements: usize) -> Result<(), RequestError> {
        self.run_memory.check(signature.memory.predict(elements))
    }

    /// Runs a signature of this model, if there is memory for it, and learns what that
    /// costs if it is on one core.
    /// `inputs` has a tensor for each of the signature's inputs, then one for each of its
    /// features, in their order. `outputs` are indices of the signature's outputs, which
    /// come in that order.
    pub fn run(
        &self,
        signature: &ServedSignature,
        inputs: Vec<Tensor>,
        outputs: &[usize],
        threads: &Threads,
        cancellation: &Cancellation,
    ) -> Result<Vec<Tensor>, RequestError> {
        let elements = count(&inputs);
        let budget = self.run_memory.begin(signature.memory.predict(elements))?;
        let started = Instant::now();
        let result = self.answer(signature, inputs, outputs, threads, &budget, cancellation);
        self.metrics.run(started.elapsed());
        if threads.count() == 1 && result.is_ok() {
            signature.cost.observe(elements, started.elapsed());
        }
        Ok(result?)
    }

    fn answer(
        &self,
        signature: &ServedSignature,
        inputs: Vec<Tensor>,
        outputs: &[usize],
        threads: &Threads,
        budget: &RunBudget,
        cancellation: &Cancellation,
    ) -> Result<Vec<Tensor>, RunError> {
        let given = signature.given(self.model.signature().inputs.len(), inputs);
        // Names of a signature may share a tensor of the graph.
        let mut wanted: Vec<usize> = Vec::with_capacity(outputs.len());
        let mut places = Vec::with_capacity(outputs.len());
        for output in outputs {
            let index = *signature.graph_outputs.get(*output).ok_or_else(|| no_output(*output))?;
            places.push(wanted.iter().position(|known| *known == index).unwrap_or_else(|| {
                wanted.push(index);
                wanted.len() - 1
            }));
        }
        let run = Run { threads, budget, cancellation };
        let answers = self
            .model
            .run(given, &wanted, run)?
            .into_iter()
            .map(|value| value.into_tensor().ok_or_else(|| broken("an output is not a tensor".to_owned())))
            .collect::<Result<Vec<Tensor>, _>>()?;
        if places.len() == answers.len() {
            return Ok(answers);
        }
        places.into_iter().map(|place| answers.get(place).cloned().ok_or_else(|| no_output(place))).collect()
    }
}

fn no_output(index: usize) -> RunError {
    broken(format!("there is no output {index}"))
}

fn broken(reason: String) -> RunError {
    RunError::Node { node: "the graph".to_owned(), error: OperatorError::Engine { reason } }
}

/// Whether an input may say a shape, axes or the like: few whole numbers, which zeros and ones
/// seldom fit.
fn has_parameters(signature: &ServedSignature) -> bool {
    signature.run_inputs().any(|input| {
        matches!(input.element_type, ElementType::Int32 | ElementType::Int64)
            && input.shape.as_ref().is_some_and(|shape| shape.len() <= 1)
    })
}

/// Elements of all inputs together.
pub(crate) fn count(inputs: &[Tensor]) -> usize {
    inputs.iter().map(Tensor::len).fold(0, usize::saturating_add)
}
