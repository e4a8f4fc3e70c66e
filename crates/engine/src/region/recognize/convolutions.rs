//! Convolutions, and transposed ones whose windows do not overlap.

use super::{Convolution, Form, Kind, Piece, Reader, Scale, Way};
use crate::{
    onnx::model::ValueId, operators::windows::geometry::Padding, outside::Outside, tensor::ElementType,
};
use adytum_kernels::BLOCK;

impl Reader<'_> {
    /// The constant weights of a convolution of images, and their shape.
    fn weights(&self) -> Result<(ValueId, [usize; 4]), Outside> {
        let find = || {
            let weights = self.input(1)?;
            let fact = self.known.fact(weights)?;
            let shape: [usize; 4] = fact.known_shape()?.try_into().ok()?;
            let is_right = fact.is_constant && fact.element_type() == Some(ElementType::Float);
            (is_right && !shape.contains(&0)).then_some((weights, shape))
        };
        find().ok_or(Outside::Constant(1))
    }

    pub(super) fn convolution(&mut self) -> Result<Vec<Piece>, Outside> {
        let (value, channels) = self.image(0)?;
        let (weights, shape) = self.weights()?;
        let groups = usize::try_from(self.integer("group", 1)?).ok().filter(|groups| *groups > 0);
        let groups = groups.ok_or(Outside::Attribute("group"))?;
        let settings = self.settings()?;
        let window = [shape[2], shape[3]];
        if shape[1].checked_mul(groups) != Some(channels) || !shape[0].is_multiple_of(groups) {
            return Err(Outside::Attribute("group"));
        }
        if settings.ceil {
            return Err(Outside::Attribute("ceil_mode"));
        }
        if settings.kernel.as_ref().is_some_and(|kernel| *kernel != window) {
            return Err(Outside::Attribute("kernel_shape"));
        }
        let kind = if groups > 1 && groups == channels && shape[0] == channels {
            Kind::Depthwise
        } else if groups == 1 || shape[1].is_multiple_of(BLOCK) && (shape[0] / groups).is_multiple_of(BLOCK) {
            Kind::Dense { groups }
        } else {
            return Err(Outside::Groups);
        };
        let bias = self.vector(2, shape[0])?;
        let form = Form::Convolution(Convolution {
            kind,
            weights,
            shape,
            bias,
            settings,
            scale: Scale::default(),
            way: Way::Direct,
        });
        Ok(vec![Piece { form, inputs: vec![(value, channels)], output: self.output()?, channels: shape[0] }])
    }

    /// A transposed convolution whose windows do not overlap.
    pub(super) fn transposed(&mut self) -> Result<Vec<Piece>, Outside> {
        let (value, channels) = self.image(0)?;
        let (weights, shape) = self.weights()?;
        let [inputs, outputs, rows, columns] = shape;
        let settings = self.settings()?;
        let attributes = &self.node.attributes;
        let is_plain = match &settings.padding {
            Padding::Explicit(pads) => pads.iter().all(|pad| *pad == 0),
            _ => false,
        };
        let extra = attributes.integers("output_padding");
        let has_extra = !matches!(extra, Ok(None))
            && !extra.is_ok_and(|extra| extra.is_some_and(|extra| extra.iter().all(|size| *size == 0)));
        let is_wrong = [
            ("group", inputs != channels || self.integer("group", 1)? != 1),
            ("pads", !is_plain),
            ("output_padding", has_extra),
            ("output_shape", attributes.contains("output_shape")),
            ("strides", settings.strides != [rows, columns]),
            ("dilations", settings.dilations.iter().any(|dilation| *dilation != 1)),
            ("kernel_shape", settings.kernel.as_ref().is_some_and(|kernel| *kernel != [rows, columns])),
        ];
        if let Some((name, _)) = is_wrong.into_iter().find(|(_, is_wrong)| *is_wrong) {
            return Err(Outside::Attribute(name));
        }
        let bias = self.vector(2, outputs)?;
        let form = Form::Convolution(Convolution {
            kind: Kind::Spread,
            weights,
            shape,
            bias,
            settings,
            scale: Scale::default(),
            way: Way::Direct,
        });
        Ok(vec![Piece { form, inputs: vec![(value, channels)], output: self.output()?, channels: outputs }])
    }
}
