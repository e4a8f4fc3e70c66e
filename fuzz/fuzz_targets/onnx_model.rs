//! ONNX files, as far as the server reads them itself.

#![no_main]

use adytum_serving::onnx::prepare::prepare;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let Ok(model) = prepare(file.to_vec()) else { return };
    let separate: usize = model.tensors.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(separate <= file.len(), "{separate} bytes of tensors out of {}", file.len());
});
