//! Compares a model's answers with recorded ones.

use std::collections::BTreeMap;

use adytum_engine::{
    difference::difference,
    tensor::{Tensor, Value},
};
use adytum_import::signature::{Binding, Signature};
use serde::Serialize;

use super::{probe::Probe, verdict::CheckError};

/// Recorded inputs and outputs, by the names of the model's, or of one of its signatures.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) inputs: BTreeMap<String, Tensor>,
    pub(crate) outputs: BTreeMap<String, Tensor>,
    /// How far an output may be off, in parts of its largest value.
    pub(crate) tolerance: f64,
}

/// An output that is as it was recorded.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) output: String,
    /// The largest difference, in parts of the largest value.
    pub(crate) difference: f64,
}

/// Runs the recorded inputs and compares.
pub(crate) fn compare(
    probe: &Probe<'_>,
    signatures: &[Signature],
    recorded: &Recorded,
) -> Result<Vec<Compared>, CheckError> {
    let model = probe.model.signature();
    let inputs = |name: &str| model.inputs.iter().position(|input| input.name == name);
    let outputs = |name: &str| model.outputs.iter().position(|output| output.name == name);
    // A signature whose names these are comes before the graph's own names.
    let names = |bindings: &[Binding], arrays: &BTreeMap<String, Tensor>| {
        arrays.keys().all(|name| bindings.iter().any(|binding| binding.name == *name))
    };
    let signature = signatures
        .iter()
        .find(|one| names(&one.inputs, &recorded.inputs) && names(&one.outputs, &recorded.outputs));
    let tensor = |bindings: Option<&Vec<Binding>>, name: &str| {
        let binding = bindings.and_then(|bindings| bindings.iter().find(|binding| binding.name == name));
        binding.map_or_else(|| name.to_owned(), |binding| binding.tensor.clone())
    };
    let unknown = |kind: &str, name: &str| CheckError::Recorded {
        output: name.to_owned(),
        reason: format!("the model has no {kind} of that name"),
    };
    let mut given: Vec<Option<Value>> = vec![None; model.inputs.len()];
    for (name, array) in &recorded.inputs {
        let index = inputs(&tensor(signature.map(|signature| &signature.inputs), name));
        let place = index.and_then(|index| given.get_mut(index)).ok_or_else(|| unknown("input", name))?;
        *place = Some(Value::Tensor(array.clone()));
    }
    let mut wanted = Vec::with_capacity(recorded.outputs.len());
    for name in recorded.outputs.keys() {
        let index = outputs(&tensor(signature.map(|signature| &signature.outputs), name));
        wanted.push(index.ok_or_else(|| unknown("output", name))?);
    }
    let ran = probe.run(given, &wanted).map_err(|reason| CheckError::NoAnswer {
        what: "with the recorded inputs the model".to_owned(),
        reason,
    })?;
    let mut compared = Vec::new();
    for ((name, expected), found) in recorded.outputs.iter().zip(ran.answers) {
        let wrong = |reason: String| CheckError::Recorded { output: name.clone(), reason };
        let found = found.into_tensor().ok_or_else(|| wrong("it is no tensor".to_owned()))?;
        let difference = difference(&found, expected).map_err(wrong)?;
        if difference > recorded.tolerance {
            return Err(wrong(format!("it differs by {difference:.1e} of its largest value")));
        }
        compared.push(Compared { output: name.clone(), difference });
    }
    Ok(compared)
}
