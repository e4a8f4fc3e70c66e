//! Compares a model's answers with recorded ones.

use std::collections::BTreeMap;

use adytum_engine::{
    difference::difference,
    engine::{Example, Examples, LoadedModel},
    tensor::{Tensor, Value},
};
use adytum_import::signature::{Binding, Signature};
use serde::Serialize;

use super::{probe::Probe, signatures::signatures, verdict::CheckError};

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

impl Recorded {
    /// The recorded run of a model.
    fn run_of(&self, model: &dyn LoadedModel, signatures: &[Signature]) -> Result<Example, CheckError> {
        let model = model.signature();
        let input = |name: &str| model.inputs.iter().position(|input| input.name == name);
        let output = |name: &str| model.outputs.iter().position(|output| output.name == name);
        // A signature whose names these are comes before the graph's own names.
        let names = |bindings: &[Binding], arrays: &BTreeMap<String, Tensor>| {
            arrays.keys().all(|name| bindings.iter().any(|binding| binding.name == *name))
        };
        let signature = signatures
            .iter()
            .find(|one| names(&one.inputs, &self.inputs) && names(&one.outputs, &self.outputs));
        let tensor = |bindings: Option<&Vec<Binding>>, name: &str| {
            let binding = bindings.and_then(|bindings| bindings.iter().find(|binding| binding.name == name));
            binding.map_or_else(|| name.to_owned(), |binding| binding.tensor.clone())
        };
        let unknown = |kind: &str, name: &str| CheckError::Recorded {
            output: name.to_owned(),
            reason: format!("the model has no {kind} of that name"),
        };
        let mut inputs: Vec<Option<Value>> = vec![None; model.inputs.len()];
        for (name, array) in &self.inputs {
            let index = input(&tensor(signature.map(|signature| &signature.inputs), name));
            let place =
                index.and_then(|index| inputs.get_mut(index)).ok_or_else(|| unknown("input", name))?;
            *place = Some(Value::Tensor(array.clone()));
        }
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for name in self.outputs.keys() {
            let index = output(&tensor(signature.map(|signature| &signature.outputs), name));
            outputs.push(index.ok_or_else(|| unknown("output", name))?);
        }
        Ok(Example { inputs, outputs })
    }
}

impl Examples for Recorded {
    /// Names that the model does not have are left out here: [`compare`] says so.
    fn of(&self, model: &dyn LoadedModel, _: usize) -> Vec<Example> {
        signatures(model).and_then(|signatures| self.run_of(model, &signatures)).into_iter().collect()
    }
}

/// Runs the recorded inputs and compares.
pub(crate) fn compare(
    probe: &Probe<'_>,
    signatures: &[Signature],
    recorded: &Recorded,
) -> Result<Vec<Compared>, CheckError> {
    let Example { inputs, outputs } = recorded.run_of(probe.model, signatures)?;
    let ran = probe.run(inputs, &outputs).map_err(|reason| CheckError::NoAnswer {
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
