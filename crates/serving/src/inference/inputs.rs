//! From what a request gives to what a run takes: the inputs, and the features of examples.

use std::borrow::Cow;

use adytum_engine::tensor::{ElementType, Tensor};

use crate::{
    error::RequestError,
    examples::{self, Batch},
    models::ServedSignature,
    tensor::TensorSpecification,
};

/// What a request gives: the inputs, and the texts of the examples if the signature takes some.
pub(crate) fn request_inputs(signature: &ServedSignature) -> Cow<'_, [TensorSpecification]> {
    let Some(examples) = &signature.examples else { return Cow::Borrowed(&signature.inputs) };
    let mut inputs = signature.inputs.clone();
    inputs.push(TensorSpecification {
        name: examples.input.clone(),
        element_type: ElementType::Text,
        shape: Some(vec![None]),
    });
    Cow::Owned(inputs)
}

/// What a run takes, from the tensors of [`request_inputs`] in its order. The features may take
/// `limit` bytes.
pub(crate) fn run_inputs(
    signature: &ServedSignature,
    mut tensors: Vec<Tensor>,
    limit: usize,
) -> Result<Vec<Tensor>, RequestError> {
    let Some(wanted) = &signature.examples else { return Ok(tensors) };
    let texts = tensors.pop();
    let batch = Batch::of_texts(texts.as_ref().and_then(Tensor::values).unwrap_or_default());
    tensors.extend(examples::tensors(&batch, wanted, limit)?);
    Ok(tensors)
}

/// What a run takes, from examples alone.
pub(crate) fn example_inputs(
    signature: &ServedSignature,
    batch: &Batch<'_>,
    limit: usize,
) -> Result<Vec<Tensor>, RequestError> {
    match (&signature.examples, signature.inputs.as_slice()) {
        (Some(wanted), []) => Ok(examples::tensors(batch, wanted, limit)?),
        // The graph parses the examples itself.
        (None, [input]) if input.element_type == ElementType::Text => {
            if batch.is_empty() {
                return Err(examples::ExampleError::Empty.into());
            }
            if batch.texts_size() > limit {
                return Err(examples::ExampleError::TooLarge { limit }.into());
            }
            Ok(vec![Tensor::vector(batch.texts())])
        }
        _ => Err(RequestError::NoExamples { signature: signature.name.clone() }),
    }
}

/// The bytes that tensors take, texts with their letters.
pub(crate) fn size(tensors: &[Tensor]) -> usize {
    tensors.iter().map(Tensor::bytes).fold(0, usize::saturating_add)
}

/// Takes the last dimension of size 1 from the answers to inputs that one was added to.
pub(crate) fn without_last_dimension(tensors: Vec<Tensor>) -> Vec<Tensor> {
    tensors
        .into_iter()
        .map(|tensor| match tensor.shape() {
            [outer @ .., 1] if !outer.is_empty() => {
                let (outer, elements) = (outer.to_vec(), tensor.elements().clone());
                Tensor::new(outer, elements).unwrap_or(tensor)
            }
            _ => tensor,
        })
        .collect()
}
