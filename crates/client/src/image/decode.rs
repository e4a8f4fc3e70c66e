//! Decoding within limits: an image may come from anybody.

mod jpeg;
mod png;

use std::{fs::File, io::Read, path::Path};

use super::{Channels, ImageError, resize::Resizer};

/// The largest file read, in bytes.
pub const MAXIMUM_FILE_LENGTH: u64 = 64 << 20;
/// The largest width and height, in pixels.
pub const MAXIMUM_SIDE: u32 = 16_384;
/// The memory that decoding may take, in bytes: with the pixels, what the decoder keeps
/// besides them, and the rows of the image in the model's size.
const MAXIMUM_MEMORY: u64 = 256 << 20;

/// An image that was read to its end: it is whole.
#[derive(Clone)]
pub struct DecodedImage {
    name: String,
    width: u32,
    height: u32,
    source: Source,
}

impl std::fmt::Debug for DecodedImage {
    /// Without the pixels: an input is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DecodedImage({}, {}x{})", self.name, self.width, self.height)
    }
}

/// Where the pixels come from.
#[derive(Clone)]
enum Source {
    /// All of them, interleaved.
    Pixels(Channels, Vec<u8>),
    /// A PNG file that gives one row after the other, so they are never all in memory.
    Rows(Vec<u8>),
}

impl DecodedImage {
    /// Pixels across.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels down.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The image in this size: rows from the top, pixels from the left, the
    /// channels of a pixel next to each other, 0 to 255. Transparency is ignored, as
    /// Pillow's `convert` ignores it.
    pub fn pixels(&self, channels: Channels, width: u32, height: u32) -> Result<Vec<u8>, ImageError> {
        let from = (self.width as usize, self.height as usize);
        let held = match &self.source {
            Source::Pixels(_, pixels) => pixels.len(),
            Source::Rows(file) => file.len(),
        };
        let made = u64::from(width) * u64::from(self.height) + u64::from(width) * u64::from(height);
        check_memory(held as u64 + made * channels.count() as u64, &self.name)?;
        let mut resizer = Resizer::new(channels.count(), from, (width as usize, height as usize));
        match &self.source {
            Source::Pixels(found, pixels) => {
                for row in pixels.chunks_exact(from.0 * found.count()) {
                    resizer.push(&converted(row, *found, channels));
                }
            }
            Source::Rows(file) => {
                png::rows(file, &self.name, |found, row| resizer.push(&converted(row, found, channels)))?;
            }
        }
        Ok(resizer.finish())
    }
}

/// A row with these channels.
fn converted(row: &[u8], from: Channels, to: Channels) -> std::borrow::Cow<'_, [u8]> {
    match (from, to) {
        (Channels::Grey, Channels::Rgb) => row.iter().flat_map(|&grey| [grey; 3]).collect(),
        (Channels::Rgb, Channels::Grey) => row.as_chunks().0.iter().map(|pixel| brightness(*pixel)).collect(),
        _ => row.into(),
    }
}

/// ITU-R BT.601 in 16-bit fixed point, as Pillow converts to "L".
fn brightness([red, green, blue]: [u8; 3]) -> u8 {
    let sum = u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471;
    // The weights sum to 2^16, so this fits.
    ((sum + 0x8000) >> 16) as u8
}

/// Reads and decodes a file.
pub fn read(path: &Path) -> Result<DecodedImage, ImageError> {
    let error = |problem: String| ImageError::File { path: path.to_owned(), problem };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAXIMUM_FILE_LENGTH + 1).read_to_end(&mut bytes))
        .map_err(|problem| error(problem.to_string()))?;
    let name = path.display().to_string();
    if bytes.len() as u64 > MAXIMUM_FILE_LENGTH {
        let problem = format!("the file has more than {} MiB", MAXIMUM_FILE_LENGTH >> 20);
        return Err(ImageError::TooLarge { name, problem });
    }
    decode(&bytes, &name)
}

/// Decodes a JPEG or PNG file's bytes to their end; `name` is for messages.
pub fn decode(bytes: &[u8], name: &str) -> Result<DecodedImage, ImageError> {
    let (width, height, source) = if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        jpeg::decode(bytes, name)?
    } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        png::decode(bytes, name)?
    } else {
        return Err(ImageError::Format { name: name.to_owned() });
    };
    Ok(DecodedImage { name: name.to_owned(), width, height, source })
}

/// Refuses sides that are too long, and an image without pixels.
fn check_sides(width: u64, height: u64, name: &str) -> Result<(), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::Damaged { name: name.to_owned(), problem: "it has no pixels".to_owned() });
    }
    let limit = u64::from(MAXIMUM_SIDE);
    if width > limit || height > limit {
        let problem = format!("it has {width}x{height} pixels; at most {limit}x{limit} are read");
        return Err(ImageError::TooLarge { name: name.to_owned(), problem });
    }
    Ok(())
}

/// Refuses an image whose decoding takes more memory than it may.
fn check_memory(bytes: u64, name: &str) -> Result<(), ImageError> {
    if bytes > MAXIMUM_MEMORY {
        let problem = format!("decoding it takes more than {} MiB", MAXIMUM_MEMORY >> 20);
        return Err(ImageError::TooLarge { name: name.to_owned(), problem });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
