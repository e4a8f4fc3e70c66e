//! Where the elements of images are in a buffer.

use super::{BLOCK, bfloat::WORDS};

/// Images in blocks of 16 channels: `[block][image][top + height + bottom][left + width + right][16]`.
///
/// The border is zero where a convolution reads it. Channels beyond the last real one are never read
/// together with real ones, so they may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planes {
    pub blocks: usize,
    pub images: usize,
    pub height: usize,
    pub width: usize,
    pub border: Border,
    /// Floats of a pixel of one block: 16, or the channels of images that are not in blocks. Images of 16-bit
    /// floats have two of them in a place of a float, so 8.
    pub lanes: usize,
    /// Images from one block to the next: more than `images` if these are some of the images of a buffer.
    pub among: usize,
}

/// How many pixels are around an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Border {
    pub top: usize,
    pub left: usize,
    pub bottom: usize,
    pub right: usize,
}

impl Border {
    /// The border that has room for both.
    pub fn and(self, other: Self) -> Self {
        Self {
            top: self.top.max(other.top),
            left: self.left.max(other.left),
            bottom: self.bottom.max(other.bottom),
            right: self.right.max(other.right),
        }
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl Planes {
    /// Images in blocks, of this number of channels.
    pub fn new(channels: usize, images: usize, height: usize, width: usize, border: Border) -> Self {
        Self { blocks: channels.div_ceil(BLOCK), images, height, width, border, lanes: BLOCK, among: images }
    }

    /// The first `count` of these images. Others begin as many times [`Self::image`] further on.
    #[must_use]
    pub fn some(self, count: usize) -> Self {
        Self { images: count.min(self.images), ..self }
    }

    /// The same images with 16-bit floats: two of them in each place of a float.
    pub fn narrow(self) -> Self {
        Self { lanes: WORDS, ..self }
    }

    /// Whether they are images in blocks, of 16-bit floats.
    pub fn is_narrow(&self) -> bool {
        self.lanes == WORDS
    }

    /// Whether they are images in blocks, of floats or of 16-bit floats.
    pub fn is_blocked(&self) -> bool {
        [BLOCK, WORDS].contains(&self.lanes)
    }

    /// The floats of a row of a block.
    pub fn row(&self) -> usize {
        (self.border.left + self.width + self.border.right) * self.lanes
    }

    /// The floats of an image of a block.
    pub fn image(&self) -> usize {
        (self.border.top + self.height + self.border.bottom) * self.row()
    }

    /// The floats from one block to the next.
    pub fn block(&self) -> usize {
        self.among * self.image()
    }

    /// The floats from the first one to the last one.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks whether there is nothing")]
    pub fn len(&self) -> usize {
        match self.blocks {
            0 => 0,
            blocks => (blocks - 1) * self.block() + self.images * self.image(),
        }
    }

    /// The same of all images of a buffer, or `None` if there are more than a machine can have.
    pub fn checked_len(&self) -> Option<usize> {
        let row = self.border.left.checked_add(self.width)?.checked_add(self.border.right)?;
        let rows = self.border.top.checked_add(self.height)?.checked_add(self.border.bottom)?;
        let image = rows.checked_mul(row)?.checked_mul(self.lanes)?;
        let all = image.checked_mul(self.among)?.checked_mul(self.blocks)?;
        (all <= isize::MAX as usize / 8).then_some(all)
    }

    /// Where a pixel of an image is.
    pub fn at(&self, block: usize, image: usize, y: usize, x: usize) -> usize {
        block * self.block()
            + image * self.image()
            + (self.border.top + y) * self.row()
            + (self.border.left + x) * self.lanes
    }

    /// Whether other images are as many, and as large.
    pub fn is_as_large_as(&self, other: &Self) -> bool {
        (self.images, self.height, self.width) == (other.images, other.height, other.width)
    }

    /// Whether there are no pixels around the images.
    pub fn is_flat(&self) -> bool {
        self.border.is_empty()
    }
}
