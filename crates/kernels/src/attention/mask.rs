//! Which keys a query may look at, and what is added to its scores.

use std::ops::Range;

use super::super::{BLOCK, buffer::Buffer};

/// Where the numbers of a mask are: from an entry of the batch to the next, from a head, from a query, from a
/// key. 0 where they are the same for all.
pub type Steps = [usize; 4];

/// A change of the scores.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// The scores stay.
    None,
    /// These numbers are added.
    Add(&'a [f32], Steps),
    /// `other` is in the place of the scores where these are false.
    Keep { keeps: &'a [bool], steps: Steps, other: f32 },
}

impl Mask<'_> {
    pub(super) fn fits(&self, sizes: [usize; 4]) -> bool {
        let (len, steps) = match self {
            Mask::None => return true,
            Mask::Add(values, steps) => (values.len(), steps),
            Mask::Keep { keeps, steps, .. } => (keeps.len(), steps),
        };
        let last = steps.iter().zip(sizes).try_fold(0_usize, |place, (step, size)| {
            place.checked_add(step.checked_mul(size.checked_sub(1)?)?)
        });
        last.is_some_and(|last| last < len)
    }
}

/// The part of a mask for one query and a block of keys, in whole blocks of 16.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// Less than zero where `other` is in the place of the score.
    pub(super) gone: Option<&'a [f32]>,
    pub(super) other: f32,
    /// The summands, negative infinity behind the last key; `None` where only that is to be done.
    pub(super) added: Option<&'a [f32]>,
}

/// Memory for a line. A mask that is the same for all queries is read once.
#[derive(Debug, Default)]
pub(super) struct Lines {
    values: Buffer,
    /// Where the line that is in `values` begins in the mask, and how long it is.
    known: Option<(usize, usize)>,
}

impl Lines {
    /// Forgets what it has: the mask is another one.
    pub(super) fn clear(&mut self) {
        self.known = None;
    }

    pub(super) fn line(
        &mut self,
        mask: &Mask<'_>,
        [batch, head, row]: [usize; 3],
        keys: Range<usize>,
    ) -> Line<'_> {
        let count = keys.len();
        let place =
            |steps: &Steps| batch * steps[0] + head * steps[1] + row * steps[2] + keys.start * steps[3];
        let start = match mask {
            Mask::None => return Line { gone: None, other: 0.0, added: None },
            Mask::Add(_, steps) | Mask::Keep { steps, .. } => place(steps),
        };
        if self.known != Some((start, count)) {
            let room = count.next_multiple_of(BLOCK);
            if self.values.len() < room {
                self.values = Buffer::zeros(room);
            }
            match mask {
                Mask::None => {}
                Mask::Add(values, steps) => {
                    for (key, value) in self.values[..count].iter_mut().enumerate() {
                        *value = values[start + key * steps[3]];
                    }
                    self.values[count..room].fill(f32::NEG_INFINITY);
                }
                Mask::Keep { keeps, steps, .. } => {
                    for (key, value) in self.values[..count].iter_mut().enumerate() {
                        *value = if keeps[start + key * steps[3]] { 1.0 } else { -1.0 };
                    }
                    self.values[count..room].fill(1.0);
                }
            }
            self.known = Some((start, count));
        }
        let values = &self.values[..count.next_multiple_of(BLOCK)];
        match mask {
            Mask::Keep { other, .. } => Line { gone: Some(values), other: *other, added: None },
            Mask::Add(..) | Mask::None => Line { gone: None, other: 0.0, added: Some(values) },
        }
    }
}
