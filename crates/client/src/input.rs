//! How a model wants an image.

use adytum_api::tensorflow::{DataType, TensorProto, TensorShapeProto, tensor_shape_proto::Dim};
use bytes::Bytes;

use crate::{
    error::ClientError,
    image::{Channels, DecodedImage},
    signature::{Signature, TensorSpecification},
};

/// The largest side an image is brought to, in pixels. What a server asks for
/// beyond it is a mistake or an attempt on this side's memory.
const MAXIMUM_SIDE: usize = 4096;

/// An input tensor that takes an image, one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInput {
    name: String,
    element: Element,
    layout: Layout,
    channels: Channels,
    /// `None`: as the image has it.
    height: Option<u32>,
    width: Option<u32>,
}

/// What a pixel's brightness becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    /// 0..1
    Float,
    /// 0..1
    Double,
    /// 0..255
    Byte,
}

/// The order of the dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Batch, height, width, channels.
    Nhwc,
    /// Batch, channels, height, width.
    Nchw,
    /// Batch, height, width.
    Nhw,
}

impl ImageInput {
    /// The signature's input of this name, or its only one.
    pub fn of(signature: &Signature, name: Option<&str>) -> Result<Self, ClientError> {
        let known = || signature.inputs.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let error = |problem: String| ClientError::Interface { problem };
        let (name, tensor) = match name {
            Some(name) => signature
                .inputs
                .get_key_value(name)
                .ok_or_else(|| error(format!("it has no input {name:?}; it has {}", known())))?,
            None => {
                let mut inputs = signature.inputs.iter();
                match (inputs.next(), inputs.next()) {
                    (Some(only), None) => only,
                    (None, _) => return Err(error("it has no input".to_owned())),
                    _ => return Err(error(format!("it has several inputs ({}); choose one", known()))),
                }
            }
        };
        Self::parse(name, tensor).map_err(|problem| {
            let element = tensor.element_type.as_str_name();
            error(format!("its input {name:?} is {element} {}: {problem}", tensor.shape_text()))
        })
    }

    fn parse(name: &str, tensor: &TensorSpecification) -> Result<Self, String> {
        let element = match tensor.element_type {
            DataType::DtFloat => Element::Float,
            DataType::DtDouble => Element::Double,
            DataType::DtUint8 => Element::Byte,
            _ => return Err("wanted are DT_FLOAT, DT_DOUBLE or DT_UINT8".to_owned()),
        };
        let wanted = "wanted is [N,height,width,channels], [N,channels,height,width] or [N,height,width], \
                      with 1 or 3 channels";
        let shape = tensor.shape.as_deref().ok_or(wanted)?;
        let (batch, layout, channels, height, width) = match *shape {
            [batch, height, width, Some(channels @ (1 | 3))] => {
                (batch, Layout::Nhwc, channels, height, width)
            }
            [batch, Some(channels @ (1 | 3)), height, width] => {
                (batch, Layout::Nchw, channels, height, width)
            }
            [batch, height, width] => (batch, Layout::Nhw, 1, height, width),
            _ => return Err(wanted.to_owned()),
        };
        if batch.is_some_and(|batch| batch != 1) {
            return Err("wanted is a batch of any size or of 1".to_owned());
        }
        let side = |side: Option<usize>| match side {
            Some(side @ 1..=MAXIMUM_SIDE) => u32::try_from(side).map(Some).map_err(|error| error.to_string()),
            Some(_) => Err(format!("wanted are sides from 1 to {MAXIMUM_SIDE}")),
            None => Ok(None),
        };
        Ok(Self {
            name: name.to_owned(),
            element,
            layout,
            channels: if channels == 3 { Channels::Rgb } else { Channels::Grey },
            height: side(height)?,
            width: side(width)?,
        })
    }

    /// The input's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The image as a batch of one.
    pub fn tensor(&self, image: &DecodedImage) -> Result<TensorProto, ClientError> {
        let (height, width) = (self.height.unwrap_or(image.height()), self.width.unwrap_or(image.width()));
        let limit = MAXIMUM_SIDE as u32;
        if height > limit || width > limit {
            return Err(ClientError::Interface {
                problem: format!(
                    "it takes any size, and {width}x{height} pixels are too many; at most {limit}x{limit}"
                ),
            });
        }
        let pixels = image.pixels(self.channels, width, height)?;
        let channels = self.channels.count();
        let (content, shape): (Bytes, Vec<u32>) = match self.layout {
            Layout::Nhwc => (self.content(pixels.into_iter()), vec![1, height, width, channels as u32]),
            Layout::Nhw => (self.content(pixels.into_iter()), vec![1, height, width]),
            Layout::Nchw => {
                let planes = (0..channels).flat_map(|channel| pixels.iter().skip(channel).step_by(channels));
                (self.content(planes.copied()), vec![1, channels as u32, height, width])
            }
        };
        let element = match self.element {
            Element::Float => DataType::DtFloat,
            Element::Double => DataType::DtDouble,
            Element::Byte => DataType::DtUint8,
        };
        let dim = shape.into_iter().map(|size| Dim { size: size.into(), name: String::new() }).collect();
        Ok(TensorProto {
            dtype: element.into(),
            tensor_shape: Some(TensorShapeProto { dim, unknown_rank: false }),
            tensor_content: content,
            ..TensorProto::default()
        })
    }

    fn content(&self, pixels: impl Iterator<Item = u8>) -> Bytes {
        match self.element {
            // The quotient, as the reference client has it: not the product
            // with 1/255, which rounds differently.
            Element::Float => pixels.flat_map(|pixel| (f32::from(pixel) / 255.0).to_le_bytes()).collect(),
            Element::Double => pixels.flat_map(|pixel| (f64::from(pixel) / 255.0).to_le_bytes()).collect(),
            Element::Byte => pixels.collect(),
        }
    }
}

#[cfg(test)]
mod tests;
