//! What a check found, for people and for programs.

use std::{collections::BTreeMap, fmt, path::Path};

use adytum_engine::{
    engine::Specification,
    onnx::model::Dimension,
    plan::{Plan, Worker},
};
use adytum_import::signature::{Binding, Method, Signature};
use serde::Serialize;

use super::{
    batch::{Batch, Shaped, Tried},
    expected::Compared,
    memory::ModelMemory,
    verdict::Verdict,
};

/// Why a model is not simply servable.
#[derive(Debug, Serialize)]
pub(crate) struct Reason {
    pub(crate) code: &'static str,
    pub(crate) reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_step: Option<&'static str>,
}

/// An input or output.
#[derive(Debug, Serialize)]
pub(crate) struct PortReport {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) value_type: String,
    /// Numbers, names of open dimensions, `?`; `None` if not even the rank is known.
    pub(crate) shape: Option<Vec<String>>,
}

/// An operator: the number of its nodes, and the parts of the engine that compute them.
#[derive(Debug, Default, Serialize)]
pub(crate) struct OperatorReport {
    pub(crate) nodes: usize,
    /// Nodes that are computed at load.
    pub(crate) at_load: usize,
    /// Nodes that the engine's own operators compute.
    pub(crate) own: usize,
    /// Nodes that rten computes.
    pub(crate) rten: usize,
    /// Nodes of compiled regions.
    pub(crate) region: usize,
}

/// A signature, or the whole model where it has none, and what its runs showed.
#[derive(Debug, Serialize)]
pub(crate) struct SignatureReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signature: Option<Signature>,
    #[serde(flatten)]
    pub(crate) tried: Tried,
}

impl SignatureReport {
    pub(crate) fn new(signature: Option<Signature>, tried: Tried) -> Self {
        Self { signature, tried }
    }
}

/// What a check found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<&'static str>,
    /// How the model was found, where that is not plain.
    pub(crate) notes: Vec<String>,
    pub(crate) verdict: Verdict,
    #[serde(flatten)]
    pub(crate) failure: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file_bytes: Option<usize>,
    pub(crate) inputs: Vec<PortReport>,
    pub(crate) outputs: Vec<PortReport>,
    pub(crate) nodes: usize,
    pub(crate) islands: usize,
    pub(crate) regions: usize,
    pub(crate) operators: BTreeMap<String, OperatorReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameters: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<ModelMemory>,
    pub(crate) signatures: Vec<SignatureReport>,
    pub(crate) recorded: Vec<Compared>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plan: Option<String>,
}

impl Report {
    /// A report on a path, before anything is known of it.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.display().to_string(),
            format: None,
            notes: Vec::new(),
            verdict: Verdict::Servable,
            failure: None,
            file_bytes: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            nodes: 0,
            islands: 0,
            regions: 0,
            operators: BTreeMap::new(),
            parameters: None,
            memory: None,
            signatures: Vec::new(),
            recorded: Vec::new(),
            plan: None,
        }
    }

    /// Notes what the model is and where.
    pub(crate) fn found(&mut self, path: &Path, format: &'static str) {
        self.path = path.display().to_string();
        self.format = Some(format);
    }

    /// Notes why the model is not simply servable, with the next step for that code.
    pub(crate) fn fail(&mut self, verdict: Verdict, code: &'static str, reason: &str) {
        let next_step = adytum_codes::get(code).map(|entry| entry.next_step);
        self.verdict = verdict;
        self.failure = Some(Reason { code, reason: reason.to_owned(), next_step });
    }
}

/// Inputs or outputs, as they are shown.
pub(crate) fn ports(specifications: &[Specification]) -> Vec<PortReport> {
    let dimension = |dimension: &Dimension| match dimension {
        Dimension::Fixed(size) => size.to_string(),
        Dimension::Named(name) => name.clone(),
        Dimension::Any => "?".to_owned(),
    };
    let port = |one: &Specification| PortReport {
        name: one.name.clone(),
        value_type: one.value_type.to_string(),
        shape: one.shape.as_ref().map(|shape| shape.iter().map(dimension).collect()),
    };
    specifications.iter().map(port).collect()
}

/// The operators of a plan.
pub(crate) fn operators(plan: &Plan) -> BTreeMap<String, OperatorReport> {
    let mut operators: BTreeMap<String, OperatorReport> = BTreeMap::new();
    for line in &plan.lines {
        let found = operators.entry(line.operator.clone()).or_default();
        found.nodes += 1;
        match line.worker {
            Worker::Folded | Worker::Nobody => found.at_load += 1,
            Worker::Own | Worker::Fused(_) => found.own += 1,
            Worker::Island(_) => found.rten += 1,
            Worker::Region(_) => found.region += 1,
        }
    }
    operators
}

/// A number of bytes for people.
fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

impl fmt::Display for PortReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = self.shape.as_ref().map_or_else(|| "of any rank".to_owned(), |shape| shape.join(","));
        write!(f, "{:<24} {}[{shape}]", self.name, self.value_type)
    }
}

