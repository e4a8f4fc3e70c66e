//! The weights of a convolution of bytes in the order in which tiles take them.

use super::{
    GROUP, Instructions, Reading,
    excess::Excess,
    kernels::blocks_of,
    memory::Bytes,
    tile::{Patch, Patches, WEIGHTS},
};
use crate::BLOCK;

/// The weights of a convolution of bytes, what is added to the sums, and what they are multiplied with.
#[derive(Debug)]
pub struct Filters {
    pub(super) instructions: Instructions,
    /// Input channels of each group.
    pub inputs: usize,
    /// Output channels of each group.
    pub outputs: usize,
    pub groups: usize,
    /// The sizes of the window.
    pub rows: usize,
    pub columns: usize,
    pub reading: Reading,
    /// Several, where weights are sums of several numbers of int8.
    pub(super) passes: usize,
    /// `[group][panel][pass][input block][row][column][four channels][block][output channel][4]`.
    pub(super) weights: Bytes,
    /// The excess that was taken off from them, for instructions that need that.
    excess: Option<Excess>,
    /// The summands of every output channel, each group in whole blocks.
    pub(super) bias: Vec<i32>,
    /// What the sums are multiplied with.
    pub(super) scales: Vec<f32>,
}

/// What weights are made of.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// `[output][input of the group][row][column]`, their zero point taken off: numbers from -255 to 255.
    pub weights: &'a [i16],
    pub shape: [usize; 4],
    pub groups: usize,
    /// A number for each output channel.
    pub bias: Option<&'a [i32]>,
    /// What the sums are multiplied with: a number for each output channel, or one for all.
    pub scales: &'a [f32],
    /// The zero point of the input.
    pub zero_point: u8,
}

impl Source<'_> {
    /// The scale of an output channel.
    pub(super) fn scale(&self, output: usize) -> f32 {
        self.scales.get(output).or(self.scales.first()).copied().unwrap_or(0.0)
    }

    /// How many numbers of int8 a weight is the sum of, at most: 255 is the sum of three.
    pub(super) fn passes(&self) -> usize {
        let needed = |weight: i16| weight.unsigned_abs().div_ceil(if weight < 0 { 128 } else { 127 });
        self.weights.iter().map(|weight| needed(*weight)).max().map_or(1, usize::from).max(1)
    }

    /// Whether all sizes fit.
    pub(super) fn fits(&self) -> bool {
        let [all, inputs, rows, columns] = self.shape;
        let count = inputs.checked_mul(rows).and_then(|count| count.checked_mul(columns));
        let count = count.filter(|count| *count > 0).and_then(|count| count.checked_mul(all));
        all > 0
            && self.groups > 0
            && all.is_multiple_of(self.groups)
            && count == Some(self.weights.len())
            && self.bias.is_none_or(|bias| bias.len() == all)
            && (self.scales.len() == 1 || self.scales.len() == all)
    }

    /// The summand of a channel: the bias, less what the input's zero point adds.
    pub(super) fn shift(&self, output: usize) -> i32 {
        let per_output = self.weights.len() / self.shape[0];
        let weights = &self.weights[output * per_output..][..per_output];
        let sum = weights.iter().fold(0_i32, |sum, weight| sum.wrapping_add(i32::from(*weight)));
        let bias = self.bias.map_or(0, |bias| bias[output]);
        bias.wrapping_sub(sum.wrapping_mul(i32::from(self.zero_point)))
    }
}

/// The part of a weight that is multiplied in a pass, as a byte.
pub(super) fn part(weight: i16, pass: usize) -> u8 {
    let mut rest = weight;
    for _ in 0..pass {
        rest -= rest.clamp(-128, 127);
    }
    (rest.clamp(-128, 127) as i8).cast_unsigned()
}

/// Blocks of output channels that tiles compute together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    pub(super) group: usize,
    /// The first block, among those of the group.
    pub(super) block: usize,
    pub(super) blocks: usize,
    /// Where its weights begin.
    pub(super) weights: usize,
}

