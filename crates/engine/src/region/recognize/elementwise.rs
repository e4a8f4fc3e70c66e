//! Functions of single numbers: activations, sums and products, normalizations with constants.

use super::{Form, Piece, Reader, Scale};
use crate::outside::Outside;
use adytum_kernels::{activation::Activation, elementwise::Binary};

impl Reader<'_> {
    pub(super) fn normalization(&mut self) -> Result<Vec<Piece>, Outside> {
        if self.integer("training_mode", 0)? != 0 {
            return Err(Outside::Attribute("training_mode"));
        }
        if self.integer("spatial", 1)? != 1 {
            return Err(Outside::Attribute("spatial"));
        }
        let epsilon = f64::from(self.float("epsilon", 1e-5)?);
        let (_, channels) = self.image(0)?;
        let mut parameters = Vec::new();
        for index in 1..5 {
            parameters.push(self.vector(index, channels)?.ok_or(Outside::Constant(index))?);
        }
        let at = |place: usize, channel: usize| {
            let found = parameters.get(place).and_then(|values| values.get(channel));
            found.map(|value| f64::from(*value)).ok_or(Outside::Constant(place + 1))
        };
        let mut scale = Scale::default();
        for channel in 0..channels {
            let factor = at(0, channel)? / (at(3, channel)? + epsilon).sqrt();
            scale.factors.push(factor);
            scale.summands.push(at(1, channel)? - at(2, channel)? * factor);
        }
        self.of_image(0, Form::Channels(scale))
    }

    pub(super) fn activation(&mut self) -> Result<Activation, Outside> {
        Ok(match self.node.operator.as_str() {
            "Relu" => Activation::RELU,
            "Sigmoid" => Activation::Sigmoid,
            "Tanh" => Activation::Tanh,
            "Identity" => Activation::Identity,
            "HardSigmoid" => Activation::HardSigmoid(self.float("alpha", 0.2)?, self.float("beta", 0.5)?),
            "HardSwish" => Activation::HardSwish(1.0 / 6.0, 0.5),
            "Gelu" => match self.node.attributes.text("approximate") {
                Ok(None | Some("none")) => Activation::Gelu,
                Ok(Some("tanh")) => Activation::GeluTanh,
                _ => return Err(Outside::Attribute("approximate")),
            },
            "LeakyRelu" => Activation::LeakyRelu(self.float("alpha", 0.01)?),
            "Swish" => Activation::Swish(self.float("alpha", 1.0)?),
            // One slope for all channels.
            "PRelu" => match self.floats(1)?.values::<f32>().unwrap_or_default() {
                [slope] if self.floats(1)?.rank() <= 3 => Activation::LeakyRelu(*slope),
                _ => return Err(Outside::Constant(1)),
            },
            "Clip" => {
                let (low, high) = if self.node.opset < 11 {
                    (self.float("min", f32::NEG_INFINITY)?, self.float("max", f32::INFINITY)?)
                } else {
                    (self.bound(1, f32::NEG_INFINITY)?, self.bound(2, f32::INFINITY)?)
                };
                // A bound that is not a number bounds nothing.
                let (low, high) = (
                    if low.is_nan() { f32::NEG_INFINITY } else { low },
                    if high.is_nan() { f32::INFINITY } else { high },
                );
                Activation::Clip(low, high)
            }
            _ => return Err(Outside::Operator),
        })
    }

    fn bound(&mut self, index: usize, default: f32) -> Result<f32, Outside> {
        if self.input(index).is_none() {
            return Ok(default);
        }
        match self.floats(index)?.values::<f32>() {
            Some([bound]) => Ok(*bound),
            _ => Err(Outside::Constant(index)),
        }
    }

    pub(super) fn binary(&mut self) -> Result<Vec<Piece>, Outside> {
        let binary = match self.node.operator.as_str() {
            "Add" => Binary::Add,
            "Sub" => Binary::Subtract,
            "Mul" => Binary::Multiply,
            _ => Binary::Divide,
        };
        let commutes = matches!(binary, Binary::Add | Binary::Multiply);
        match (self.image(0), self.image(1)) {
            (Ok((left, channels)), Ok((right, other))) => {
                let shape = |index| self.fact(index).and_then(|fact| fact.shape).ok_or(Outside::Image(index));
                let (left_shape, right_shape) = (shape(0)?, shape(1)?);
                let output = self.output()?;
                let piece = |form, inputs| vec![Piece { form, inputs, output, channels }];
                if left_shape == right_shape {
                    return Ok(piece(Form::Image(binary), vec![(left, channels), (right, other)]));
                }
                // The batch and the channels are the same; one image is a pixel.
                let is_pixel = |shape: &[crate::facts::size::Size]| {
                    shape.get(2..).is_some_and(|sizes| sizes.iter().all(|size| size.value() == Some(1)))
                };
                let is_like =
                    left_shape.len() == right_shape.len() && left_shape.get(..2) == right_shape.get(..2);
                if channels != other || !is_like {
                    return Err(Outside::Sizes);
                }
                if is_pixel(&right_shape) {
                    Ok(piece(Form::Pixel(binary), vec![(left, channels), (right, other)]))
                } else if is_pixel(&left_shape) && commutes {
                    Ok(piece(Form::Pixel(binary), vec![(right, other), (left, channels)]))
                } else {
                    Err(Outside::Sizes)
                }
            }
            (Ok((_, channels)), Err(_)) => {
                let numbers = self.per_channel(1, channels)?;
                let (ones, zeros) = (vec![1.0; channels], vec![0.0; channels]);
                let scale = match binary {
                    Binary::Add => Scale { factors: ones, summands: numbers },
                    Binary::Subtract => {
                        Scale { factors: ones, summands: numbers.iter().map(|number| -number).collect() }
                    }
                    Binary::Multiply => Scale { factors: numbers, summands: zeros },
                    Binary::Divide => Scale {
                        factors: numbers.iter().map(|number| 1.0 / number).collect(),
                        summands: zeros,
                    },
                };
                self.of_image(0, Form::Channels(scale))
            }
            (Err(_), Ok((_, channels))) => {
                let numbers = self.per_channel(0, channels)?;
                let scale = match binary {
                    Binary::Add => Scale { factors: vec![1.0; channels], summands: numbers },
                    Binary::Subtract => Scale { factors: vec![-1.0; channels], summands: numbers },
                    Binary::Multiply => Scale { factors: numbers, summands: vec![0.0; channels] },
                    Binary::Divide => return Err(Outside::Constant(0)),
                };
                self.of_image(1, Form::Channels(scale))
            }
            (Err(outside), Err(_)) => Err(outside),
        }
    }

    /// A constant with a number for each channel, or one for all.
    fn per_channel(&mut self, index: usize, channels: usize) -> Result<Vec<f64>, Outside> {
        let tensor = self.floats(index)?;
        let other = if self.image(0).is_ok() { 0 } else { 1 };
        let rank = self.fact(other).and_then(|fact| fact.rank()).ok_or(Outside::Image(other))?;
        let values = tensor.values::<f32>().unwrap_or_default();
        let shape = tensor.shape();
        if shape.len() > rank {
            return Err(Outside::Constant(index));
        }
        if let [value] = values {
            return Ok(vec![f64::from(*value); channels]);
        }
        // One for each channel, and no more dimensions than the images have.
        let (outer, inner) = shape.split_at(shape.len() - shape.len().min(rank - 1));
        let fits = outer.iter().all(|size| *size == 1)
            && inner.len() == rank - 1
            && inner
                .split_first()
                .is_some_and(|(found, rest)| *found == channels && rest.iter().all(|size| *size == 1));
        if !fits {
            return Err(Outside::Constant(index));
        }
        Ok(values.iter().map(|value| f64::from(*value)).collect())
    }
}
