//! Images, from a file to the pixels a model takes, as the reference client
//! prepares them with Pillow: RGB or grey, bicubic.

mod decode;
mod resize;

use std::path::PathBuf;

pub use decode::{DecodedImage, MAXIMUM_FILE_LENGTH, MAXIMUM_SIDE, decode, read};

/// What a pixel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// Brightness.
    Grey,
    /// Red, green, blue.
    Rgb,
}

impl Channels {
    /// How many numbers that is.
    pub fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

/// The reason why an image can't be used.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The image's file can't be read.
    ///
    /// Do: check the path, and that you may read the file.
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    /// The file is neither a JPEG nor a PNG image.
    ///
    /// Do: convert the image to JPEG or PNG.
    #[error("{name}: not a JPEG or PNG image")]
    Format { name: String },
    /// The image can't be decoded.
    ///
    /// Do: get an undamaged copy of the image, or save it again as JPEG or PNG.
    #[error("{name}: the image can't be decoded: {problem}")]
    Damaged { name: String, problem: String },
    /// The image has more pixels than fit in the memory that is set aside.
    ///
    /// Do: scale the image down.
    #[error("{name}: the image is too large: {problem}; scale it down")]
    TooLarge { name: String, problem: String },
}

impl ImageError {
    /// A stable name of the kind of error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "image-unreadable",
            Self::Format { .. } => "not-an-image",
            Self::Damaged { .. } => "image-damaged",
            Self::TooLarge { .. } => "image-too-large",
        }
    }
}
