//! The signatures of a model that the importer wrote, and what each asks for.

use adytum_engine::engine::LoadedModel;
use adytum_import::signature::{METADATA_KEY, Signature};

use super::verdict::CheckError;

/// The signatures that the importer wrote into the model.
pub(crate) fn signatures(model: &dyn LoadedModel) -> Result<Vec<Signature>, CheckError> {
    let Some((_, table)) = model.metadata().iter().find(|(key, _)| key == METADATA_KEY) else {
        return Ok(Vec::new());
    };
    serde_json::from_str(table).map_err(|error| CheckError::Signatures { reason: error.to_string() })
}

/// A signature, or none for the whole model, and the indices of its outputs.
pub(crate) type Asked = (Option<Signature>, Vec<usize>);

/// The outputs of each signature; all outputs where there are no signatures.
pub(crate) fn parts(model: &dyn LoadedModel, signatures: &[Signature]) -> Result<Vec<Asked>, CheckError> {
    let outputs = &model.signature().outputs;
    if signatures.is_empty() {
        return Ok(vec![(None, (0..outputs.len()).collect())]);
    }
    let index = |tensor: &str| {
        outputs.iter().position(|output| output.name == tensor).ok_or_else(|| CheckError::Signatures {
            reason: format!("they name the output {tensor:?}, which the graph has not"),
        })
    };
    let part = |signature: &Signature| {
        let outputs =
            signature.outputs.iter().map(|binding| index(&binding.tensor)).collect::<Result<_, _>>()?;
        Ok((Some(signature.clone()), outputs))
    };
    signatures.iter().map(part).collect()
}
