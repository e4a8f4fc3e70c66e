//! What pairs of weights have in excess, where products of two bytes are summed in 16 bits.
//!
//! Without VNNI, an instruction multiplies two bytes with two weights and gives the sum of both products in 16 bits.
//! The sum saturates. It is right for all bytes if the positive weights of the pair add up to at most 128, and the
//! negative ones to at least -128. What a pair has beyond that is its excess: it is taken off from a weight, and
//! its products are added apart. Trained networks have few such pairs.
//!
//! A patch is 16 neighbouring bytes of a pixel, and for each sum of a register up to four of them with an excess. The
//! products of several patches are summed in 16 bits, too. A run of patches ends before a sum could overflow.

use super::{
    GROUP, Reading,
    memory::Bytes,
    tile::{Patch, Patches, UNITS, WEIGHTS},
};
use crate::BLOCK;

/// Sums of positive weights up to this one give products that fit 16 bits: 255 times 128 is 32,640. So do negative
/// ones.
const MOST: i16 = 128;

/// The bytes of a patch, if a pixel has as many.
const SIXTEEN: usize = 16;

/// The place of a byte that is none.
const NONE: u8 = 0x80;

/// Neighbouring bytes of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    /// The pixel: which place of the window in which block of channels, counted as tiles go through them.
    place: usize,
    /// The first of the bytes within the pixel.
    first: usize,
}

/// Four bytes that are multiplied at once.
#[derive(Clone, Copy, Debug)]
struct Four {
    source: Source,
    /// Which bytes of the source they are, from this one on.
    first: usize,
}

/// The excess of a pair.
#[derive(Clone, Copy, Debug)]
struct Found {
    source: Source,
    /// Which byte of the source it is multiplied with.
    byte: usize,
    /// The register of sums, among those of a pixel, and which of its sums.
    register: usize,
    lane: usize,
    excess: i16,
}

/// The excess of all weights of a convolution.
#[derive(Debug, Default)]
pub(super) struct Excess {
    /// The sums of a register.
    lanes: usize,
    /// The fours in the order in which tiles multiply them.
    fours: Vec<Four>,
    /// Whether patches have 16 bytes. Those of pixels of fewer bytes have four.
    pub(super) has_sixteen: bool,
    /// The source of each patch, and whether it is the last one of a run.
    patches: Vec<(Source, bool)>,
    /// Of each patch the places `[sum][4]` of bytes, then their excess in the same order.
    numbers: Bytes,
    /// The first patch of each panel, and where those of each register end, counted from there.
    panels: Vec<(usize, [usize; UNITS])>,
}

impl Excess {
    /// Of a window over this number of channels. Nothing is in excess yet.
    pub(super) fn new(lanes: usize, reading: Reading, inputs: usize, rows: usize, columns: usize) -> Self {
        let row_bytes = inputs.next_multiple_of(GROUP);
        let has_sixteen = reading == Reading::Blocks || row_bytes >= SIXTEEN;
        let size = if has_sixteen { SIXTEEN } else { GROUP };
        // The channels of each block.
        let blocks: Vec<usize> = match reading {
            Reading::Blocks => (0..inputs).step_by(BLOCK).map(|first| (inputs - first).min(BLOCK)).collect(),
            Reading::Whole => vec![inputs],
        };
        let mut fours = Vec::new();
        let pixels = blocks.into_iter().flat_map(|channels| std::iter::repeat_n(channels, rows * columns));
        for (place, channels) in pixels.enumerate() {
            for byte in (0..channels).step_by(GROUP) {
                // The last source of a pixel ends with it.
                let first = match reading {
                    Reading::Blocks => 0,
                    Reading::Whole => (byte / size * size).min(row_bytes - size),
                };
                let source = Source { place, first };
                fours.push(Four { source, first: byte - first });
            }
        }
        Self { lanes, fours, has_sixteen, ..Self::default() }
    }

