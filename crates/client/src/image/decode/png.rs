//! PNG files (W3C PNG specification).

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Reader, Transformations};

use super::{MAXIMUM_MEMORY, Source, check_memory, check_sides};
use crate::image::{Channels, ImageError};

/// What a reader may take for itself: a few rows, and chunks that are not pixels.
const READER_MEMORY: usize = 16 << 20;

/// Width, height and where the pixels are. Every row is read once, so that damage is
/// found now.
pub(super) fn decode(file: &[u8], name: &str) -> Result<(u32, u32, Source), ImageError> {
    let mut reader = open(file, name)?;
    let (width, height) = (reader.info().width, reader.info().height);
    if !reader.info().interlaced {
        // The rows are never all in memory, but a file of a few bytes must not keep a
        // processor busy for long either.
        check_memory(u64::from(width) * u64::from(height), name)?;
        drop(reader);
        rows(file, name, |_, _| {})?;
        return Ok((width, height, Source::Rows(file.to_vec())));
    }
    let layout = Layout::of(&reader);
    let pixel = (layout.bytes + layout.channels.count()) as u64;
    check_memory(u64::from(width) * u64::from(height) * pixel, name)?;
    let size = reader.output_buffer_size().unwrap_or(usize::MAX);
    check_memory(size as u64, name)?;
    let mut all = vec![0; size];
    reader.next_frame(&mut all).map_err(|error| damaged(&error, name))?;
    reader.finish().map_err(|error| damaged(&error, name))?;
    let pixels = layout.pixels(&all).collect();
    Ok((width, height, Source::Pixels(layout.channels, pixels)))
}

/// Gives every row of a file that is not interlaced, from the top.
pub(super) fn rows(file: &[u8], name: &str, mut take: impl FnMut(Channels, &[u8])) -> Result<(), ImageError> {
    let mut reader = open(file, name)?;
    let layout = Layout::of(&reader);
    let mut pixels = Vec::new();
    while let Some(row) = reader.next_row().map_err(|error| damaged(&error, name))? {
        pixels.clear();
        pixels.extend(layout.pixels(row.data()));
        take(layout.channels, &pixels);
    }
    reader.finish().map_err(|error| damaged(&error, name))
}

fn open<'a>(file: &'a [u8], name: &str) -> Result<Reader<Cursor<&'a [u8]>>, ImageError> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(file), Limits { bytes: READER_MEMORY });
    // Palettes and few bits become bytes.
    decoder.set_transformations(Transformations::EXPAND);
    decoder.set_ignore_text_chunk(true);
    let (width, height) = {
        let header = decoder.read_header_info().map_err(|error| damaged(&error, name))?;
        (header.width, header.height)
    };
    check_sides(width.into(), height.into(), name)?;
    decoder.read_info().map_err(|error| damaged(&error, name))
}

fn damaged(error: &DecodingError, name: &str) -> ImageError {
    match error {
        DecodingError::LimitsExceeded => ImageError::TooLarge {
            name: name.to_owned(),
            problem: format!("decoding it takes more than {} MiB", MAXIMUM_MEMORY >> 20),
        },
        error => ImageError::Damaged { name: name.to_owned(), problem: error.to_string() },
    }
}

/// How the pixels of a row lie.
struct Layout {
    channels: Channels,
    /// Bytes of a pixel, transparency included.
    bytes: usize,
    wide: bool,
}

impl Layout {
    fn of<R: std::io::BufRead + std::io::Seek>(reader: &Reader<R>) -> Self {
        let (colour, depth) = reader.output_color_type();
        let wide = depth == BitDepth::Sixteen;
        let channels = match colour {
            ColorType::Grayscale | ColorType::GrayscaleAlpha => Channels::Grey,
            ColorType::Rgb | ColorType::Rgba | ColorType::Indexed => Channels::Rgb,
        };
        Self { channels, bytes: colour.samples() * if wide { 2 } else { 1 }, wide }
    }

    /// The pixels in 8 bits, without transparency.
    fn pixels<'a>(&'a self, row: &'a [u8]) -> impl Iterator<Item = u8> + 'a {
        let channels = self.channels.count();
        row.chunks_exact(self.bytes).flat_map(move |pixel| {
            (0..channels).map(move |channel| {
                if self.wide {
                    match pixel.get(2 * channel..2 * channel + 2) {
                        Some(&[high, low]) => narrow(u16::from_be_bytes([high, low])),
                        _ => 0,
                    }
                } else {
                    pixel.get(channel).copied().unwrap_or_default()
                }
            })
        })
    }
}

/// The nearest of 256 steps.
fn narrow(sample: u16) -> u8 {
    // At most 255 and a half, rounded down.
    ((u32::from(sample) + 128) / 257) as u8
}
