//! Convolutions, and transposed ones whose windows do not overlap.

use super::{Convolution, Form, Kind, Piece, Reader, Scale, Way};
use crate::{operators::windows::geometry::Padding, tensor::ElementType};
use adytum_kernels::BLOCK;

impl Reader<'_> {
    pub(super) fn convolution(&mut self) -> Option<Vec<Piece>> {
        let (value, channels) = self.image(0)?;
        let weights = self.input(1)?;
        let fact = self.known.fact(weights)?;
        let shape: [usize; 4] = fact.known_shape()?.try_into().ok()?;
        let groups = usize::try_from(self.integer("group", 1)?).ok().filter(|groups| *groups > 0)?;
        let settings = self.settings()?;
        let window = [shape[2], shape[3]];
        if !fact.is_constant
            || fact.element_type() != Some(ElementType::Float)
            || shape.contains(&0)
            || shape[1].checked_mul(groups)? != channels
            || !shape[0].is_multiple_of(groups)
            || settings.ceil
            || settings.kernel.as_ref().is_some_and(|kernel| *kernel != window)
        {
            return None;
        }
        let kind = if groups > 1 && groups == channels && shape[0] == channels {
            Kind::Depthwise
        } else if groups == 1 || shape[1].is_multiple_of(BLOCK) && (shape[0] / groups).is_multiple_of(BLOCK) {
            Kind::Dense { groups }
        } else {
            return None;
        };
        let bias = match self.input(2) {
            None => None,
            Some(_) => {
                let bias = self.floats(2)?;
                let values = bias.values::<f32>()?.to_vec();
                if bias.shape() != [shape[0]] {
                    return None;
                }
                Some(values)
            }
        };
        let form = Form::Convolution(Convolution {
            kind,
            weights,
            shape,
            bias,
            settings,
            scale: Scale::default(),
            way: Way::Direct,
        });
        Some(vec![Piece {
            form,
            inputs: vec![(value, channels)],
            output: self.output()?,
            channels: shape[0],
        }])
    }

    /// A transposed convolution whose windows do not overlap.
    pub(super) fn transposed(&mut self) -> Option<Vec<Piece>> {
        let (value, channels) = self.image(0)?;
        let weights = self.input(1)?;
        let fact = self.known.fact(weights)?;
        let shape: [usize; 4] = fact.known_shape()?.try_into().ok()?;
        let [inputs, outputs, rows, columns] = shape;
        let settings = self.settings()?;
        let attributes = &self.node.attributes;
        let is_plain = match &settings.padding {
            Padding::Explicit(pads) => pads.iter().all(|pad| *pad == 0),
            _ => false,
        };
        let extra = attributes
            .integers("output_padding")
            .ok()?
            .is_none_or(|extra| extra.iter().all(|size| *size == 0));
        if !fact.is_constant
            || fact.element_type() != Some(ElementType::Float)
            || shape.contains(&0)
            || inputs != channels
            || self.integer("group", 1)? != 1
            || !is_plain
            || !extra
            || attributes.contains("output_shape")
            || settings.strides != [rows, columns]
            || settings.dilations.iter().any(|dilation| *dilation != 1)
            || settings.kernel.as_ref().is_some_and(|kernel| *kernel != [rows, columns])
        {
            return None;
        }
        let bias = match self.input(2) {
            None => None,
            Some(_) => {
                let bias = self.floats(2)?;
                if bias.shape() != [outputs] {
                    return None;
                }
                Some(bias.values::<f32>()?.to_vec())
            }
        };
        let form = Form::Convolution(Convolution {
            kind: Kind::Spread,
            weights,
            shape,
            bias,
            settings,
            scale: Scale::default(),
            way: Way::Direct,
        });
        Some(vec![Piece { form, inputs: vec![(value, channels)], output: self.output()?, channels: outputs }])
    }
}
