//! Channels of several images put together in another order: concatenations, splits, shuffles.

#![expect(unsafe_code, reason = "loads and stores through pointers; several threads write one output")]

use super::{
    BLOCK, Level, Part, Unfit,
    bfloat::{
        WORDS, Words,
        images::{ImageTask, dispatch_images},
    },
    buffer::Shared,
    convolution::Images,
    isa::Isa,
    layout::Channels,
    planes::Planes,
};

/// What a block of channels takes from a block of an input.
#[derive(Clone, Copy, Debug)]
struct Take {
    input: usize,
    block: usize,
    /// For each channel the number of the one that it takes there, as the bits of an integer; -1 for none.
    places: [f32; BLOCK],
    /// Whether it takes all of them, in their order.
    is_all: bool,
}

/// The channels of an image that are those of others.
#[derive(Debug)]
pub struct Mix {
    level: Level,
    /// For each block of the output.
    blocks: Vec<Vec<Take>>,
    /// How many inputs there are.
    inputs: usize,
    /// The blocks that each input has at least.
    needed: Vec<usize>,
}

impl Mix {
    /// Of some runs of channels of each input, in an image of `channels` channels. Channels that no run has are zero;
    /// the last run wins where two have one. `None` if a run is beyond the channels.
    pub fn new(level: Level, runs: &[Vec<Channels>], channels: usize) -> Option<Self> {
        let mut from: Vec<Option<(usize, usize)>> = vec![None; channels];
        let mut needed = vec![0; runs.len()];
        for (input, runs) in runs.iter().enumerate() {
            for run in runs.iter().filter(|run| run.count > 0) {
                let end = run.from.checked_add(run.count)?;
                needed[input] = end.div_ceil(BLOCK).max(needed[input]);
                let places = from.get_mut(run.to..run.to.checked_add(run.count)?)?;
                for (place, channel) in places.iter_mut().zip(run.from..) {
                    *place = Some((input, channel));
                }
            }
        }
        let none = f32::from_bits(u32::MAX);
        let blocks = from.chunks(BLOCK).map(|channels| {
            let mut takes: Vec<Take> = Vec::new();
            for (lane, (input, channel)) in
                channels.iter().enumerate().filter_map(|(lane, from)| Some((lane, (*from)?)))
            {
                let block = channel / BLOCK;
                let known = takes.iter().position(|take| (take.input, take.block) == (input, block));
                let index = known.unwrap_or_else(|| {
                    takes.push(Take { input, block, places: [none; BLOCK], is_all: false });
                    takes.len() - 1
                });
                takes[index].places[lane] = f32::from_bits((channel % BLOCK) as u32);
            }
            for take in &mut takes {
                let in_order = |(lane, place): (usize, &f32)| place.to_bits() as usize == lane;
                // Beyond the last channel, anything will do.
                take.is_all = take.places[..channels.len()].iter().enumerate().all(in_order);
            }
            takes
        });
        Some(Self { level, blocks: blocks.collect(), inputs: runs.len(), needed })
    }
}

/// Channels that are about to be put together.
#[derive(Clone, Copy, Debug)]
pub struct Mixing<'a> {
    pub mix: &'a Mix,
    pub inputs: &'a [Images<'a>],
    pub output: Planes,
}

impl Mixing<'_> {
    /// Computes this thread's share.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, output: Shared<'_>, part: Part) -> Result<(), Unfit> {
        let fits = self.inputs.len() == self.mix.inputs
            && self.inputs.iter().zip(&self.mix.needed).all(|(input, needed)| {
                input.planes.is_blocked()
                    && input.planes.blocks >= *needed
                    && input.planes.is_as_large_as(&self.output)
                    && input.values.len() >= input.planes.len()
            })
            && self.output.is_blocked()
            && self.output.blocks == self.mix.blocks.len()
            && output.len() >= self.output.len();
        if !fits {
            return Err(Unfit("copied channels"));
        }
        let is_narrow = self.output.is_narrow() || self.inputs.iter().any(|input| input.planes.is_narrow());
        dispatch_images(self.mix.level, is_narrow, Rows { mixing: self, output, part });
        Ok(())
    }
}

struct Rows<'a> {
    mixing: &'a Mixing<'a>,
    output: Shared<'a>,
    part: Part,
}

impl ImageTask for Rows<'_> {
    #[inline(always)]
    fn run<W: Words>(self, words: W) {
        let isa = words.isa();
        let Mixing { mix, inputs, output } = *self.mixing;
        let (width, lanes, is_narrow) = (output.width, output.lanes, output.is_narrow());
        for number in self.part.of(output.blocks * output.images * output.height) {
            let y = number % output.height;
            let (block, image) =
                (number / output.height / output.images, number / output.height % output.images);
            // SAFETY: this thread alone has this row of the output.
            let Some(to) = (unsafe { self.output.part(output.at(block, image, y, 0), width * lanes) }) else {
                continue;
            };
            let row = |take: &Take| {
                let Images { planes, values } = inputs[take.input];
                &values[planes.at(take.block, image, y, 0)..][..width * planes.lanes]
            };
            let lanes_of = |take: &Take| inputs[take.input].planes.lanes;
            // SAFETY: the array has 16 floats.
            let places = |take: &Take| unsafe { isa.load(take.places.as_ptr()) };
            match mix.blocks[block].as_slice() {
                [] => to.fill(0.0),
                [take] if take.is_all && lanes_of(take) == lanes => to.copy_from_slice(row(take)),
                [first, rest @ ..] => {
                    // The second one in the same pass: most blocks have two.
                    let (from, from_lanes, taken) = (row(first).as_ptr(), lanes_of(first), places(first));
                    let (second, rest) = match rest {
                        [] => (first, rest),
                        [second, rest @ ..] => (second, rest),
                    };
                    let (other, other_lanes, other_taken) =
                        (row(second).as_ptr(), lanes_of(second), places(second));
                    let nothing = isa.splat(0.0);
                    for place in 0..width {
                        // SAFETY: the rows have 16 numbers for each pixel.
                        unsafe {
                            let value = words.load(from.add(place * from_lanes), from_lanes == WORDS);
                            let value = isa.pick(value, taken, nothing);
                            let other = words.load(other.add(place * other_lanes), other_lanes == WORDS);
                            let value = isa.pick(other, other_taken, value);
                            words.store(value, to.as_mut_ptr().add(place * lanes), is_narrow);
                        }
                    }
                    for take in rest {
                        let (from, from_lanes, taken) = (row(take).as_ptr(), lanes_of(take), places(take));
                        for place in 0..width {
                            // SAFETY: the same.
                            unsafe {
                                let target = to.as_mut_ptr().add(place * lanes);
                                let before = words.load(target, is_narrow);
                                let value = words.load(from.add(place * from_lanes), from_lanes == WORDS);
                                words.store(isa.pick(value, taken, before), target, is_narrow);
                            }
                        }
                    }
                }
            }
        }
    }
}
