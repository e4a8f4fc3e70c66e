use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use proptest::prelude::*;

use super::*;

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    encoded(&image.into(), ImageFormat::Png)
}

#[test]
fn grey_stays_grey_and_colour_becomes_brightness() {
    let grey = GrayImage::from_fn(2, 1, |x, _| Luma([x as u8 * 200]));
    let image = decode(&png(grey), "grey").unwrap();
    assert_eq!(image.pixels(Channels::Grey, 2, 1).unwrap(), [0, 200]);
    assert_eq!(image.pixels(Channels::Rgb, 2, 1).unwrap(), [0, 0, 0, 200, 200, 200]);

    // Pillow's convert("L") of the same colours.
    for (colour, brightness) in [
        ([255, 0, 0], 76),
        ([0, 255, 0], 150),
        ([0, 0, 255], 29),
        ([10, 200, 30], 124),
        ([123, 45, 67], 71),
        ([1, 1, 1], 1),
        ([255, 255, 255], 255),
    ] {
        let image = decode(&png(RgbImage::from_pixel(1, 1, Rgb(colour))), "colour").unwrap();
        assert_eq!(image.pixels(Channels::Grey, 1, 1).unwrap(), [brightness], "{colour:?}");
        assert_eq!(image.pixels(Channels::Rgb, 1, 1).unwrap(), colour);
    }
}

#[test]
fn transparency_is_ignored_and_16_bits_become_8() {
    let glass = RgbaImage::from_pixel(1, 1, Rgba([9, 8, 7, 0]));
    assert_eq!(decode(&png(glass), "glass").unwrap().pixels(Channels::Rgb, 1, 1).unwrap(), [9, 8, 7]);
    let deep: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_pixel(1, 1, Luma([0xffff]));
    assert_eq!(decode(&png(deep), "deep").unwrap().pixels(Channels::Grey, 1, 1).unwrap(), [255]);
}

#[test]
fn jpeg_is_read_nearly_as_it_was() {
    let halves =
        RgbImage::from_fn(16, 16, |x, _| if x < 8 { Rgb([200, 30, 40]) } else { Rgb([20, 60, 220]) });
    let image = decode(&encoded(&halves.into(), ImageFormat::Jpeg), "halves").unwrap();
    let pixels = image.pixels(Channels::Rgb, 16, 16).unwrap();
    for (found, wanted) in pixels[..3].iter().zip([200_u8, 30, 40]) {
        assert!(found.abs_diff(wanted) < 12, "{found} {wanted}");
    }
}

#[test]
fn other_files_are_refused_by_kind() {
    let whole = png(RgbImage::new(4, 4));
    for (bytes, code) in [
        (&b""[..], "not-an-image"),
        (b"-----BEGIN CERTIFICATE-----", "not-an-image"),
        // A GIF is an image, but none of those we read.
        (b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "not-an-image"),
        (&whole[..whole.len() / 2], "image-damaged"),
        (&whole[..8], "image-damaged"),
    ] {
        let error = decode(bytes, "x.png").unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains("x.png"), "{error}");
    }
    let error = read(Path::new("/does/not/exist.png")).unwrap_err();
    assert_eq!(error.code(), "image-unreadable");
    assert!(error.to_string().contains("/does/not/exist.png"), "{error}");
}

/// A PNG whose header promises more pixels than it has bytes.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png(RgbImage::new(1, 1));
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The checksum of PNG's chunks (PNG specification, annex D).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

#[test]
fn bombs_are_refused_before_they_are_unpacked() {
    for (width, height, words) in [
        (50_000, 50_000, "at most 16384x16384"),
        (16_385, 1, "at most 16384x16384"),
        (16_384, 16_385, "at most 16384x16384"),
    ] {
        let error = decode(&bomb(width, height), "bomb").unwrap_err();
        assert_eq!(error.code(), "image-too-large", "{width}x{height}: {error}");
        assert!(error.to_string().contains(words), "{width}x{height}: {error}");
    }
    // Its rows would come one after the other, but the file has none of them.
    for side in [2, 16_384] {
        assert_eq!(decode(&bomb(side, side), "short").unwrap_err().code(), "image-damaged", "{side}");
    }
}

/// A JPEG of these sides, by its header; the rest is that of a small image.
fn jpeg_with_sides(image: &[u8], width: u16, height: u16) -> Vec<u8> {
    let mut bytes = image.to_vec();
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    bytes[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    bytes[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

fn textured() -> Vec<u8> {
    let texture = RgbImage::from_fn(200, 160, |x, y| {
        Rgb([(x * 255 / 199) as u8, (y * 255 / 159) as u8, (x * y) as u8])
    });
    encoded(&texture.into(), ImageFormat::Jpeg)
}

#[test]
fn a_jpeg_that_lacks_anything_is_damaged_as_pillow_says_too() {
    let whole = textured();
    assert!(decode(&whole, "whole").is_ok());
    // Bytes after the image are not part of it.
    assert!(decode(&[&whole[..], b"more"].concat(), "followed").is_ok());
    for missing in [1, 2, 3, 5, 16, 100, whole.len() / 3, whole.len() / 2, whole.len() * 9 / 10] {
        let cut = &whole[..whole.len() - missing];
        assert_eq!(decode(cut, "cut").unwrap_err().code(), "image-damaged", "{missing} bytes are missing");
    }
}

#[test]
fn a_jpeg_that_promises_more_than_it_has_is_refused() {
    let whole = textured();
    for (side, code) in [(9_000, "image-damaged"), (16_000, "image-damaged"), (20_000, "image-too-large")] {
        let error = decode(&jpeg_with_sides(&whole, side, side), "bomb").err().unwrap();
        assert_eq!(error.code(), code, "{side}: {error}");
    }
}

#[test]
fn a_png_without_its_end_is_damaged() {
    let whole = png(RgbImage::from_pixel(40, 30, Rgb([1, 2, 3])));
    for missing in [1, 4, 12, 13, 20] {
        let cut = &whole[..whole.len() - missing];
        assert_eq!(decode(cut, "cut").unwrap_err().code(), "image-damaged", "{missing} bytes are missing");
    }
}

#[test]
fn a_large_png_is_read_row_by_row() {
    let large = GrayImage::from_fn(940, 940, |x, _| Luma([(x / 470) as u8 * 200]));
    let image = decode(&png(large), "large").unwrap();
    assert!(matches!(image.source, Source::Rows(_)));
    // The filter reaches over the middle, as Pillow's does.
    assert_eq!(image.pixels(Channels::Grey, 4, 1).unwrap(), [0, 16, 184, 203]);
}

#[test]
fn a_file_without_end_is_not_read_to_its_end() {
    let error = read(Path::new("/dev/zero")).unwrap_err();
    assert_eq!(error.code(), "image-too-large", "{error}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        kind in 0..2_usize,
        position in 0..200_usize,
        bytes in proptest::collection::vec(any::<u8>(), 1..20),
    ) {
        let image: DynamicImage = RgbImage::from_fn(5, 5, |x, y| Rgb([x as u8 * 50, y as u8 * 50, 9])).into();
        let mut file = encoded(&image, [ImageFormat::Png, ImageFormat::Jpeg][kind]);
        let start = position % file.len();
        for (place, byte) in file[start..].iter_mut().zip(bytes) {
            *place = byte;
        }
        if let Ok(image) = decode(&file, "mutated") {
            prop_assert_eq!(image.pixels(Channels::Rgb, 3, 2).unwrap().len(), 18);
        }
    }
}
