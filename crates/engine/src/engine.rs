//! Engines: what loads models and runs them.

use crate::{
    onnx::{Limits, files::DataFiles, model::Dimension},
    operators::{Budget, Cancellation, OperatorError},
    plan::{Plan, PlanError},
    precision::PrecisionError,
    tensor::{ElementType, Value, ValueType},
    threads::Threads,
};

/// The reason that a model could not be loaded.
///
/// Retry: no
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The model can't be computed rightly.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The model can't be computed in the floats that were asked for.
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    /// The engine read the model but could not make a program that computes it.
    ///
    /// Do: check the model with `onnx.checker`, then export it again with another opset.
    #[error("the engine can't load the model: {reason}")]
    Engine {
        /// The engine's own message.
        reason: String,
    },
}

impl LoadError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Plan(error) => error.code(),
            Self::Precision(error) => error.code(),
            Self::Engine { .. } => "engine-load",
        }
    }
}

/// Why a run gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An input is missing, unknown, or has another type or shape than the model takes.
    ///
    /// Do: send the inputs that the model declares, in the type and shape that the message names.
    ///
    /// Retry: no
    #[error("the input {input:?} does not fit the model: {reason}")]
    Input {
        input: String,
        /// The expected and the found name, type or shape.
        reason: String,
    },
    /// A node that can't compute with what it got.
    #[error("{node}: {error}")]
    Node {
        node: String,
        #[source]
        error: OperatorError,
    },
}

impl RunError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Input { .. } => "engine-inputs",
            Self::Node { error, .. } => error.code(),
        }
    }
}

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Specification {
    /// Its name in the graph.
    pub name: String,
    pub value_type: ValueType,
    /// Its dimensions; `None` when not even their number is known.
    pub shape: Option<Vec<Dimension>>,
}

impl Specification {
    /// The type of its elements, if it is a tensor.
    pub fn element_type(&self) -> Option<ElementType> {
        self.value_type.tensor()
    }
}

/// All inputs and outputs of a model, in the graph's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// Inputs that a run must be given.
    pub inputs: Vec<Specification>,
    /// Outputs that it may ask for.
    pub outputs: Vec<Specification>,
}

/// A run that stands for those of clients.
#[derive(Clone, Debug)]
pub struct Example {
    /// An entry for each input of the signature, in its order. Those that the outputs don't need may be `None`.
    pub inputs: Vec<Option<Value>>,
    /// Indices of the wanted outputs.
    pub outputs: Vec<usize>,
}

/// Gives the examples that come with a model.
pub trait Examples {
    /// The examples of a model that was loaded, the first `most` of them. Parts that can't be read are left out.
    fn of(&self, model: &dyn LoadedModel, most: usize) -> Vec<Example>;
}

/// No examples.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoExamples;

impl Examples for NoExamples {
    fn of(&self, _: &dyn LoadedModel, _: usize) -> Vec<Example> {
        Vec::new()
    }
}

/// A model to load.
pub struct Source<'a> {
    /// The ONNX file. Its memory becomes that of packed weights, or is given back, while it is loaded.
    pub file: Vec<u8>,
    /// The files in the model's own directory.
    pub files: &'a dyn DataFiles,
    /// How large the parts of the model may be.
    pub limits: Limits,
    /// Examples of runs, for engines that compare answers while they load a model.
    pub examples: &'a dyn Examples,
}

/// What a run may use.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Its threads. Runs that begin inside [`Threads::enter`] of the same threads start sooner.
    pub threads: &'a Threads,
    /// A limit on the bytes of all values that are held at one time.
    pub budget: &'a dyn Budget,
    /// Whether its caller is gone.
    pub cancellation: &'a Cancellation,
}

/// Makes loaded models of ONNX files.
pub trait Engine: Send + Sync {
    /// Loads a model, or says why it can't be computed rightly.
    fn load(&self, source: Source<'_>) -> Result<Box<dyn LoadedModel>, LoadError>;
}

/// A model that can be run, by many threads at once.
pub trait LoadedModel: Send + Sync {
    /// Its inputs and outputs.
    fn signature(&self) -> &Signature;

    /// Entries that the model's author wrote.
    fn metadata(&self) -> &[(String, String)];

    /// Who computes what; `None` for engines that do not tell.
    fn plan(&self) -> Option<&Plan>;

    /// For each input of the signature, in its order: whether these outputs need it.
    fn needed_inputs(&self, outputs: &[usize]) -> Vec<bool>;

    /// Runs it. `inputs` has an entry for each input of the signature, in its order; those that the
    /// wanted outputs don't need may be `None`. `outputs` are indices of outputs, which come in that
    /// order. May panic if the engine has a bug: callers catch that.
    fn run(
        &self,
        inputs: Vec<Option<Value>>,
        outputs: &[usize],
        run: Run<'_>,
    ) -> Result<Vec<Value>, RunError>;
}