impl Filters {
    /// Groups, if there are several, must be of whole blocks. `None` if the sizes do not fit.
    pub fn new(instructions: Instructions, source: &Source<'_>, reading: Reading) -> Option<Self> {
        if !source.fits() {
            return None;
        }
        let [all, inputs, rows, columns] = source.shape;
        let (groups, outputs) = (source.groups, all / source.groups);
        let is_blocked = inputs.is_multiple_of(BLOCK) && outputs.is_multiple_of(BLOCK);
        if groups > 1 && (!is_blocked || reading == Reading::Whole) {
            return None;
        }
        let blocks = outputs.div_ceil(BLOCK);
        let mut filters = Self {
            passes: source.passes(),
            instructions,
            inputs,
            outputs,
            groups,
            rows,
            columns,
            reading,
            weights: Bytes::default(),
            excess: None,
            bias: vec![0; groups * blocks * BLOCK],
            scales: vec![0.0; groups * blocks * BLOCK],
        };
        filters.weights = Bytes::zeros(groups * blocks * filters.per_block());
        for output in 0..all {
            let place = output / outputs * blocks * BLOCK + output % outputs;
            filters.bias[place] = source.shift(output);
            filters.scales[place] = source.scale(output);
        }
        let taps = rows * columns;
        // Where the weight of each input channel and place of the window goes: which group, which of them.
        let places: Vec<(usize, usize)> = (0..inputs * taps)
            .map(|number| {
                let (input, tap) = (number / taps, number % taps);
                let (block, fours) = match reading {
                    Reading::Whole => (0, inputs.div_ceil(GROUP)),
                    Reading::Blocks => {
                        let block = input / BLOCK * BLOCK;
                        (block, (inputs - block).min(BLOCK).div_ceil(GROUP))
                    }
                };
                let four = block / GROUP * taps + tap * fours + (input - block) / GROUP;
                (four, input % GROUP)
            })
            .collect();
        for number in 0..filters.panel_count() {
            let panel = filters.panel(number);
            for output in panel.block * BLOCK..outputs.min((panel.block + panel.blocks) * BLOCK) {
                let (block, lane) = (output / BLOCK - panel.block, output % BLOCK);
                let first = (panel.group * outputs + output) * inputs * taps;
                let own = &source.weights[first..][..inputs * taps];
                let per_pass = filters.fours() * panel.blocks * WEIGHTS;
                for pass in 0..filters.passes {
                    let target = &mut filters.weights[panel.weights + pass * per_pass..];
                    for ((four, rest), weight) in places.iter().zip(own) {
                        let place = (four * panel.blocks + block) * WEIGHTS + lane * GROUP;
                        target[place + rest] = part(*weight, pass);
                    }
                }
            }
        }
        filters.excess = instructions.pairs().map(|lanes| filters.take_excess(lanes));
        Some(filters)
    }

    /// Takes off from the weights what pairs of them have in excess, for registers of this number of sums.
    fn take_excess(&mut self, lanes: usize) -> Excess {
        let mut excess = Excess::new(lanes, self.reading, self.inputs, self.rows, self.columns);
        let per_block = self.per_block();
        let blocks: Vec<usize> = (0..self.panel_count()).map(|number| self.panel(number).blocks).collect();
        let mut rest = &mut *self.weights;
        excess.take(blocks.into_iter().map_while(|blocks| {
            let (own, others) = std::mem::take(&mut rest).split_at_mut_checked(blocks * per_block)?;
            rest = others;
            Some((own, blocks))
        }));
        excess
    }

    /// The patches of a panel, if places of the window are that far from the first one. They are in the list.
    pub(super) fn patches(&self, panel: usize, places: &[usize], list: &mut Vec<Patch>) -> Patches {
        match &self.excess {
            Some(excess) => excess.patches(panel, places, list),
            None => Patches::NONE,
        }
    }

    /// Bytes of the weights of a block of output channels.
    fn per_block(&self) -> usize {
        self.passes * self.fours() * WEIGHTS
    }

    /// The summand of each output channel, in whole blocks.
    pub fn bias(&self) -> &[i32] {
        &self.bias
    }

    /// Groups of input channels at all places of the window.
    fn fours(&self) -> usize {
        let fours = match self.reading {
            Reading::Whole => self.inputs.div_ceil(GROUP),
            // Blocks are of whole groups.
            Reading::Blocks => {
                let (full, rest) = (self.inputs / BLOCK, self.inputs % BLOCK);
                full * (BLOCK / GROUP) + rest.div_ceil(GROUP)
            }
        };
        fours * self.rows * self.columns
    }

    /// Blocks of output channels of a group.
    pub(super) fn blocks(&self) -> usize {
        self.outputs.div_ceil(BLOCK)
    }

    /// How many panels there are.
    pub(super) fn panel_count(&self) -> usize {
        self.groups * self.blocks().div_ceil(blocks_of(self.instructions))
    }

    /// The panel of this number.
    pub(super) fn panel(&self, number: usize) -> Panel {
        let wide = blocks_of(self.instructions);
        let per_group = self.blocks().div_ceil(wide);
        let (group, number) = (number / per_group, number % per_group);
        let block = number * wide;
        let blocks = wide.min(self.blocks() - block);
        Panel { group, block, blocks, weights: (group * self.blocks() + block) * self.per_block() }
    }
}