    /// Takes the excess off from the weights of the panels, of each of which there are the weights and how many blocks
    /// of output channels it has.
    pub(super) fn take<'a>(&mut self, panels: impl Iterator<Item = (&'a mut [u8], usize)>) {
        let mut numbers = Vec::new();
        for (weights, blocks) in panels {
            self.take_panel(weights, blocks, &mut numbers);
        }
        self.numbers = Bytes::zeros(numbers.len());
        self.numbers[..numbers.len()].copy_from_slice(&numbers);
    }

    /// The same of one panel: `[pass][four][block][output channel][4]`.
    fn take_panel(&mut self, weights: &mut [u8], blocks: usize, numbers: &mut Vec<u8>) {
        let lanes = self.lanes;
        let mut all = Vec::new();
        for (fours, four) in weights.chunks_exact_mut(blocks * WEIGHTS).zip(self.fours.iter().cycle()) {
            for (number, pair) in fours.chunks_exact_mut(2).enumerate() {
                if let Some((which, excess)) = cut(pair) {
                    let byte = four.first + number % 2 * 2 + which;
                    let (register, lane) = (number / 2 / lanes, number / 2 % lanes);
                    all.push(Found { register, source: four.source, byte, lane, excess });
                }
            }
        }
        all.sort_by_key(|found| (found.register, found.source));
        let start = self.patches.len();
        let mut ends = [0; UNITS];
        for (register, end) in ends.iter_mut().enumerate() {
            let own = all.iter().filter(|found| found.register == register);
            self.add_patches(&own.copied().collect::<Vec<_>>(), numbers);
            *end = self.patches.len() - start;
        }
        self.panels.push((start, ends));
    }

    /// Makes patches of what a register has in excess, in the order of the sources.
    fn add_patches(&mut self, all: &[Found], numbers: &mut Vec<u8>) {
        let start = self.patches.len();
        let size = 2 * GROUP * self.lanes;
        let mut run = vec![Lane::default(); self.lanes];
        for own in all.chunk_by(|one, other| one.source == other.source) {
            let mut left = own.to_vec();
            while let Some(&Found { source, .. }) = left.first() {
                let (count, first) = (left.len(), self.patches.len() * size);
                numbers.resize(first + size, 0);
                let patch = &mut numbers[first..];
                patch[..size / 2].fill(NONE);
                left.retain(|found| !put(found, &mut run[found.lane], patch));
                if left.len() < count {
                    self.patches.push((source, false));
                }
                if !left.is_empty() {
                    // A new run has room for at least one of them.
                    end_run(&mut self.patches[start..]);
                    run.fill(Lane::default());
                }
            }
        }
        end_run(&mut self.patches[start..]);
    }

    /// The patches of a panel, if places of the window are that far from the first one. They are in the list.
    pub(super) fn patches(&self, panel: usize, places: &[usize], list: &mut Vec<Patch>) -> Patches {
        list.clear();
        let Some((first, ends)) = self.panels.get(panel) else { return Patches::NONE };
        list.extend(self.patches[*first..][..ends[UNITS - 1]].iter().map(|(source, is_last)| Patch {
            offset: places[source.place] + source.first,
            is_last: *is_last,
        }));
        let numbers = &self.numbers[first * 2 * GROUP * self.lanes..];
        Patches { list: list.as_ptr(), ends: *ends, has_sixteen: self.has_sixteen, numbers: numbers.as_ptr() }
    }
}

/// Makes the last patch the last one of its run.
fn end_run(patches: &mut [(Source, bool)]) {
    if let Some((_, is_last)) = patches.last_mut() {
        *is_last = true;
    }
}

/// The sums of the excess of a sum in a run: of each half of its four places, the positive and the negative one.
type Lane = [[i16; 2]; 2];

/// Puts an excess into a patch, if there is room for it: a place of its sum, in a half whose sums stay small.
fn put(found: &Found, lane: &mut Lane, patch: &mut [u8]) -> bool {
    let (sign, size) = (usize::from(found.excess < 0), found.excess.abs());
    let (places, weights) = patch.split_at_mut(patch.len() / 2);
    let first_place = found.lane * GROUP;
    // The emptier half first.
    let first = usize::from(lane[1][sign] < lane[0][sign]);
    for half in [first, 1 - first] {
        let free = (0..2).map(|place| first_place + 2 * half + place).find(|place| places[*place] == NONE);
        if let Some(place) = free
            && lane[half][sign] + size <= MOST
        {
            lane[half][sign] += size;
            places[place] = found.byte as u8;
            weights[place] = (found.excess as i8).cast_unsigned();
            return true;
        }
    }
    false
}

