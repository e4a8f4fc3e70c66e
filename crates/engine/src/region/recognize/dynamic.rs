//! Convolutions of bytes whose scale follows from the numbers of a run: `DynamicQuantizeLinear`, `ConvInteger`,
//! `Cast`, and the product with both scales.

use super::{Form, Known, Piece, Reader, Scale};
use crate::{
    onnx::model::{Node, ValueId},
    region::byte_convolution::Convolution as OfBytes,
    tensor::ElementType,
};

/// A convolution of real numbers that become bytes first; its weights are still in the model.
#[derive(Clone, Debug)]
pub(crate) struct Dynamic {
    /// The convolution of bytes.
    pub(crate) convolution: OfBytes,
    /// The scales of the weights: one for each output channel, or one for all.
    pub(crate) scales: Vec<f32>,
    /// What the results are to be multiplied with, and what is to be added to them.
    pub(crate) scale: Scale,
}

/// The nodes of such a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DynamicNodes<'a> {
    pub(crate) quantise: &'a Node,
    pub(crate) convolution: &'a Node,
    /// The constant scale of the weights.
    pub(crate) scale: ValueId,
    /// The product of the sums and of both scales.
    pub(crate) product: &'a Node,
}

/// The step of such a convolution.
pub(crate) fn recognize_dynamic(nodes: &DynamicNodes<'_>, known: &mut dyn Known) -> Option<Piece> {
    let (input, channels) = Reader { node: nodes.quantise, known }.image(0).ok()?;
    let output = Reader { node: nodes.product, known }.output().ok()?;
    let convolution = Reader { node: nodes.convolution, known }.of_bytes(channels)?;
    let outputs = convolution.shape[0];
    let scale = known.constant(nodes.scale)?;
    let scales = scale.values::<f32>()?.to_vec();
    let is_by_channel = matches!(scale.shape(), [count, 1, 1] | [1, count, 1, 1] if *count == outputs);
    let is_one = scales.len() == 1 && scale.rank() <= 4;
    if !(is_one || is_by_channel) {
        return None;
    }
    let form = Form::Dynamic(Dynamic { convolution, scales, scale: Scale::default() });
    Some(Piece { form, inputs: vec![(input, channels)], output, channels: outputs })
}

/// What `ConvInteger` of images computes, and the channels of the images.
pub(crate) fn recognize_integer(node: &Node, known: &mut dyn Known) -> Option<(OfBytes, usize)> {
    let mut reader = Reader { node, known };
    let fact = reader.fact(0).filter(|fact| !fact.is_constant && fact.rank() == Some(4))?;
    let channels = usize::try_from(fact.dimension(1)?).ok()?;
    Some((reader.of_bytes(channels)?, channels))
}

impl Reader<'_> {
    /// A convolution of images of this number of channels with constant weights of bytes.
    fn of_bytes(&mut self, channels: usize) -> Option<OfBytes> {
        let weights = self.input(1)?;
        let fact = self.known.fact(weights)?;
        let shape: [usize; 4] = fact.known_shape()?.try_into().ok()?;
        let groups = usize::try_from(self.integer("group", 1).ok()?).ok().filter(|groups| *groups > 0)?;
        let settings = self.settings().ok()?;
        let element_type = fact.element_type()?;
        if !fact.is_constant
            || !matches!(element_type, ElementType::Int8 | ElementType::Uint8)
            || shape.contains(&0)
            || shape[1].checked_mul(groups)? != channels
            || !shape[0].is_multiple_of(groups)
            || settings.ceil
            || settings.kernel.as_ref().is_some_and(|kernel| *kernel != shape[2..])
        {
            return None;
        }
        let zero_points = self.zero_points(3, element_type)?;
        let convolution = OfBytes {
            weights,
            is_turned: false,
            shape,
            groups,
            bias: None,
            scales: vec![1.0],
            zero_points,
            // The summands of this zero point, times that of a run, are those of the run.
            from: 1,
            to: 0,
            settings,
        };
        let count = convolution.zero_points.len();
        (convolution.has_kernels() && (count == 1 || count == shape[0])).then_some(convolution)
    }

    /// Zero points of this type; 0 if they are left out.
    fn zero_points(&mut self, index: usize, element_type: ElementType) -> Option<Vec<i16>> {
        let Some(value) = self.input(index) else { return Some(vec![0]) };
        let tensor = self.known.constant(value).filter(|tensor| tensor.element_type() == element_type)?;
        match (tensor.values::<u8>(), tensor.values::<i8>()) {
            (Some(values), _) => Some(values.iter().map(|value| i16::from(*value)).collect()),
            (_, Some(values)) => Some(values.iter().map(|value| i16::from(*value)).collect()),
            _ => None,
        }
    }
}
