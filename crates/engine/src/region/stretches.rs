//! Cuts the steps of a region into stretches, each computed for some of the images at a time.
//!
//! What a step writes is read by the next one. With many images that is further away than the caches, so steps of
//! large images are computed one after another for a few images, then for the next few. Steps of small images are
//! computed for all of them: their weights are what is large, and are read once then.

use std::ops::Range;

/// Bytes that a step may read and write at once: they stay in the cache of the third level.
const NEAR: usize = 8 << 20;

/// Steps that a stretch has at least. Shorter ones are computed like their neighbours.
const FEWEST: usize = 6;

/// All images of a batch.
pub(super) const ALL: Range<usize> = 0..usize::MAX;

/// Steps that are computed one after another for a group of images, then for the next group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Places in the list of steps.
    pub(super) steps: Range<usize>,
    /// The images of each group.
    pub(super) groups: Vec<Range<usize>>,
}

impl Stretch {
    /// Of these steps, for all images.
    pub(super) fn whole(steps: Range<usize>) -> Self {
        Self { steps, groups: vec![ALL] }
    }
}

/// Cuts steps, each of which reads and writes this number of bytes for all `images` images.
pub(super) fn cut(bytes: &[usize], images: usize) -> Vec<Stretch> {
    let mut runs: Vec<(Range<usize>, usize)> = Vec::new();
    for (step, bytes) in bytes.iter().enumerate() {
        let count = at_once(*bytes, images);
        match runs.last_mut() {
            Some((steps, known)) if *known == count => steps.end = step + 1,
            _ => runs.push((step..step + 1, count)),
        }
    }
    // The shortest run first goes to the neighbour that computes more images at once but no more than fit, or to the
    // one that computes fewer.
    while runs.len() > 1 {
        let Some((index, (steps, count))) = runs
            .iter()
            .enumerate()
            .min_by_key(|(_, (steps, _))| steps.len())
            .map(|(index, run)| (index, run.clone()))
        else {
            break;
        };
        if steps.len() >= FEWEST {
            break;
        }
        runs.remove(index);
        let before = index.checked_sub(1).and_then(|index| runs.get(index)).map(|run| run.1);
        let after = runs.get(index).map(|run| run.1);
        let joins_before = match (before, after) {
            (Some(before), Some(after)) => count.abs_diff(before) <= count.abs_diff(after),
            (before, _) => before.is_some(),
        };
        let neighbour = if joins_before { index - 1 } else { index };
        if let Some((joined, other)) = runs.get_mut(neighbour) {
            *joined = joined.start.min(steps.start)..joined.end.max(steps.end);
            *other = (*other).min(count);
        }
        // Neighbours may be alike now.
        runs.dedup_by(|next, run| {
            let alike = next.1 == run.1;
            if alike {
                run.0.end = next.0.end;
            }
            alike
        });
    }
    let group =
        |count: usize| (0..images).step_by(count.max(1)).map(move |first| first..images.min(first + count));
    runs.into_iter()
        .map(|(steps, count)| {
            if count >= images {
                Stretch::whole(steps)
            } else {
                Stretch { steps, groups: group(count).collect() }
            }
        })
        .collect()
}

/// How many of `images` images a step computes at once: all, or a power of two.
fn at_once(bytes: usize, images: usize) -> usize {
    if bytes <= NEAR || images <= 1 {
        return images;
    }
    let room = NEAR / (bytes / images).max(1);
    1 << room.max(1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn steps_of_large_images_have_groups_and_short_runs_join_their_neighbours() {
        // One image at a time, then two, then all; two steps in between are too few.
        let mut bytes = vec![64 * MIB; 7];
        bytes.extend([8 * MIB; 2]);
        bytes.extend([64 * MIB; 6]);
        bytes.extend([32 * MIB; 6]);
        bytes.extend([MIB; 9]);
        let one: Vec<Range<usize>> = (0..8).map(|first| first..first + 1).collect();
        let two: Vec<Range<usize>> = (0..4).map(|first| 2 * first..2 * first + 2).collect();
        let found = cut(&bytes, 8);
        assert_eq!(
            found,
            [
                Stretch { steps: 0..15, groups: one },
                Stretch { steps: 15..21, groups: two },
                Stretch::whole(21..30)
            ]
        );
    }

    #[test]
    fn every_step_is_in_one_stretch_and_every_image_in_one_group() {
        for images in 0..12 {
            for seed in 0..200_usize {
                let bytes: Vec<usize> =
                    (0..seed % 40).map(|step| (seed * 7919 + step * step * 104_729) % (40 * MIB)).collect();
                let stretches = cut(&bytes, images);
                let steps: Vec<usize> = stretches.iter().flat_map(|stretch| stretch.steps.clone()).collect();
                assert_eq!(steps, (0..bytes.len()).collect::<Vec<_>>());
                for stretch in stretches.iter().filter(|stretch| stretch.groups != [ALL]) {
                    let all: Vec<usize> = stretch.groups.iter().cloned().flatten().collect();
                    assert_eq!(all, (0..images).collect::<Vec<_>>());
                }
            }
        }
    }
}
