//! In which order the numbers of images come into a region and leave it.

/// The order of images that enter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Entering {
    /// `[image][channel][row][column]`.
    #[default]
    Channels,
    /// All channels of a pixel next to each other: `[image][row][column][channel]`.
    Pixels,
    /// The same, where the model has the pixels of an image in one dimension. Here are its rows and columns.
    List([usize; 2]),
}

/// The order of images that leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// `[image][channel][row][column]`.
    Channels,
    /// All channels of a pixel next to each other: `[image][row][column][channel]`.
    Pixels,
    /// The same, where the model has the pixels of an image in one dimension.
    List,
}

impl Entering {
    /// The images, rows and columns of what enters in a shape; `None` if it has not these channels. Lines are images
    /// of one row.
    pub(super) fn size(self, shape: &[usize], channels: usize, is_line: bool) -> Option<[usize; 3]> {
        match (self, shape, is_line) {
            (Self::Channels, &[images, found, height, width], _) if found == channels => {
                Some([images, height, width])
            }
            (Self::Channels, &[images, found, width], true) if found == channels => Some([images, 1, width]),
            (Self::Pixels, &[images, height, width, found], false) if found == channels => {
                Some([images, height, width])
            }
            (Self::Pixels, &[images, width, found], true) if found == channels => Some([images, 1, width]),
            (Self::List([height, width]), &[images, pixels, found], false)
                if found == channels && height.checked_mul(width) == Some(pixels) =>
            {
                Some([images, height, width])
            }
            _ => None,
        }
    }

    /// The dimensions that are expected, for people.
    pub(super) fn describe(self, channels: usize, is_line: bool) -> String {
        match (self, is_line) {
            (Self::Channels, false) => format!("4 dimensions and {channels} channels"),
            (Self::Channels, true) => format!("3 dimensions and {channels} channels"),
            (Self::Pixels, false) => format!("4 dimensions, the last one of {channels} channels"),
            (Self::Pixels, true) => format!("3 dimensions, the last one of {channels} channels"),
            (Self::List([height, width]), _) => {
                format!("{height} x {width} pixels in a dimension, the last one of {channels} channels")
            }
        }
    }
}

impl Leaving {
    /// The shape in which images leave.
    pub(super) fn shape(self, [images, channels, height, width]: [usize; 4], is_line: bool) -> Vec<usize> {
        match (self, is_line) {
            (Self::Channels, false) => vec![images, channels, height, width],
            (Self::Channels, true) => vec![images, channels, width],
            (Self::Pixels, false) => vec![images, height, width, channels],
            (Self::Pixels, true) => vec![images, width, channels],
            (Self::List, _) => vec![images, height * width, channels],
        }
    }
}