/// Takes the excess off from a pair of weights. Which of them it was, and how much.
fn cut(pair: &mut [u8]) -> Option<(usize, i16)> {
    let &mut [first, second] = pair else { return None };
    let [first, second] = [first, second].map(|weight| i16::from(weight.cast_signed()));
    let (positive, negative) = (first.max(0) + second.max(0), first.min(0) + second.min(0));
    let excess = if positive > MOST {
        positive - MOST
    } else if negative < -MOST {
        negative + MOST
    } else {
        return None;
    };
    // The weight that is farther from zero is so by more than half of the excess: the rest has its sign, or is 0.
    let which = usize::from(second.abs() > first.abs());
    let left = [first, second][which] - excess;
    pair[which] = (left as i8).cast_unsigned();
    Some((which, excess))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The sums of the weights of each byte of a pixel, by source, byte and output channel.
    type Sums = BTreeMap<(Source, usize), i16>;

    fn number_of(byte: u8) -> i16 {
        i16::from(byte.cast_signed())
    }

    fn add(sums: &mut Sums, source: Source, byte: usize, channel: usize, weight: u8) {
        // Sources may overlap: bytes count from the begin of their pixel.
        let place = Source { first: source.first + byte, ..source };
        *sums.entry((place, channel)).or_default() += number_of(weight);
    }

    /// Sums of the weights in the order of the tiles.
    fn sums(excess: &Excess, weights: &[u8], blocks: usize) -> Sums {
        let mut sums = Sums::new();
        for (own, four) in weights.chunks_exact(blocks * WEIGHTS).zip(excess.fours.iter().cycle()) {
            for (place, weight) in own.iter().enumerate() {
                add(&mut sums, four.source, four.first + place % GROUP, place / GROUP, *weight);
            }
        }
        sums
    }

    fn fits(weights: impl Iterator<Item = i16> + Clone) -> bool {
        let positive: i16 = weights.clone().map(|weight| weight.max(0)).sum();
        let negative: i16 = weights.map(|weight| weight.min(0)).sum();
        positive <= MOST && negative >= -MOST
    }

    proptest! {
        #[test]
        fn all_sums_fit_and_no_weight_is_lost(
            inputs in 1_usize..40, rows in 1_usize..3, columns in 1_usize..4, blocks in 1_usize..3,
            passes in 1_usize..3, is_whole in any::<bool>(), is_narrow in any::<bool>(), near in 0_u8..3, seed in any::<u64>(),
        ) {
            let reading = if is_whole { Reading::Whole } else { Reading::Blocks };
            let (lanes, blocks) = if is_narrow { (8, 1) } else { (16, blocks) };
            let mut excess = Excess::new(lanes, reading, inputs, rows, columns);
            let mut state = seed | 1;
            let weights: Vec<u8> = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let (sign, weight) = (state >> 63, (state >> 40) as i8 >> 1);
                // Far from zero, or at the ends of their range.
                match (near, sign) {
                    (0, _) => weight << 1,
                    (1, 0) => 127 - weight.abs(),
                    (1, _) => -128 + weight.abs(),
                    (_, 0) => 127,
                    (_, _) => -128,
                }
                .cast_unsigned()
            })
            .take(passes * excess.fours.len() * blocks * WEIGHTS)
            .collect();
            let mut left = weights.clone();
            excess.take(std::iter::once((left.as_mut_slice(), blocks)));
            prop_assert!(left.chunks_exact(2).all(|pair| fits(pair.iter().map(|weight| number_of(*weight)))));
            let mut found = sums(&excess, &left, blocks);
            let (start, ends) = excess.panels[0];
            let mut run: BTreeMap<(usize, usize), Vec<i16>> = BTreeMap::new();
            let size = 2 * GROUP * lanes;
            for (number, (source, is_last)) in excess.patches.iter().copied().enumerate() {
                let register = ends.iter().position(|end| number < start + end).unwrap();
                let (places, weights) = excess.numbers[number * size..][..size].split_at(size / 2);
                for (at, (byte, weight)) in places.iter().zip(weights).enumerate() {
                    let channel = register * lanes + at / GROUP;
                    run.entry((channel, at % GROUP / 2)).or_default().push(number_of(*weight));
                    if *byte != NONE {
                        let most = if excess.has_sixteen { SIXTEEN } else { GROUP };
                        prop_assert!(usize::from(*byte) < most);
                        add(&mut found, source, usize::from(*byte), channel, *weight);
                    }
                }
                if is_last {
                    prop_assert!(run.values().all(|weights| fits(weights.iter().copied())));
                    run.clear();
                }
            }
            prop_assert!(run.is_empty());
            let own = sums(&excess, &weights, blocks);
            prop_assert_eq!(own, found);
        }
    }

    #[test]
    fn small_weights_have_no_patches() {
        let mut excess = Excess::new(8, Reading::Blocks, 32, 3, 3);
        let mut weights = vec![64; excess.fours.len() * WEIGHTS];
        excess.take(std::iter::once((weights.as_mut_slice(), 1)));
        let mut list = Vec::new();
        assert_eq!(excess.patches(0, &[1; 18], &mut list).ends, [0; UNITS]);
        assert!(list.is_empty());
        assert!(weights.iter().all(|weight| *weight == 64));
    }
}
