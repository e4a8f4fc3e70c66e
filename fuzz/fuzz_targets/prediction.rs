//! A model server's answer, as the client reads it.

#![no_main]

use adytum_api::tensorflow::serving::PredictResponse;
use adytum_client::ranking::{scores, top};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    let Ok(response) = PredictResponse::decode(bytes) else { return };
    let Ok(scores) = scores(&response, None) else { return };
    assert!(!scores.is_empty());
    assert!(scores.iter().all(|score| score.is_finite()));
    let ranked = top(&scores, 5);
    assert_eq!(ranked.len(), scores.len().min(5));
    assert!(ranked.is_sorted_by(|left, right| left.probability >= right.probability));
});
