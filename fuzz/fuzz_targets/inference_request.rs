//! Requests of the Open Inference Protocol over gRPC, and raw tensors.

#![no_main]

use adytum_engine::tensor::ElementType;
use adytum_serving::{
    tensor::{decode_raw, encode_raw},
    v2::Infer,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let [choice, count, message @ ..] = message else { return };
    let _ = Infer::parse(message);
    let element_type = ElementType::ALL[usize::from(*choice) % ElementType::ALL.len()];
    if let Ok(elements) = decode_raw(message, element_type, usize::from(*count)) {
        assert_eq!(elements.len(), usize::from(*count));
        if element_type != ElementType::Bool {
            assert_eq!(encode_raw(&elements), message);
        }
    }
});
