//! What a node is in a region of quantised numbers. A node that is not recognized stays outside.

mod products;

use super::super::{
    byte_convolution::Convolution,
    recognize::{Known, repeated, settings_of_images},
};
use crate::{
    onnx::model::{Node, ValueId},
    operators::windows::geometry::Settings,
    outside::Outside,
    tensor::{ElementType, Tensor},
};
use adytum_kernels::{
    integer::{elementwise::Function, finish::Addition, pool::Scale},
    layout::Channels,
};

/// A byte for each byte.
pub(crate) type Table = Box<[u8; 256]>;

/// What a step of a region computes, with constants as the model has them.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    Convolution(Convolution),
    Maximum {
        settings: Settings,
        window: [usize; 2],
    },
    Mean {
        settings: Settings,
        window: [usize; 2],
        with_pads: bool,
        from: Scale,
        to: Scale,
        is_signed: bool,
    },
    GlobalMean {
        from: Scale,
        to: Scale,
    },
    /// A function of two images, or of an image and an image of one pixel.
    Pair {
        function: Function,
        is_pixel: bool,
    },
    /// Channels of each input, side by side.
    Copy(Vec<Part>),
    Table(Table),
    /// A table for each channel.
    Tables(Vec<[u8; 256]>),
    /// Pixels that are repeated downwards and to the right.
    Repeat([usize; 2]),
    /// Real numbers that enter.
    Quantise(Scale),
    /// Real numbers that leave.
    Dequantise(Scale),
    /// The same numbers, in another shape maybe.
    Same,
    /// Nothing: the next step does it.
    Absorbed,
}

/// Channels of an input.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) runs: Vec<Channels>,
    /// What each byte becomes, if it does not stay.
    pub(crate) table: Option<Table>,
}

/// A value that a step takes or makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) value: ValueId,
    pub(crate) channels: usize,
    /// The type of the model.
    pub(crate) element_type: ElementType,
    /// Whether it is a matrix: a row is an image of one pixel.
    pub(crate) is_matrix: bool,
}

/// A step that a node becomes.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) form: Form,
    pub(crate) inputs: Vec<Image>,
    pub(crate) output: Image,
}

impl Form {
    /// Whether a region is worth having for it.
    pub(crate) fn is_convolution(&self) -> bool {
        matches!(self, Self::Convolution(_))
    }
}

/// What a node is in a region.
///
/// # Errors
/// Why it is nothing there.
pub(crate) fn recognize(node: &Node, known: &mut dyn Known) -> Result<Piece, Outside> {
    if !node.graphs.is_empty() {
        return Err(Outside::Graphs);
    }
    let mut reader = Reader { node, known };
    match (node.domain.as_str(), node.operator.as_str()) {
        ("", "QLinearConv") => reader.convolution(),
        ("", "QLinearMatMul") => reader.matrix_product(),
        ("com.microsoft", "QGemm") => reader.general_product(),
        ("com.microsoft", "QLinearAdd") => reader.pair(true),
        ("com.microsoft", "QLinearMul") => reader.pair(false),
        ("com.microsoft", "QLinearConcat") => reader.concatenation(),
        ("com.microsoft", "QLinearAveragePool") => reader.mean(),
        ("com.microsoft", "QLinearGlobalAveragePool") => reader.global_mean(),
        ("" | "com.microsoft", "QuantizeLinear") => reader.quantise(),
        ("" | "com.microsoft", "DequantizeLinear") => reader.dequantise(),
        // Of floats, they are nothing of these regions.
        ("", "MaxPool" | "Identity" | "Flatten" | "Reshape" | "Squeeze" | "Resize" | "Upsample")
            if reader.image(0).is_err() =>
        {
            Err(Outside::Operator)
        }
        ("", "MaxPool") => reader.maximum(),
        ("", "Resize" | "Upsample") => reader.resize(),
        ("", "Identity" | "Flatten" | "Reshape" | "Squeeze") => reader.same(),
        _ => Err(Outside::Operator),
    }
}

/// An input of a node that makes bytes, and what it makes.
pub(crate) fn images_of(node: &Node, known: &mut dyn Known, index: usize) -> Option<(Image, Image)> {
    let reader = Reader { node, known };
    Some((reader.image(index).ok()?, reader.bytes().ok()?))
}

