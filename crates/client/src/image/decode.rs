//! Decoding within limits: an image may be anybody's.

use std::{
    fs::File,
    io::{Cursor, Read},
    path::Path,
};

use image::{
    DynamicImage, GenericImageView, ImageFormat, ImageReader, Limits,
    error::{ImageError as DecoderError, LimitErrorKind},
};

use super::{Channels, ImageError, resize::resize};

/// The largest file read, in bytes.
pub const MAXIMUM_FILE_LENGTH: u64 = 64 << 20;
/// The largest width and height, in pixels.
pub const MAXIMUM_SIDE: u32 = 16_384;
/// What the decoder may allocate, in bytes: 89 million RGB pixels.
const MAXIMUM_ALLOCATION: u64 = 256 << 20;

/// An image in memory.
#[derive(Clone, Debug)]
pub struct DecodedImage(DynamicImage);

impl DecodedImage {
    /// Pixels across.
    pub fn width(&self) -> u32 {
        self.0.width()
    }

    /// Pixels down.
    pub fn height(&self) -> u32 {
        self.0.height()
    }

    /// The image in this size: rows from the top, pixels from the left, the
    /// channels of a pixel side by side, 0 to 255. Transparency is ignored, as
    /// Pillow's `convert` ignores it.
    pub fn pixels(&self, channels: Channels, width: u32, height: u32) -> Vec<u8> {
        let pixels = match channels {
            Channels::Rgb => self.0.to_rgb8().into_raw(),
            Channels::Grey if self.0.color().has_color() => {
                self.0.to_rgb8().pixels().map(|pixel| brightness(pixel.0)).collect()
            }
            Channels::Grey => self.0.to_luma8().into_raw(),
        };
        let from = (self.width() as usize, self.height() as usize);
        resize(pixels, channels.count(), from, (width as usize, height as usize))
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

/// Decodes a JPEG or PNG file's bytes; `name` is for messages.
pub fn decode(bytes: &[u8], name: &str) -> Result<DecodedImage, ImageError> {
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png)) => format,
        _ => return Err(ImageError::Format { name: name.to_owned() }),
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAXIMUM_SIDE);
    limits.max_image_height = Some(MAXIMUM_SIDE);
    limits.max_alloc = Some(MAXIMUM_ALLOCATION);
    reader.limits(limits);
    let image = reader.decode().map_err(|error| match error {
        DecoderError::Limits(limit) => {
            let problem = match limit.kind() {
                LimitErrorKind::DimensionError => format!("at most {MAXIMUM_SIDE}x{MAXIMUM_SIDE} pixels"),
                _ => format!("decoding it takes more than {} MiB", MAXIMUM_ALLOCATION >> 20),
            };
            ImageError::TooLarge { name: name.to_owned(), problem }
        }
        other => ImageError::Damaged { name: name.to_owned(), problem: other.to_string() },
    })?;
    if image.dimensions().0 == 0 || image.dimensions().1 == 0 {
        return Err(ImageError::Damaged { name: name.to_owned(), problem: "it has no pixels".to_owned() });
    }
    Ok(DecodedImage(image))
}

#[cfg(test)]
mod tests;
