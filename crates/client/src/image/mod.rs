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

/// Why an image can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file can't be read.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        problem: String,
    },
    /// The file is neither JPEG nor PNG.
    #[error("{name}: not a JPEG or PNG image")]
    Format {
        /// The file.
        name: String,
    },
    /// The image is damaged.
    #[error("{name}: the image can't be decoded: {problem}")]
    Damaged {
        /// The file.
        name: String,
        /// The decoder's words.
        problem: String,
    },
    /// The image would take too much memory.
    #[error("{name}: the image is too large: {problem}; scale it down")]
    TooLarge {
        /// The file.
        name: String,
        /// What is too large.
        problem: String,
    },
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
