//! What a node is in a region. A node that is not recognized stays outside.

mod channels;
mod convolutions;
mod dynamic;
mod elementwise;
mod normalizations;
mod pixels;

pub(crate) use channels::{recognize_shuffle, repeated};
pub(crate) use convolutions::together;
pub(crate) use dynamic::{Dynamic, DynamicNodes, recognize_dynamic, recognize_integer};
pub(crate) use normalizations::recognize_groups;
pub(crate) use pixels::{Resizing, Sources, Surround};

use crate::{
    facts::Fact,
    onnx::model::{Node, ValueId},
    operators::windows::geometry::{Padding, Settings},
    outside::Outside,
    tensor::{ElementType, Tensor},
};
use adytum_kernels::{activation::Activation, elementwise::Binary, layout::Channels};

/// The facts about values at load.
pub(crate) trait Known {
    /// The facts about a value.
    fn fact(&self, value: ValueId) -> Option<Fact>;
    /// A constant in memory, if the value is one.
    fn constant(&mut self, value: ValueId) -> Option<Tensor>;
}

/// What a step of a region computes, with constants as the model has them.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    Convolution(Convolution),
    /// A convolution of bytes whose scale follows from the numbers of a run.
    Dynamic(Dynamic),
    Maximum {
        settings: Settings,
        window: [usize; 2],
    },
    Mean {
        settings: Settings,
        window: [usize; 2],
        with_pads: bool,
    },
    GlobalMean,
    /// A function of two images of the same size.
    Image(Binary),
    /// A function of an image and an image of one pixel.
    Pixel(Binary),
    /// A factor and a summand for each channel.
    Channels(Scale),
    Activation(Activation),
    /// Channels of each input, side by side.
    Copy(Vec<Vec<Channels>>),
    Repeat([usize; 2]),
    /// Images of another size.
    Resize(Resizing),
    /// Images with pixels around them, or without some of their own.
    Pad(Surround),
    /// Each group of this many channels brought to a mean of 0 and a variance of 1, then scaled.
    Normalization {
        group: usize,
        epsilon: f32,
        scale: Scale,
    },
    /// The first pixel of each rectangle of this many rows and columns.
    Sample([usize; 2]),
    /// Numbers that are rounded to 16-bit floats.
    Narrow,
}

/// A convolution, its weights still in the model.
#[derive(Clone, Debug)]
pub(crate) struct Convolution {
    pub(crate) kind: Kind,
    pub(crate) weights: ValueId,
    /// `[output][input of the group][row][column]`.
    pub(crate) shape: [usize; 4],
    /// The part of the model's window that is left, if that is not all of it.
    pub(crate) part: Option<Part>,
    pub(crate) bias: Option<Vec<f32>>,
    pub(crate) settings: Settings,
    /// What the weights and the bias are to be multiplied with.
    pub(crate) scale: Scale,
    pub(crate) way: Way,
}

/// The part of a window that ever reaches an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The rows and columns of the model's window.
    pub(crate) window: [usize; 2],
    /// The first row and column of the part.
    pub(crate) first: [usize; 2],
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    /// Window by window.
    #[default]
    Direct,
    /// By Winograd's way.
    Winograd,
    /// Window by window, in 16-bit floats.
    Narrow,
}

/// How the channels of a convolution depend on one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All outputs of a group on all of its inputs.
    Dense { groups: usize },
    /// Each output on one input; an input may have several.
    Depthwise,
    /// A transposed one: weights are `[input][output][row][column]`. Outputs that are the strides apart are a
    /// convolution of their own.
    Spread {
        /// Rows and columns of the result that are cut off at the beginning.
        before: [usize; 2],
        /// How many times the stride the result has more rows and columns than the input times the stride.
        more: [isize; 2],
    },
}

impl Kind {
    /// Whether it is a transposed one.
    pub(crate) fn is_spread(self) -> bool {
        matches!(self, Self::Spread { .. })
    }
}

/// A factor and a summand for each channel; without any, ones and zeros.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scale {
    pub(crate) factors: Vec<f64>,
    pub(crate) summands: Vec<f64>,
}

/// A step that a node becomes.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) form: Form,
    /// The images that it takes, and their channels.
    pub(crate) inputs: Vec<(ValueId, usize)>,
    pub(crate) output: ValueId,
    pub(crate) channels: usize,
}

impl Form {
    /// Whether a region is worth having for it: a convolution, or images of another size, which kernels make much faster.
    pub(crate) fn begins(&self) -> bool {
        self.weights().is_some() || matches!(self, Self::Resize(_))
    }

