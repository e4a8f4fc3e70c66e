//! Images, from a file's bytes to pixels.

#![no_main]

use adytum_client::image::{Channels, MAXIMUM_SIDE, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(image) = decode(bytes, "fuzzed") else { return };
    assert!((1..=MAXIMUM_SIDE).contains(&image.width()));
    assert!((1..=MAXIMUM_SIDE).contains(&image.height()));
    for channels in [Channels::Grey, Channels::Rgb] {
        let pixels = image.pixels(channels, 7, 5).expect("an image that was read gives its pixels");
        assert_eq!(pixels.len(), 7 * 5 * channels.count());
    }
});
