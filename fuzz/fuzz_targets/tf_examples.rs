//! Examples of `Classify` and `Regress`: tensors that are made of them stay within the limit.

#![no_main]

use adytum_import::signature::{Examples, Feature, FeatureList, FeatureValues};
use adytum_serving::examples::{Batch, tensors};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let feature = |name: &str, list, shape: &[Option<u64>], default| Feature {
        name: name.to_owned(),
        tensor: name.to_owned(),
        list,
        shape: shape.to_vec(),
        default,
    };
    let wanted = Examples {
        input: "examples".to_owned(),
        features: vec![
            feature("a", FeatureList::Float, &[Some(2)], Some(FeatureValues::Float(vec![0, 0]))),
            feature("b", FeatureList::Int64, &[None], Some(FeatureValues::Int64(vec![-1]))),
            feature("c", FeatureList::Bytes, &[None, Some(2)], None),
        ],
    };
    let Ok(batch) = Batch::of_input(input, LIMIT) else { return };
    if let Ok(tensors) = tensors(&batch, &wanted, LIMIT) {
        let bytes: usize = tensors.iter().map(|tensor| tensor.bytes()).sum();
        assert!(bytes <= LIMIT);
        assert!(tensors.iter().all(|tensor| tensor.shape()[0] == batch.len()));
    }
});
