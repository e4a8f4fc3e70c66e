//! JPEG files (ITU-T T.81).

use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::JpegDecoder;

use super::{Source, check_memory, check_sides};
use crate::image::{Channels, ImageError};

/// Bytes of a coefficient, which a progressive image keeps until its last scan.
const COEFFICIENT: u64 = 2;

/// What the decoder keeps of a few rows, and the rows in the model's size, in bytes a
/// pixel of the larger side: generous, and small against the pixels.
const ROWS: u64 = 1024;

/// Width, height and pixels.
pub(super) fn decode(bytes: &[u8], name: &str) -> Result<(u32, u32, Source), ImageError> {
    let damaged = |problem: String| ImageError::Damaged { name: name.to_owned(), problem };
    let structure = Structure::read(bytes).map_err(|problem| damaged(problem.to_owned()))?;
    let (width, height) = (u64::from(structure.width), u64::from(structure.height));
    check_sides(width, height, name)?;
    // A code has at least one bit, and a block of 8x8 pixels at least a code for its mean
    // and, unless the image is progressive, another for the rest. Fewer bits are no
    // image of these sides; a decoder would make up all of it.
    let codes = if structure.progressive { 1 } else { 2 };
    if (bytes.len() as u64) * 8 < width.div_ceil(8) * height.div_ceil(8) * codes {
        return Err(damaged(format!("{} bytes can't hold {width}x{height} pixels", bytes.len())));
    }
    let components = u64::from(structure.components.max(3));
    let kept = if structure.progressive { components * COEFFICIENT } else { 0 };
    check_memory(width * height * (components + kept) + width.max(height) * ROWS, name)?;

    // Strict: what the file lacks is not made up.
    let mut options =
        DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let channels = if structure.components == 1 { Channels::Grey } else { Channels::Rgb };
    options = options.jpeg_set_out_colorspace(match channels {
        Channels::Grey => ColorSpace::Luma,
        Channels::Rgb => ColorSpace::RGB,
    });
    let pixels = JpegDecoder::new_with_options(ZCursor::new(bytes), options)
        .decode()
        .map_err(|error| damaged(error.to_string()))?;
    let expected = width * height * channels.count() as u64;
    if pixels.len() as u64 != expected {
        return Err(damaged(format!("it gave {} bytes of pixels, not {expected}", pixels.len())));
    }
    Ok((u32::from(structure.width), u32::from(structure.height), Source::Pixels(channels, pixels)))
}

/// What the markers of a file say.
struct Structure {
    width: u16,
    height: u16,
    components: u8,
    progressive: bool,
}

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;

impl Structure {
    /// Follows the markers up to the end of the image (section B.1). A file that was cut
    /// off has no end; a decoder alone might make up what is missing.
    fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        const CUT_OFF: &str = "the file ends before the image does";
        let mut frame = None;
        let mut at = 2;
        loop {
            // Fill bytes may precede a marker, and careless writers leave others there.
            while *bytes.get(at).ok_or(CUT_OFF)? != 0xff {
                at += 1;
            }
            let code = *bytes.get(at + 1).ok_or(CUT_OFF)?;
            match code {
                0xff => {
                    at += 1;
                    continue;
                }
                // A byte of an entropy-coded segment, or a marker without a segment.
                0x00 | 0x01 | 0xd0..=0xd8 => {
                    at += 2;
                    continue;
                }
                END_OF_IMAGE => return frame.ok_or("it has no frame"),
                _ => {}
            }
            let length = match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
                _ => return Err(CUT_OFF),
            };
            if length < 2 {
                return Err("a segment is shorter than its own length");
            }
            let segment = bytes.get(at + 4..at + 2 + length).ok_or(CUT_OFF)?;
            // Start of frame: all but DHT, JPG and DAC.
            if matches!(code, 0xc0..=0xcf) && !matches!(code, 0xc4 | 0xc8 | 0xcc) {
                let [_, h1, h0, w1, w0, components, ..] = *segment else {
                    return Err("its frame's header is too short");
                };
                frame = Some(Self {
                    width: u16::from_be_bytes([w1, w0]),
                    height: u16::from_be_bytes([h1, h0]),
                    components,
                    progressive: matches!(code, 0xc2 | 0xc6 | 0xca | 0xce),
                });
            }
            if code == START_OF_SCAN && frame.is_none() {
                return Err("a scan comes before the frame");
            }
            at += 2 + length;
        }
    }
}
