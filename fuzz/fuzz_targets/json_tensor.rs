//! Tensors of the REST API: one that is read has no more elements than were charged, and what is
//! written of it is read as the same.

#![no_main]

use adytum_engine::tensor::ElementType;
use adytum_serving::json::{Members, Reader, TensorReader, write_elements};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let [choice, body @ ..] = body else { return };
    let element_type = ElementType::ALL[usize::from(*choice) % ElementType::ALL.len()];
    let _ = Members::read(&mut Reader::new(body));
    let Ok(commas) = Reader::new(body).skip() else { return };
    let mut tensor = TensorReader::new(element_type);
    if tensor.read(&mut Reader::new(body)).is_err() {
        return;
    }
    let tensor = tensor.single().expect("one was read");
    assert!(tensor.len() <= commas + 1);

    let mut written = Vec::new();
    write_elements(&mut written, tensor.elements(), 0, tensor.shape(), false);
    let mut again = TensorReader::new(element_type);
    again.read(&mut Reader::new(&written)).expect("what is written is read");
    let again = again.single().expect("one was read");
    let mut rewritten = Vec::new();
    write_elements(&mut rewritten, again.elements(), 0, again.shape(), false);
    assert_eq!(written, rewritten);
});
