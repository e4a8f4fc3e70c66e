//! An inference, from what was sent to what is answered, for gRPC and REST alike.

use std::{collections::BTreeSet, sync::Arc};

use adytum_engine::tensor::{ElementType, Elements, Tensor};

use super::{DataError, V2Error, from_name, name};
use crate::{
    inference::{
        Inference,
        inputs::{request_inputs, run_inputs, size, without_last_dimension},
    },
    models::{Servable, VersionChoice},
    tensor::Fitted,
};

/// An input as it was sent: its description, and the place of its values.
pub(crate) struct Sent<V> {
    pub(crate) name: String,
    pub(crate) data_type: String,
    pub(crate) shape: Vec<i64>,
    pub(crate) values: V,
}

/// A request for an inference.
pub(crate) struct Asked<V> {
    pub(crate) model: String,
    pub(crate) version: VersionChoice,
    /// Empty for the default.
    pub(crate) signature: String,
    pub(crate) inputs: Vec<Sent<V>>,
    /// Names; empty for all.
    pub(crate) outputs: Vec<String>,
    /// The bytes of the request, which have their memory already.
    pub(crate) held: usize,
}

/// The answer to one.
pub(crate) struct Answered {
    pub(crate) servable: Arc<Servable>,
    pub(crate) outputs: Vec<(String, Tensor)>,
}

impl<V> Asked<V> {
    /// Runs it. `read` makes elements of an input's values: as many as it is given, of the type
    /// that it is given.
    pub(crate) async fn run(
        self,
        inference: &Inference,
        mut read: impl FnMut(V, ElementType, usize) -> Result<Elements, DataError>,
    ) -> Result<Answered, V2Error> {
        let servable = inference.models.servable(&self.model, &self.version)?;
        let signature = servable.signature(&self.signature)?;
        let inputs = request_inputs(signature);
        let expected = || inputs.iter().map(|input| input.name.clone()).collect::<BTreeSet<_>>();
        let mut sent: Vec<Option<Sent<V>>> = inputs.iter().map(|_| None).collect();
        for input in self.inputs {
            let place = inputs.iter().position(|known| known.name == input.name);
            match place.and_then(|place| sent.get_mut(place)) {
                Some(place @ None) => *place = Some(input),
                _ => return Err(V2Error::Input { name: input.name, expected: expected() }),
            }
        }
        let outputs = wanted(signature.outputs.iter().map(|output| output.name.as_str()), &self.outputs)?;

        // All is checked, and its memory taken, before anything is read.
        let limit = inference.memory.message_limit();
        let (mut left, mut any_extended) = (limit, false);
        let mut shapes = Vec::with_capacity(inputs.len());
        for (input, sent) in inputs.iter().zip(&sent) {
            let sent = sent
                .as_ref()
                .ok_or_else(|| V2Error::MissingInput { name: input.name.clone(), expected: expected() })?;
            let found = from_name(&sent.data_type).ok_or_else(|| V2Error::DataType {
                input: input.name.clone(),
                expected: name(input.element_type),
                found: sent.data_type.chars().take(40).collect(),
            })?;
            let Fitted { shape, extended } = input
                .check_all(found, &sent.shape, left)
                .map_err(|source| V2Error::Tensor { input: input.name.clone(), source })?;
            any_extended |= extended;
            let count: usize = shape.iter().product();
            left = left.saturating_sub(count.saturating_mul(input.element_type.size()));
            shapes.push((shape, count));
        }
        let _held = inference.charge(limit - left, self.held)?;
        let mut tensors = Vec::with_capacity(inputs.len());
        for ((input, sent), (shape, count)) in inputs.iter().zip(sent).zip(shapes) {
            let data = |source| V2Error::Data { input: input.name.clone(), source };
            let values = sent.map(|sent| sent.values).ok_or_else(|| data(DataError::Missing))?;
            let elements = read(values, input.element_type, count).map_err(data)?;
            let found = elements.len();
            tensors.push(
                Tensor::new(shape, elements)
                    .ok_or_else(|| data(DataError::Count { expected: count, found }))?,
            );
        }
        let tensors = run_inputs(signature, tensors, left)?;
        let _more = match &signature.examples {
            Some(_) => inference.charge(size(&tensors), limit - left)?,
            None => None,
        };
        let mut answers = inference.run(&servable, signature, tensors, outputs.clone()).await?;
        if any_extended {
            answers = without_last_dimension(answers);
        }
        let names = outputs.iter().filter_map(|index| signature.outputs.get(*index));
        let outputs = names.map(|output| output.name.clone()).zip(answers).collect();
        Ok(Answered { servable: Arc::clone(&servable), outputs })
    }
}

/// The places of the outputs that are asked for; all of them if none is named.
fn wanted<'a>(
    outputs: impl Iterator<Item = &'a str> + Clone,
    names: &[String],
) -> Result<Vec<usize>, V2Error> {
    if names.is_empty() {
        return Ok((0..outputs.count()).collect());
    }
    let mut wanted = Vec::new();
    for name in names {
        match outputs.clone().position(|output| output == name) {
            Some(place) if !wanted.contains(&place) => wanted.push(place),
            _ => {
                let expected = outputs.map(str::to_owned).collect();
                return Err(V2Error::Output { name: name.chars().take(80).collect(), expected });
            }
        }
    }
    Ok(wanted)
}
