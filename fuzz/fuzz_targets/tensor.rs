//! Tensors of requests, and of answers: an accepted one has as many elements as
//! its shape says, within the limit, and survives encoding.

#![no_main]

use adytum_engine::tensor::ElementType;
use adytum_serving::tensor::{EncodedTensor, TensorSpecification, encode};
use libfuzzer_sys::fuzz_target;
use prost::Message;

const LIMIT: usize = 1 << 20;

fuzz_target!(|message: &[u8]| {
    let [choice, message @ ..] = message else { return };
    let element_type = ElementType::ALL[usize::from(*choice) % ElementType::ALL.len()];
    let mut specification = TensorSpecification { name: "x".to_owned(), element_type, shape: None };
    let Ok(encoded) = EncodedTensor::parse(message, &specification, LIMIT) else { return };
    let size = encoded.size();
    assert!(size <= LIMIT);
    let Ok(tensor) = encoded.read() else { return };
    let count: usize = tensor.shape().iter().product();
    assert_eq!(tensor.elements().len(), count);
    assert_eq!(count * tensor.elements().element_type().size(), size);

    // Bytes are compared, not numbers: NaN is not equal to itself.
    specification.shape = Some(tensor.shape().iter().copied().map(Some).collect());
    let bytes = encode(tensor, false).encode_to_vec();
    let again = EncodedTensor::parse(&bytes, &specification, LIMIT)
        .and_then(EncodedTensor::read)
        .expect("what is encoded is read");
    assert_eq!(encode(again, false).encode_to_vec(), bytes);
});
