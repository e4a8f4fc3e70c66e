//! Arrangements for recovery: an accepted one is written as it is read.

#![no_main]

use adytum_governance::recovery::arrangement::Arrangement;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(arrangement) = Arrangement::decode(bytes) else { return };
    assert!((1..=arrangement.shares().len()).contains(&usize::from(arrangement.threshold())));
    assert_eq!(Arrangement::decode(&arrangement.encode()).expect("what is written is read"), arrangement);
});