struct Reader<'a> {
    node: &'a Node,
    known: &'a mut dyn Known,
}

/// The byte of a zero point.
fn shifted(zero_point: i32, element_type: ElementType) -> Option<u8> {
    let shift = if element_type == ElementType::Int8 { 128 } else { 0 };
    u8::try_from(zero_point + shift).ok()
}

impl Reader<'_> {
    fn input(&self, index: usize) -> Option<ValueId> {
        self.node.inputs.get(index).copied().flatten()
    }

    fn image_of(&self, value: ValueId) -> Option<Image> {
        let fact = self.known.fact(value)?;
        let (rank, element_type) = (fact.rank()?, fact.element_type()?);
        if fact.is_constant || !matches!(rank, 2 | 4) {
            return None;
        }
        let channels = usize::try_from(fact.dimension(1)?).ok().filter(|channels| *channels > 0)?;
        Some(Image { value, channels, element_type, is_matrix: rank == 2 })
    }

    /// An input of bytes.
    fn image(&self, index: usize) -> Result<Image, Outside> {
        let image = self.input(index).and_then(|value| self.image_of(value));
        image.filter(|image| is_byte(image.element_type)).ok_or(Outside::Bytes(index))
    }

    /// The only output that is taken.
    fn output(&self) -> Result<Image, Outside> {
        let mut outputs = self.node.outputs.iter().flatten();
        let first = self.node.outputs.first().copied().flatten();
        let only = outputs.next().copied().filter(|only| outputs.next().is_none() && first == Some(*only));
        only.and_then(|only| self.image_of(only)).ok_or(Outside::Outputs)
    }

    /// The same, of bytes.
    fn bytes(&self) -> Result<Image, Outside> {
        self.output().and_then(
            |image| {
                if is_byte(image.element_type) { Ok(image) } else { Err(Outside::Outputs) }
            },
        )
    }

    fn integer(&self, name: &'static str, default: i64) -> Result<i64, Outside> {
        let found = self.node.attributes.integer(name).map_err(|_| Outside::Attribute(name))?;
        Ok(found.unwrap_or(default))
    }

    fn constant(&mut self, index: usize) -> Result<Tensor, Outside> {
        let constant = self.input(index).and_then(|value| self.known.constant(value));
        constant.ok_or(Outside::Constant(index))
    }

    /// The floats of a constant.
    fn floats(&mut self, index: usize) -> Result<Vec<f32>, Outside> {
        let tensor = self.constant(index)?;
        tensor.values::<f32>().map(<[f32]>::to_vec).ok_or(Outside::Constant(index))
    }

    /// The zero points of a constant, which must be of this type. Zero if it is left out.
    fn zero_points(&mut self, index: usize, element_type: ElementType) -> Result<Vec<i32>, Outside> {
        if self.input(index).is_none() {
            return Ok(vec![0]);
        }
        let tensor = self.constant(index)?;
        match (tensor.values::<u8>(), tensor.values::<i8>()) {
            (Some(values), _) if element_type == ElementType::Uint8 => {
                Ok(values.iter().map(|value| i32::from(*value)).collect())
            }
            (_, Some(values)) if element_type == ElementType::Int8 => {
                Ok(values.iter().map(|value| i32::from(*value)).collect())
            }
            _ => Err(Outside::Constant(index)),
        }
    }

    /// A scale and a zero point of a whole tensor of this type.
    fn scale(
        &mut self,
        scale: usize,
        zero_point: usize,
        element_type: ElementType,
    ) -> Result<Scale, Outside> {
        let (scales, zero_points) = (self.floats(scale)?, self.zero_points(zero_point, element_type)?);
        let ([found], [zero]) = (scales.as_slice(), zero_points.as_slice()) else {
            return Err(Outside::Constant(scale));
        };
        let zero_point = shifted(*zero, element_type).ok_or(Outside::Constant(zero_point))?;
        Ok(Scale { scale: *found, zero_point })
    }

    /// The settings of a window over two dimensions.
    fn settings(&self) -> Result<Settings, Outside> {
        settings_of_images(self.node)
    }

    /// A window, which only images have.
    fn window(&self, image: Image) -> Result<(Settings, [usize; 2]), Outside> {
        let settings = self.settings()?;
        let window = settings.kernel.clone().and_then(|kernel| <[usize; 2]>::try_from(kernel).ok());
        match window {
            Some(window) if !image.is_matrix && !window.contains(&0) => Ok((settings, window)),
            _ => Err(Outside::Attribute("kernel_shape")),
        }
    }

    fn maximum(&mut self) -> Result<Piece, Outside> {
        let (input, output) = (self.image(0)?, self.bytes()?);
        let (settings, window) = self.window(input)?;
        Ok(Piece { form: Form::Maximum { settings, window }, inputs: vec![input], output })
    }

    fn mean(&mut self) -> Result<Piece, Outside> {
        let (input, output) = (self.image(0)?, self.bytes()?);
        let (settings, window) = self.window(input)?;
        let with_pads = self.integer("count_include_pad", 0)? != 0;
        if self.integer("channels_last", 0)? != 0 {
            return Err(Outside::Attribute("channels_last"));
        }
        let (from, to) = (self.scale(1, 2, input.element_type)?, self.scale(3, 4, output.element_type)?);
        let is_signed = output.element_type == ElementType::Int8;
        let form = Form::Mean { settings, window, with_pads, from, to, is_signed };
        Ok(Piece { form, inputs: vec![input], output })
    }

    fn global_mean(&mut self) -> Result<Piece, Outside> {
        let (input, output) = (self.image(0)?, self.bytes()?);
        if self.integer("channels_last", 0)? != 0 {
            return Err(Outside::Attribute("channels_last"));
        }
        if input.is_matrix {
            return Err(Outside::Bytes(0));
        }
        let (from, to) = (self.scale(1, 2, input.element_type)?, self.scale(3, 4, output.element_type)?);
        Ok(Piece { form: Form::GlobalMean { from, to }, inputs: vec![input], output })
    }

    /// A sum, or a product.
    fn pair(&mut self, is_sum: bool) -> Result<Piece, Outside> {
        let (mut first, mut second, output) = (self.image(0)?, self.image(3)?, self.bytes()?);
        let element_type = output.element_type;
        if [first, second].iter().any(|image| image.element_type != element_type)
            || first.channels != second.channels
            || first.is_matrix != second.is_matrix
        {
            return Err(Outside::Sizes);
        }
        let mut scales = [self.scale(1, 2, element_type)?, self.scale(4, 5, element_type)?];
        let to = self.scale(6, 7, element_type)?;
        let shape =
            |image: Image| self.known.fact(image.value).and_then(|fact| fact.shape).ok_or(Outside::Sizes);
        let (left, right) = (shape(first)?, shape(second)?);
        let is_pixel = left != right;
        if is_pixel {
            // The batch and the channels are the same; one image is a pixel.
            let is_one = |shape: &[crate::facts::size::Size]| {
                shape.get(2..).is_some_and(|sizes| sizes.iter().all(|size| size.value() == Some(1)))
            };
            if left.get(..2) != right.get(..2) {
                return Err(Outside::Sizes);
            }
            if !is_one(&right) {
                // The order of a sum is that of its rounding.
                if is_sum || !is_one(&left) {
                    return Err(Outside::Sizes);
                }
                (first, second) = (second, first);
                scales.swap(0, 1);
            }
        }
        let function = if is_sum {
            let is_signed = element_type == ElementType::Int8;
            let ratios = scales.map(|scale| scale.scale / to.scale);
            let zero = |scale: Scale| (i32::from(scale.zero_point) - if is_signed { 128 } else { 0 }) as f32;
            // The order of ONNX Runtime's operations decides how a tie is rounded.
            let inner = zero(scales[0]).mul_add(ratios[0], ratios[1] * zero(scales[1]));
            Function::Add(Addition { ratios, fixed: zero(to) - inner, is_first: true, is_signed })
        } else {
            Function::Multiply(scales, to)
        };
        Ok(Piece { form: Form::Pair { function, is_pixel }, inputs: vec![first, second], output })
    }

    /// A concatenation of channels; of one tensor, another scale.
    fn concatenation(&mut self) -> Result<Piece, Outside> {
        let output = self.bytes()?;
        let to = self.scale(0, 1, output.element_type)?;
        let count = self.node.inputs.len().saturating_sub(2) / 3;
        let (mut inputs, mut parts, mut place) = (Vec::new(), Vec::new(), 0);
        for number in 0..count {
            let first = 2 + 3 * number;
            let image = self.image(first)?;
            let from = self.scale(first + 1, first + 2, image.element_type)?;
            let table: Table = Box::new(std::array::from_fn(|byte| {
                to.byte(from.real(u8::try_from(byte).unwrap_or(0)) / to.scale)
            }));
            let is_same = table.iter().enumerate().all(|(byte, found)| byte == usize::from(*found));
            let runs = vec![Channels { from: 0, to: place, count: image.channels }];
            parts.push(Part { runs, table: (!is_same).then_some(table) });
            inputs.push(image);
            place += image.channels;
        }
        if let ([part], [_]) = (parts.as_slice(), inputs.as_slice()) {
            let form = part.table.clone().map_or(Form::Same, Form::Table);
            return Ok(Piece { form, inputs, output });
        }
        let rank = if output.is_matrix { 2 } else { 4 };
        let axis = self.integer("axis", 1)?;
        let fits = inputs.iter().all(|input| input.is_matrix == output.is_matrix)
            && (axis == 1 || axis == 1 - rank)
            && place == output.channels;
        if fits {
            Ok(Piece { form: Form::Copy(parts), inputs, output })
        } else {
            Err(Outside::Attribute("axis"))
        }
    }

    /// Real numbers that become bytes.
    fn quantise(&mut self) -> Result<Piece, Outside> {
        let input = self.input(0).and_then(|value| self.image_of(value));
        let input =
            input.filter(|input| input.element_type == ElementType::Float).ok_or(Outside::Image(0))?;
        let output = self.bytes()?;
        self.check_whole_tensor()?;
        let scale = self.scale(1, 2, output.element_type)?;
        Ok(Piece { form: Form::Quantise(scale), inputs: vec![input], output })
    }

    /// Bytes that become real numbers.
    fn dequantise(&mut self) -> Result<Piece, Outside> {
        let (input, output) = (self.image(0)?, self.output()?);
        if output.element_type != ElementType::Float {
            return Err(Outside::Outputs);
        }
        self.check_whole_tensor()?;
        let scale = self.scale(1, 2, input.element_type)?;
        Ok(Piece { form: Form::Dequantise(scale), inputs: vec![input], output })
    }

    /// Whether one scale is that of the whole tensor.
    fn check_whole_tensor(&self) -> Result<(), Outside> {
        let is_whole = self.node.attributes.names().all(|name| matches!(name, "axis" | "saturate"));
        if is_whole { Ok(()) } else { Err(Outside::Attribute("block_size")) }
    }

    /// The same numbers: in the same shape, or images of one pixel as a matrix.
    fn same(&mut self) -> Result<Piece, Outside> {
        let (input, output) = (self.image(0)?, self.bytes()?);
        let shape =
            |image: Image| self.known.fact(image.value).and_then(|fact| fact.shape).ok_or(Outside::Sizes);
        let (before, after) = (shape(input)?, shape(output)?);
        let is_one = |size: &crate::facts::size::Size| size.value() == Some(1);
        let pixels = [&before, &after].iter().all(|shape| shape.iter().skip(2).all(is_one));
        let is_same = before == after || pixels && before.get(..2) == after.get(..2);
        if is_same {
            Ok(Piece { form: Form::Same, inputs: vec![input], output })
        } else {
            Err(Outside::Sizes)
        }
    }

    /// Pixels that are repeated.
    fn resize(&mut self) -> Result<Piece, Outside> {
        let (input, output) = (self.image(0)?, self.bytes()?);
        let times = repeated(self.node, self.known)?;
        if input.is_matrix || input.channels != output.channels {
            return Err(Outside::Sizes);
        }
        Ok(Piece { form: Form::Repeat(times), inputs: vec![input], output })
    }
}

fn is_byte(element_type: ElementType) -> bool {
    matches!(element_type, ElementType::Int8 | ElementType::Uint8)
}
