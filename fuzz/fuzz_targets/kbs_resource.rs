//! Resources of a KBS, encrypted: they are read or refused.

#![no_main]

use adytum_sources::kbs::read_jwe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = read_jwe(bytes);
});
