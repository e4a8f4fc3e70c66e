//! Gives values of a region places in one block of memory.

use std::{cmp::Reverse, ops::Range};

use super::step::Value;
use crate::operators::OperatorError;
use adytum_kernels::planes::Planes;

/// Where a value is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// All images, or those of a group.
    pub(super) planes: Planes,
    pub(super) range: Range<usize>,
    /// Whether the images of all groups are there.
    pub(super) is_whole: bool,
}

impl Place {
    /// Where these images are, of the whole batch.
    pub(super) fn of(&self, images: &Range<usize>) -> (Planes, Range<usize>) {
        let planes = self.planes.some(images.len());
        let skipped = if self.is_whole { images.start.saturating_mul(planes.image()) } else { 0 };
        let start = self.range.start.saturating_add(skipped);
        (planes, start..start.saturating_add(planes.len()))
    }
}

/// A value that needs a place.
pub(super) struct Need {
    pub(super) value: Value,
    pub(super) place: Place,
    /// The moments at which it is written first and read last.
    pub(super) alive: (usize, usize),
}

/// Gives each value a place, from `first` on, that no other has while it is alive, and returns the end of all.
pub(super) fn arrange(needs: &mut [Need], first: usize) -> Result<usize, OperatorError> {
    // As they come, or the largest first: which takes less differs from network to network.
    let mut sizes = Vec::with_capacity(needs.len());
    for need in needs.iter() {
        sizes.push(size(&need.place.planes)?);
    }
    let mut orders = [(0..needs.len()).collect::<Vec<usize>>(), (0..needs.len()).collect()];
    orders[1].sort_by_key(|index| Reverse(sizes.get(*index).copied().unwrap_or(0)));
    let mut best: Option<(usize, Vec<usize>)> = None;
    for order in orders {
        let (starts, end) = in_order(needs, &sizes, &order, first)?;
        if best.as_ref().is_none_or(|(least, _)| end < *least) {
            best = Some((end, starts));
        }
    }
    let Some((end, starts)) = best else { return Ok(first) };
    for ((need, start), size) in needs.iter_mut().zip(starts).zip(sizes) {
        need.place.range = start..start + size;
    }
    Ok(end)
}

/// The floats of a value, in whole lines.
fn size(planes: &Planes) -> Result<usize, OperatorError> {
    planes.checked_len().and_then(|len| len.checked_next_multiple_of(16)).ok_or_else(|| too_large(planes))
}

fn too_large(planes: &Planes) -> OperatorError {
    OperatorError::TooLarge {
        shape: vec![planes.images, planes.blocks * planes.lanes, planes.height, planes.width],
    }
}

/// The start of each value if those of `order` take the first gap that is large enough, one after another; the end of
/// all.
fn in_order(
    needs: &[Need],
    sizes: &[usize],
    order: &[usize],
    first: usize,
) -> Result<(Vec<usize>, usize), OperatorError> {
    let mut starts = vec![0; needs.len()];
    let mut placed: Vec<(Range<usize>, (usize, usize))> = Vec::with_capacity(needs.len());
    let mut last = first;
    for index in order {
        let (Some(need), Some(size)) = (needs.get(*index), sizes.get(*index)) else { continue };
        let (from, until) = need.alive;
        let mut start = first;
        // They are in the order of their starts.
        for (range, alive) in &placed {
            if alive.0 > until || alive.1 < from || range.end <= start {
                continue;
            }
            if range.start >= start.saturating_add(*size) {
                break;
            }
            start = range.end;
        }
        let end = start.checked_add(*size).ok_or_else(|| too_large(&need.place.planes))?;
        last = last.max(end);
        if let Some(place) = starts.get_mut(*index) {
            *place = start;
        }
        let position = placed.partition_point(|(range, _)| range.start < start);
        placed.insert(position, (start..end, need.alive));
    }
    Ok((starts, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use adytum_kernels::planes::Border;

    fn need(value: usize, pixels: usize, alive: (usize, usize)) -> Need {
        let planes = Planes::new(16, 1, 1, pixels, Border::default());
        Need { value: Value(value), place: Place { planes, range: 0..0, is_whole: false }, alive }
    }

    #[test]
    fn values_that_live_at_the_same_time_are_apart() {
        for seed in 0..100_usize {
            let mut needs: Vec<Need> = (0..30)
                .map(|value| {
                    let from = value / 2;
                    need(value, 1 + (seed * 31 + value * value * 17) % 23, (from, from + (seed + value) % 7))
                })
                .collect();
            let end = arrange(&mut needs, 5 * 16).unwrap();
            for (index, need) in needs.iter().enumerate() {
                assert!(need.place.range.start >= 5 * 16 && need.place.range.end <= end);
                assert_eq!(need.place.range.len(), need.place.planes.len());
                for other in &needs[..index] {
                    let meet = other.alive.0 <= need.alive.1 && need.alive.0 <= other.alive.1;
                    let (left, right) = (&need.place.range, &other.place.range);
                    assert!(!meet || left.end <= right.start || right.end <= left.start, "{seed} {index}");
                }
            }
        }
    }

    #[test]
    fn images_of_a_whole_batch_are_found_by_their_numbers() {
        let planes = Planes::new(40, 6, 2, 3, Border::default());
        let whole = Place { planes, range: 1000..1000 + planes.len(), is_whole: true };
        let (some, range) = whole.of(&(2..4));
        assert_eq!((some.images, some.block()), (2, planes.block()));
        assert_eq!(range, 1000 + 2 * planes.image()..1000 + 2 * planes.block() + 4 * planes.image());
        assert_eq!(whole.of(&(0..usize::MAX)), (planes, whole.range.clone()));
        let group = Place { is_whole: false, ..whole };
        assert_eq!(group.of(&(4..5)).1.start, 1000);
    }
}
