//! Convolutions and products of matrices.

use super::{Form, Image, Piece, Reader, is_byte};
use crate::{
    operators::windows::geometry::{Padding, Settings},
    outside::Outside,
    region::byte_convolution::Convolution,
};
use adytum_kernels::integer::pool::Scale;

/// Where a product has its weights among its inputs, their scale and their zero point.
struct Weights {
    input: usize,
    scale: usize,
    zero_point: usize,
}

impl Reader<'_> {
    /// `QLinearConv`.
    pub(super) fn convolution(&mut self) -> Result<Piece, Outside> {
        let (input, output) = (self.image(0)?, self.bytes()?);
        let matrix = self.input(3).ok_or(Outside::Constant(3))?;
        let shape = self.known.fact(matrix).and_then(|fact| fact.known_shape()?.try_into().ok());
        let shape: [usize; 4] = shape.ok_or(Outside::Constant(3))?;
        let groups = usize::try_from(self.integer("group", 1)?).ok().filter(|groups| *groups > 0);
        let groups = groups.ok_or(Outside::Attribute("group"))?;
        let settings = self.settings()?;
        let window = [shape[2], shape[3]];
        if input.is_matrix {
            return Err(Outside::Bytes(0));
        }
        let are_groups =
            shape[1].checked_mul(groups) == Some(input.channels) && shape[0].is_multiple_of(groups);
        let is_wrong = [
            ("group", shape.contains(&0) || !are_groups),
            ("ceil_mode", settings.ceil),
            ("kernel_shape", settings.kernel.as_ref().is_some_and(|kernel| *kernel != window)),
        ];
        if let Some((name, _)) = is_wrong.into_iter().find(|(_, is_wrong)| *is_wrong) {
            return Err(Outside::Attribute(name));
        }
        let from = self.scale(1, 2, input.element_type)?;
        let to = self.scale(6, 7, output.element_type)?;
        let (scales, zero_points) = self.weights(&Weights { input: 3, scale: 4, zero_point: 5 }, shape[0])?;
        let bias = match self.input(8) {
            None => None,
            Some(_) => {
                let bias = self.constant(8)?;
                Some(bias.values::<i32>().ok_or(Outside::Constant(8))?.to_vec())
            }
        };
        let convolution = Convolution {
            weights: matrix,
            is_turned: false,
            shape,
            groups,
            bias,
            scales: scales.iter().map(|scale| from.scale * scale / to.scale).collect(),
            zero_points,
            from: from.zero_point,
            to: to.zero_point,
            settings,
        };
        self.product(convolution, input, output)
    }

    /// `QLinearMatMul` of matrices.
    pub(super) fn matrix_product(&mut self) -> Result<Piece, Outside> {
        let (input, output) = (self.image(0)?, self.bytes()?);
        let from = self.scale(1, 2, input.element_type)?;
        let to = self.scale(6, 7, output.element_type)?;
        self.of_matrices((input, output), (from, to), None, 1.0, true)
    }

    /// `QGemm` whose result is of bytes.
    pub(super) fn general_product(&mut self) -> Result<Piece, Outside> {
        let (input, output) = (self.image(0)?, self.bytes()?);
        let from = self.scale(1, 2, input.element_type)?;
        let to = self.scale(7, 8, output.element_type)?;
        let alpha =
            self.node.attributes.float("alpha").map_err(|_| Outside::Attribute("alpha"))?.unwrap_or(1.0);
        if self.integer("transA", 0)? != 0 {
            return Err(Outside::Attribute("transA"));
        }
        let bias = match self.input(6) {
            None => None,
            Some(_) => {
                let bias = self.constant(6)?;
                let is_row = matches!(bias.shape(), [count] | [1, count] if *count == output.channels);
                Some(bias.values::<i32>().filter(|_| is_row).ok_or(Outside::Constant(6))?.to_vec())
            }
        };
        let is_turned = self.integer("transB", 0)? == 0;
        self.of_matrices((input, output), (from, to), bias, alpha, is_turned)
    }

    fn of_matrices(
        &mut self,
        (input, output): (Image, Image),
        (from, to): (Scale, Scale),
        bias: Option<Vec<i32>>,
        alpha: f32,
        is_turned: bool,
    ) -> Result<Piece, Outside> {
        let matrix = self.input(3).ok_or(Outside::Constant(3))?;
        let sizes = self.known.fact(matrix).and_then(|fact| fact.known_shape()?.try_into().ok());
        let sizes: [usize; 2] = sizes.ok_or(Outside::Constant(3))?;
        let [outputs, inputs] = if is_turned { [sizes[1], sizes[0]] } else { sizes };
        if !input.is_matrix {
            return Err(Outside::Bytes(0));
        }
        if inputs != input.channels || outputs == 0 {
            return Err(Outside::Constant(3));
        }
        let (scales, zero_points) = self.weights(&Weights { input: 3, scale: 4, zero_point: 5 }, outputs)?;
        let settings = Settings {
            kernel: None,
            strides: vec![],
            dilations: vec![],
            padding: Padding::Valid,
            ceil: false,
        };
        let convolution = Convolution {
            weights: matrix,
            is_turned,
            shape: [outputs, inputs, 1, 1],
            groups: 1,
            bias,
            scales: scales.iter().map(|scale| alpha * from.scale * scale / to.scale).collect(),
            zero_points,
            from: from.zero_point,
            to: to.zero_point,
            settings,
        };
        self.product(convolution, input, output)
    }

    /// The scales and the zero points of constant weights.
    fn weights(&mut self, places: &Weights, outputs: usize) -> Result<(Vec<f32>, Vec<i16>), Outside> {
        let wrong = Outside::Constant(places.input);
        let fact = self.input(places.input).and_then(|value| self.known.fact(value)).ok_or(wrong)?;
        let element_type = fact.element_type().filter(|found| is_byte(*found)).ok_or(wrong)?;
        let zero_points = self.zero_points(places.zero_point, element_type)?;
        let scales = self.floats(places.scale)?;
        let fits = |count: usize| count == 1 || count == outputs;
        let is_usable = fact.is_constant && fits(zero_points.len()) && fits(scales.len());
        let zero_points = zero_points.into_iter().map(|zero_point| zero_point as i16).collect();
        if is_usable { Ok((scales, zero_points)) } else { Err(wrong) }
    }

    fn product(&mut self, convolution: Convolution, input: Image, output: Image) -> Result<Piece, Outside> {
        let [outputs, ..] = convolution.shape;
        let can = convolution.has_kernels();
        let fits = convolution.bias.as_ref().is_none_or(|bias| bias.len() == outputs)
            && output.channels == outputs
            && output.is_matrix == input.is_matrix;
        if !can {
            return Err(Outside::Groups);
        }
        if !fits {
            return Err(Outside::Sizes);
        }
        Ok(Piece { form: Form::Convolution(convolution), inputs: vec![input], output })
    }
}