impl fmt::Display for OperatorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts =
            [(self.at_load, "at load"), (self.own, "own"), (self.rten, "rten"), (self.region, "region")];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(
                |(count, worker)| {
                    if count == self.nodes { worker.to_owned() } else { format!("{count} {worker}") }
                },
            )
            .collect();
        write!(f, "{:>6}  {}", self.nodes, parts.join(", "))
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agrees { difference, without_rows } => {
                write!(f, "a batch of 2 gives what its elements give alone")?;
                if *difference > 0.0 {
                    write!(f, " (largest difference {difference:.1e})")?;
                }
                if !without_rows.is_empty() {
                    write!(f, "; without a part for each element: {}", without_rows.join(", "))?;
                }
                Ok(())
            }
            Self::None => write!(f, "none: the first dimension of no input is open"),
            Self::Random { output } => write!(f, "not compared: {output:?} is random, two equal runs differ"),
            Self::NotOne { reason } => {
                write!(f, "not compared: the model can't do with one element: {reason}")
            }
            Self::OneOnly { reason } => write!(f, "one element only: {reason}"),
            Self::Differs { output, reason } => write!(f, "{output:?} depends on other elements: {reason}"),
        }
    }
}

fn write_shapes(f: &mut fmt::Formatter<'_>, heading: &str, shapes: &[Shaped]) -> fmt::Result {
    for (index, one) in shapes.iter().enumerate() {
        let heading = if index == 0 { heading } else { "" };
        writeln!(f, "{heading:<12} {:<24} {}{:?}", one.name, one.element_type, one.shape)?;
    }
    Ok(())
}

fn bindings(bindings: &[Binding]) -> String {
    let text = |binding: &Binding| {
        if binding.name == binding.tensor {
            binding.name.clone()
        } else {
            format!("{} ({})", binding.name, binding.tensor)
        }
    };
    bindings.iter().map(text).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for SignatureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(signature) = &self.signature {
            let method = match &signature.method {
                Method::Predict => "predict",
                Method::Classify => "classify",
                Method::Regress => "regress",
                Method::Other(name) => name,
            };
            writeln!(f, "signature    {} ({method})", signature.name)?;
            if !signature.inputs.is_empty() {
                writeln!(f, "  takes      {}", bindings(&signature.inputs))?;
            }
            if let Some(examples) = &signature.examples {
                let features: Vec<&str> =
                    examples.features.iter().map(|feature| feature.name.as_str()).collect();
                writeln!(f, "  takes      {}: examples of {}", examples.input, features.join(", "))?;
            }
            writeln!(f, "  gives      {}", bindings(&signature.outputs))?;
        }
        write_shapes(f, "run with", &self.tried.inputs)?;
        write_shapes(f, "  gave", &self.tried.outputs)?;
        writeln!(f, "  batch      {}", self.tried.batch)?;
        write!(f, "  memory     {} for this run", bytes(self.tried.run_bytes as u64))?;
        if let Some(element) = self.tried.element_bytes {
            write!(f, ", {} for each further element", bytes(element as u64))?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some(format) = self.format {
            write!(f, ": {format}")?;
        }
        if let Some(count) = self.file_bytes {
            let what = if self.format == Some("SavedModel") { " as ONNX" } else { "" };
            write!(f, ", {}{what}", bytes(count as u64))?;
        }
        writeln!(f)?;
        for note in &self.notes {
            writeln!(f, "note         {note}")?;
        }
        for (heading, ports) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            for (index, port) in ports.iter().enumerate() {
                let heading = if index == 0 { heading } else { "" };
                writeln!(f, "{heading:<12} {port}")?;
            }
        }
        if let Some(plan) = &self.plan {
            writeln!(f, "plan")?;
            write!(f, "{plan}")?;
        }
        if !self.operators.is_empty() {
            writeln!(
                f,
                "operators    {} nodes, {} compiled regions, {} islands of rten",
                self.nodes, self.regions, self.islands
            )?;
        }
        for (name, operator) in &self.operators {
            writeln!(f, "  {name:<24}{operator}")?;
        }
        if let Some(parameters) = self.parameters {
            writeln!(f, "parameters   {parameters}")?;
        }
        if let Some(memory) = &self.memory {
            let (rest, peak) = (bytes(memory.rest_bytes), bytes(memory.load_peak_bytes));
            writeln!(f, "memory       {rest} at rest; at most {peak} while it was loaded")?;
        }
        for signature in &self.signatures {
            write!(f, "{signature}")?;
        }
        for compared in &self.recorded {
            writeln!(
                f,
                "recorded     {} is as recorded (largest difference {:.1e})",
                compared.output, compared.difference
            )?;
        }
        writeln!(f, "verdict      {}", self.verdict)?;
        if let Some(failure) = &self.failure {
            writeln!(f, "  code       {}", failure.code)?;
            writeln!(f, "  reason     {}", failure.reason)?;
            if let Some(next_step) = &failure.next_step {
                writeln!(f, "  next step  {next_step}")?;
            }
        }
        Ok(())
    }
}
