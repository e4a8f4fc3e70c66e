//! A SavedModel directory becomes one ONNX file.

use std::{collections::HashMap, path::Path};

use crate::{
    convert::{
        Converter,
        signatures::{GraphOutputs, callable},
    },
    error::ImportError,
    files::{Directory, Files, read_whole},
    graph::{Graph, ValueId},
    limits::Limits,
    onnx::writer,
    passes,
    signature::{METADATA_KEY, Signature},
    tensorflow::{bundle::Bundle, initialisers, lookup::Contents, messages::FILE, model::Model},
};

/// An imported model.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The ONNX file: one graph with the inputs and outputs of all signatures,
    /// and the signatures themselves in its metadata.
    pub onnx: Vec<u8>,
    /// The signatures, sorted by name.
    pub signatures: Vec<Signature>,
    /// The tags of the graph that was imported, such as `serve`.
    pub tags: Vec<String>,
    /// The version of TensorFlow that wrote the model, if the file says so.
    pub tensorflow_version: String,
}

/// Imports the SavedModel in a directory.
///
/// # Errors
/// See [`ImportError`]. Operators without a conversion are all listed in
/// [`ImportError::Unsupported`].
pub fn import(directory: &Path, limits: Limits) -> Result<Imported, ImportError> {
    import_files(&Directory::new(directory), limits)
}

/// Imports a SavedModel from wherever its files are.
///
/// # Errors
/// As [`import`].
pub fn import_files(files: &dyn Files, limits: Limits) -> Result<Imported, ImportError> {
    let bytes = read_whole(files, FILE, "bytes of saved_model.pb", limits.definition_bytes)?;
    let Some(bytes) = bytes else { return Err(ImportError::NotASavedModel(hint(files)?)) };
    let model = Model::parse(bytes, &limits)?;
    let bundle = Bundle::open(files, &limits)?;
    let initialisers = initialisers::read(&model);
    let contents = Contents { model: &model, bundle: &bundle, files, limits };
    let mut converter = Converter::new(contents, initialisers);
    let names = callable(&model);
    if names.is_empty() {
        return Err(ImportError::NoSignature(String::new()));
    }
    let mut outputs = GraphOutputs::default();
    let mut signatures = Vec::with_capacity(names.len());
    for name in names {
        if let Some(signature) = model.signatures.get(name) {
            signatures.extend(converter.signature(name, signature, &mut outputs)?);
        }
    }
    let Converter { builder, unsupported, inputs, .. } = converter;
    if !unsupported.0.is_empty() {
        return Err(ImportError::Unsupported(unsupported));
    }
    let mut graph = builder.finish(inputs.all(), outputs.all());
    let symbols = inputs.symbols();
    passes::run(&mut graph);
    share_outputs(&mut graph, &mut signatures);
    // An input that only examples were parsed from is no input of the graph.
    let parsed = |name: &str| {
        let bound = signatures.iter().flat_map(|signature: &Signature| &signature.inputs);
        let features = signatures.iter().filter_map(|signature| signature.examples.as_ref());
        let mut features = features.flat_map(|examples| &examples.features);
        !bound.map(|binding| &binding.tensor).any(|tensor| tensor == name)
            && !features.any(|feature| feature.tensor == name)
    };
    let used = passes::dead::uses(&graph);
    graph.inputs.retain(|(name, id)| used.get(id.index()).is_some_and(|uses| *uses > 0) || !parsed(name));
    let table = serde_json::to_string(&signatures).unwrap_or_default();
    let onnx = writer::write(graph, &symbols, vec![(METADATA_KEY.to_owned(), table)]);
    let (tags, tensorflow_version) = (model.tags, model.tensorflow_version);
    Ok(Imported { onnx, signatures, tags, tensorflow_version })
}

/// Outputs that turned out to be the same value keep the first name.
fn share_outputs(graph: &mut Graph, signatures: &mut [Signature]) {
    let mut first: HashMap<ValueId, String> = HashMap::new();
    let mut renamed: HashMap<String, String> = HashMap::new();
    graph.outputs.retain(|(name, id)| match first.get(id) {
        Some(kept) => {
            renamed.insert(name.clone(), kept.clone());
            false
        }
        None => {
            first.insert(*id, name.clone());
            true
        }
    });
    for binding in signatures.iter_mut().flat_map(|signature| &mut signature.outputs) {
        if let Some(kept) = renamed.get(&binding.tensor) {
            binding.tensor.clone_from(kept);
        }
    }
}

/// What a directory without `saved_model.pb` may be.
fn hint(files: &dyn Files) -> Result<String, ImportError> {
    let found = |name: &str| {
        let length = files.length(name);
        length.map_err(|source| ImportError::File { file: name.to_owned(), source })
    };
    Ok(if found("saved_model.cpb")?.is_some() {
        "it holds saved_model.cpb, a model of several parts; save it with one part of at most 2 GB"
    } else if found("saved_model.pbtxt")?.is_some() {
        "it holds saved_model.pbtxt; save it in the binary form"
    } else if found("keras_metadata.pb")?.is_some() || found("fingerprint.pb")?.is_some() {
        "it is incomplete; save the model again"
    } else {
        "give the directory that holds it, which is often named by a version, such as 1"
    }
    .to_owned())
}

#[cfg(test)]
mod tests;