    /// The weights of a convolution.
    pub(crate) fn weights(&self) -> Option<ValueId> {
        match self {
            Self::Convolution(convolution) => Some(convolution.weights),
            Self::Dynamic(dynamic) => Some(dynamic.convolution.weights),
            _ => None,
        }
    }
}

/// What a node is in a region: a step for each of its outputs.
///
/// # Errors
/// Why it is nothing there.
pub(crate) fn recognize(node: &Node, known: &mut dyn Known) -> Result<Vec<Piece>, Outside> {
    if !node.domain.is_empty() {
        return Err(Outside::Operator);
    }
    if !node.graphs.is_empty() {
        return Err(Outside::Graphs);
    }
    // Some operators of older versions have attributes that say how shapes are matched.
    if node.opset < 7 {
        return Err(Outside::Opset);
    }
    let mut reader = Reader { node, known };
    match node.operator.as_str() {
        "Conv" => reader.convolution(),
        "ConvTranspose" => reader.transposed(),
        "BatchNormalization" => reader.normalization(),
        "MaxPool" | "AveragePool" => reader.pool(),
        "GlobalAveragePool" => reader.of_image(0, Form::GlobalMean),
        "InstanceNormalization" | "GroupNormalization" => reader.image_normalization(),
        "Pad" => reader.pad(),
        "ReduceMean" => reader.mean(),
        "Add" | "Sub" | "Mul" | "Div" => reader.binary(),
        "Concat" => reader.concatenation(),
        "Split" => reader.split(),
        "Slice" => reader.slice(),
        "Reshape" => reader.same_shape(),
        "Resize" | "Upsample" => reader.resize(),
        _ => {
            let activation = reader.activation()?;
            reader.of_image(0, Form::Activation(activation))
        }
    }
}

/// The settings of a window over two dimensions.
pub(crate) fn settings_of_images(node: &Node) -> Result<Settings, Outside> {
    check_images(Settings::of(&node.attributes).map_err(|_| Outside::Attribute("window"))?)
}

/// Settings, if they are those of a window over two dimensions.
fn check_images(settings: Settings) -> Result<Settings, Outside> {
    let pads = match &settings.padding {
        Padding::Explicit(pads) => matches!(pads.len(), 0 | 4),
        _ => true,
    };
    let two = |values: &[usize]| matches!(values.len(), 0 | 2);
    match (pads, two(&settings.strides), two(&settings.dilations)) {
        (false, ..) => Err(Outside::Attribute("pads")),
        (_, false, _) => Err(Outside::Attribute("strides")),
        (_, _, false) => Err(Outside::Attribute("dilations")),
        _ => Ok(settings),
    }
}

struct Reader<'a> {
    node: &'a Node,
    known: &'a mut dyn Known,
}

