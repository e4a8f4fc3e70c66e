//! Convolutions of bytes: what a model says of one, and its weights in the order in which kernels take them.

use crate::{
    onnx::model::ValueId,
    operators::{quantization::packed::turned, windows::geometry::Settings},
    tensor::{Elements, Tensor},
};
use adytum_kernels::{
    BLOCK,
    integer::{
        Instructions, Reading,
        depthwise::Windows,
        filters::{Filters, Source},
    },
};

/// A convolution of bytes, its weights still in the model.
#[derive(Clone, Debug)]
pub(crate) struct Convolution {
    pub(crate) weights: ValueId,
    /// Whether weights are `[input][output]`, those of a matrix.
    pub(crate) is_turned: bool,
    /// `[output][input of the group][row][column]`.
    pub(crate) shape: [usize; 4],
    pub(crate) groups: usize,
    pub(crate) bias: Option<Vec<i32>>,
    /// What sums are multiplied with: one for each output channel, or one for all.
    pub(crate) scales: Vec<f32>,
    /// The zero points of the weights: one for each output channel, or one for all.
    pub(crate) zero_points: Vec<i16>,
    /// The zero point of the input.
    pub(crate) from: u8,
    /// The zero point of the output.
    pub(crate) to: u8,
    pub(crate) settings: Settings,
}

impl Convolution {
    /// Whether there are kernels for its groups: those of a few channels are put together until they are a
    /// block.
    pub(crate) fn has_kernels(&self) -> bool {
        let [outputs, inputs, ..] = self.shape;
        let own = outputs / self.groups.max(1);
        let in_blocks =
            own == inputs && own > 0 && BLOCK.is_multiple_of(own) && self.groups.is_multiple_of(BLOCK / own);
        self.groups == 1
            || self.is_depthwise()
            || inputs.is_multiple_of(BLOCK) && own.is_multiple_of(BLOCK)
            || in_blocks
    }

    /// Whether each output depends on one channel.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.shape[0] == self.groups && self.shape[1] == 1
    }
}

/// The weights of a convolution in the order in which kernels take them.
#[derive(Debug)]
pub(crate) enum Packed {
    Filters(Filters),
    /// Of each channel alone.
    Windows(Windows),
}

/// Puts the weights of a convolution in the order of the kernels. `None` if they are not as many as it says.
pub(crate) fn pack_weights(
    convolution: &Convolution,
    tensor: &Tensor,
    instructions: Instructions,
    reading: Reading,
) -> Option<Packed> {
    let is_depthwise = convolution.is_depthwise();
    let Convolution { is_turned, shape, groups, bias, scales, zero_points, from, .. } = convolution;
    let (mut shape, mut groups) = (*shape, *groups);
    let numbers: Vec<i16> = match tensor.elements() {
        Elements::Int8(values) => values.iter().map(|value| i16::from(*value)).collect(),
        Elements::Uint8(values) => values.iter().map(|value| i16::from(*value)).collect(),
        _ => return None,
    };
    if numbers.len() != shape.iter().product::<usize>() {
        return None;
    }
    let mut values = if *is_turned {
        turned(&numbers, shape[0], zero_points)
    } else {
        let mut values = numbers;
        for (output, own) in values.chunks_exact_mut(numbers_of_output(shape)).enumerate() {
            let zero_point = zero_points.get(output).or(zero_points.first()).copied().unwrap_or(0);
            own.iter_mut().for_each(|value| *value -= zero_point);
        }
        values
    };
    if groups > 1 && !is_depthwise && !shape[1].is_multiple_of(BLOCK) {
        (values, shape, groups) = widen(&values, shape, groups)?;
    }
    let (bias, zero_point) = (bias.as_deref(), *from);
    let source = Source { weights: &values, shape, groups, bias, scales, zero_point };
    Some(if is_depthwise {
        Packed::Windows(Windows::new(instructions, &source)?)
    } else {
        Packed::Filters(Filters::new(instructions, &source, reading)?)
    })
}

/// How many weights an output channel has.
fn numbers_of_output([_, inputs, rows, columns]: [usize; 4]) -> usize {
    (inputs * rows * columns).max(1)
}

/// Puts groups of a few channels together until they are a block: weights of other groups are zeros.
fn widen(values: &[i16], shape: [usize; 4], groups: usize) -> Option<(Vec<i16>, [usize; 4], usize)> {
    let [outputs, inputs, rows, columns] = shape;
    let together = BLOCK.checked_div(inputs)?;
    let taps = rows * columns;
    let mut weights = vec![0; outputs * BLOCK * taps];
    for (output, own) in values.chunks_exact(inputs * taps).enumerate() {
        let group = output / (outputs / groups) % together;
        let first = (output * BLOCK + group * inputs) * taps;
        weights.get_mut(first..first + own.len())?.copy_from_slice(own);
    }
    Some((weights, [outputs, BLOCK, rows, columns], groups / together))
}
