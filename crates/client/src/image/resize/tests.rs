//! The expected numbers are Pillow 11.3's, from the same pattern.

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

/// Not smooth, so that every rounding shows.
fn pattern(width: usize, height: usize, channels: usize) -> Vec<u8> {
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for k in 0..channels {
                pixels.push(((x * 37 + y * 91 + k * 53 + x * y * (k + 3)) % 256) as u8);
            }
        }
    }
    pixels
}

fn resize(pixels: Vec<u8>, channels: usize, from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
    let mut resizer = Resizer::new(channels, from, to);
    for row in pixels.chunks_exact(from.0 * channels) {
        resizer.push(row);
    }
    resizer.finish()
}

fn resized(width: usize, height: usize, channels: usize, to: (usize, usize)) -> Vec<u8> {
    resize(pattern(width, height, channels), channels, (width, height), to)
}

#[test]
fn small_images_are_pillows_to_the_bit() {
    let smaller = [77, 121, 156, 116, 138, 127, 173, 113, 172, 121, 124, 113, 98, 125, 140, 143, 108, 117];
    assert_eq!(resized(5, 4, 3, (3, 2)), smaller);
    let larger = [
        0, 42, 95, 3, 56, 108, 29, 82, 135, 55, 107, 175, 68, 121, 198, 18, 69, 122, 30, 83, 139, 56, 110,
        163, 83, 136, 155, 97, 151, 147, 70, 122, 175, 84, 138, 199, 112, 165, 219, 139, 193, 116, 154, 208,
        45, 96, 149, 202, 111, 165, 230, 139, 193, 247, 167, 222, 96, 183, 238, 0,
    ];
    assert_eq!(resized(3, 2, 3, (5, 4)), larger);
    let across_smaller_down_larger =
        [44, 173, 82, 162, 148, 142, 150, 124, 122, 115, 95, 148, 93, 169, 147, 141, 178, 123];
    assert_eq!(resized(7, 5, 1, (2, 9)), across_smaller_down_larger);
    let grey = [106, 144, 111, 125, 134, 149, 138, 108, 139, 142, 128, 130, 126, 126, 141, 147];
    assert_eq!(resized(13, 11, 1, (4, 4)), grey);
}

#[test]
fn photograph_sizes_are_pillows_to_the_bit() {
    for (width, height, channels, digest) in [
        (640, 480, 3, "02b1a16c8b12e60eb977507b18d30cce5bd86a7af69ff6e440c7d6c3560c69ca"),
        (100, 300, 3, "937d26b0a45e575c3e63f94d71ea493285cf03c4ed4fd431986cd460fcd624df"),
        (31, 17, 1, "b0839ab409f67285577e7f7adef2ae167cb5cf92ea0607928218b0b429458d9b"),
    ] {
        let pixels = resized(width, height, channels, (224, 224));
        assert_eq!(hex::encode(Sha256::digest(&pixels)), digest, "{width}x{height}");
    }
}

#[test]
fn the_same_size_is_the_same_image() {
    assert_eq!(resized(9, 7, 3, (9, 7)), pattern(9, 7, 3));
}

proptest! {
    #[test]
    fn any_size_becomes_any_size_and_an_even_image_stays_even(
        from in (1..40_usize, 1..40_usize),
        to in (1..40_usize, 1..40_usize),
        channels in prop_oneof![Just(1_usize), Just(3)],
        level: u8,
    ) {
        let even = resize(vec![level; from.0 * from.1 * channels], channels, from, to);
        prop_assert_eq!(even, vec![level; to.0 * to.1 * channels]);
    }
}