impl Reader<'_> {
    fn input(&self, index: usize) -> Option<ValueId> {
        self.node.inputs.get(index).copied().flatten()
    }

    fn fact(&self, index: usize) -> Option<Fact> {
        self.known.fact(self.input(index)?)
    }

    /// An input that is images: the value, and its channels.
    fn image(&self, index: usize) -> Result<(ValueId, usize), Outside> {
        let find = || {
            let value = self.input(index)?;
            let fact = self.known.fact(value)?;
            // A line is an image of one row.
            let is_image = matches!(fact.rank(), Some(3 | 4));
            if fact.is_constant || fact.element_type() != Some(ElementType::Float) || !is_image {
                return None;
            }
            let channels = usize::try_from(fact.dimension(1)?).ok().filter(|channels| *channels > 0)?;
            Some((value, channels))
        };
        find().ok_or(Outside::Image(index))
    }

    /// Whether the first input has three dimensions: lines, which are images of one row.
    fn is_of_lines(&self) -> bool {
        self.fact(0).and_then(|fact| fact.rank()) == Some(3)
    }

    /// An axis that counts from the first dimension.
    fn axis(&self, axis: i64) -> i64 {
        let rank = if self.is_of_lines() { 3 } else { 4 };
        if axis < 0 { axis + rank } else { axis }
    }

    /// The constant weights of a convolution, and their sizes, with two dimensions of pixels.
    fn weights(&self) -> Result<(ValueId, [usize; 4]), Outside> {
        let find = || {
            let weights = self.input(1)?;
            let fact = self.known.fact(weights)?;
            let mut shape = fact.known_shape()?;
            if self.is_of_lines() && shape.len() == 3 {
                shape.insert(2, 1);
            }
            let shape: [usize; 4] = shape.try_into().ok()?;
            let is_float = fact.is_constant && fact.element_type() == Some(ElementType::Float);
            (is_float && !shape.contains(&0)).then_some((weights, shape))
        };
        find().ok_or(Outside::Constant(1))
    }

    /// The floats of a constant.
    fn floats(&mut self, index: usize) -> Result<Tensor, Outside> {
        let constant = self.input(index).and_then(|value| self.known.constant(value));
        constant.filter(|tensor| tensor.element_type() == ElementType::Float).ok_or(Outside::Constant(index))
    }

    /// The floats of a constant of this shape; `None` if the input is left out.
    fn vector(&mut self, index: usize, length: usize) -> Result<Option<Vec<f32>>, Outside> {
        if self.input(index).is_none() {
            return Ok(None);
        }
        let tensor = self.floats(index)?;
        let values = tensor.values::<f32>().filter(|_| tensor.shape() == [length]);
        values.map(|values| Some(values.to_vec())).ok_or(Outside::Constant(index))
    }

    /// The only output that is taken.
    fn output(&self) -> Result<ValueId, Outside> {
        let mut outputs = self.node.outputs.iter().flatten();
        let first = self.node.outputs.first().copied().flatten();
        let only = outputs.next().copied().filter(|_| outputs.next().is_none());
        only.filter(|output| first == Some(*output)).ok_or(Outside::Outputs)
    }

    fn integer(&self, name: &'static str, default: i64) -> Result<i64, Outside> {
        let found = self.node.attributes.integer(name).map_err(|_| Outside::Attribute(name))?;
        Ok(found.unwrap_or(default))
    }

    fn float(&self, name: &'static str, default: f32) -> Result<f32, Outside> {
        let found = self.node.attributes.float(name).map_err(|_| Outside::Attribute(name))?;
        Ok(found.unwrap_or(default))
    }

    /// A step that takes one image and gives one of as many channels.
    fn of_image(&self, index: usize, form: Form) -> Result<Vec<Piece>, Outside> {
        let (value, channels) = self.image(index)?;
        Ok(vec![Piece { form, inputs: vec![(value, channels)], output: self.output()?, channels }])
    }

    /// Images that are brought to the shape that they have.
    fn same_shape(&self) -> Result<Vec<Piece>, Outside> {
        let shape = |value| self.known.fact(value).and_then(|fact| fact.shape);
        let (before, after) = (self.input(0).and_then(shape), shape(self.output()?));
        if before.is_none() || before != after {
            return Err(Outside::Operator);
        }
        self.of_image(0, Form::Activation(Activation::Identity))
    }

    /// The settings of a window over two dimensions.
    fn settings(&self) -> Result<Settings, Outside> {
        let mut settings = Settings::of(&self.node.attributes).map_err(|_| Outside::Attribute("window"))?;
        if self.is_of_lines() {
            for sizes in
                [&mut settings.strides, &mut settings.dilations].into_iter().chain(&mut settings.kernel)
            {
                if let [size] = sizes.as_slice() {
                    *sizes = vec![1, *size];
                }
            }
            if let Padding::Explicit(pads) = &mut settings.padding
                && let [before, after] = pads.as_slice()
            {
                *pads = vec![0, *before, 0, *after];
            }
        }
        check_images(settings)
    }

    fn pool(&mut self) -> Result<Vec<Piece>, Outside> {
        let settings = self.settings()?;
        let window = settings.kernel.clone().and_then(|kernel| kernel.try_into().ok());
        let window: [usize; 2] = window.ok_or(Outside::Attribute("kernel_shape"))?;
        if self.node.operator == "MaxPool" {
            return self.of_image(0, Form::Maximum { settings, window });
        }
        let with_pads = match self.integer("count_include_pad", 0)? {
            0 => false,
            1 => true,
            _ => return Err(Outside::Attribute("count_include_pad")),
        };
        self.of_image(0, Form::Mean { settings, window, with_pads })
    }

    /// The mean over rows and columns, which stay as dimensions of size 1.
    fn mean(&mut self) -> Result<Vec<Piece>, Outside> {
        let constant;
        let axes = match self.input(1) {
            Some(value) => {
                constant = self.known.constant(value);
                constant.as_ref().and_then(Tensor::values::<i64>)
            }
            None => self.node.attributes.integers("axes").ok().flatten(),
        };
        let mut axes = axes.ok_or(Outside::Attribute("axes"))?.to_vec();
        for axis in &mut axes {
            *axis = self.axis(*axis);
        }
        axes.sort_unstable();
        let all: &[i64] = if self.is_of_lines() { &[2] } else { &[2, 3] };
        if axes != all {
            return Err(Outside::Attribute("axes"));
        }
        if self.integer("keepdims", 1)? != 1 {
            return Err(Outside::Attribute("keepdims"));
        }
        self.of_image(0, Form::GlobalMean)
    }
}
