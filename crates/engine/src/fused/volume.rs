//! A convolution of volumes: for each depth of its window, a convolution of images, and the sum of those.

use std::fmt;

use adytum_kernels::{
    BLOCK, Part,
    activation::Activation,
    buffer::{Buffer, Shared},
    convolution::{Convolution, Images, Steps},
    filters::Filters,
    layout,
    planes::{Border, Planes},
};

use crate::{
    operators::{
        Arguments, Context, Operator, OperatorError,
        arguments::{tensor_of, unfit, values_of},
        share::share,
        windows::geometry::{Settings, Window},
    },
    tensor::{ElementType, Value},
};

/// A convolution of volumes `[entry][channel][depth][row][column]`.
pub(crate) struct VolumeConvolution {
    /// The weights of each depth of the window, without a bias.
    pub(crate) slices: Vec<Filters>,
    /// A number for each output channel, in whole blocks.
    pub(crate) bias: Vec<f32>,
    pub(crate) settings: Settings,
    /// The channels of the input and of the output.
    pub(crate) channels: [usize; 2],
}

impl fmt::Debug for VolumeConvolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VolumeConvolution").field("channels", &self.channels).finish_non_exhaustive()
    }
}

/// Slices of a volume in blocks of channels, each slice as an image with its border.
#[derive(Clone, Copy)]
struct Slices {
    planes: Planes,
    depth: usize,
}

impl Slices {
    fn new(channels: usize, [depth, height, width]: [usize; 3], border: Border) -> Self {
        let planes = Planes { among: depth, ..Planes::new(channels, 1, height, width, border) };
        Self { planes, depth }
    }

    /// The floats of all slices; an error if there are too many.
    fn len(&self) -> Result<usize, OperatorError> {
        let Planes { height, width, .. } = self.planes;
        let shape = vec![self.depth, height, width];
        self.planes.checked_len().ok_or(OperatorError::TooLarge { shape })
    }

    /// All rows of all slices as one image without a border.
    fn tall(&self) -> Planes {
        let Planes { height, width, border, .. } = self.planes;
        Planes {
            images: 1,
            among: 1,
            height: self.depth * (border.top + height + border.bottom),
            width: border.left + width + border.right,
            border: Border::default(),
            ..self.planes
        }
    }
}

impl Operator for VolumeConvolution {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let arguments = Arguments::new(inputs);
        let tensor = arguments.tensor(0)?;
        let [channels, outputs] = self.channels;
        let (&[batch, found, depth, height, width], Some(first)) = (tensor.shape(), self.slices.first())
        else {
            return unfit(format!(
                "volumes of the shape {:?} were given; expected 5 dimensions",
                tensor.shape()
            ));
        };
        if found != channels {
            return unfit(format!("volumes of {found} channels were given; expected {channels}"));
        }
        let kernel = [self.slices.len(), first.rows, first.columns];
        let window = self.settings.window(&[depth, height, width], &kernel)?;
        let &[far, rows, columns] = window.output.as_slice() else {
            return unfit("a window that is not one of three dimensions");
        };
        let shape = vec![batch, outputs, far, rows, columns];
        let count = context.reserve(ElementType::Float, &shape)?;
        let mut result = vec![0.0; count];
        let input = Slices::new(channels, [depth, height, width], border(&window));
        let output = Slices::new(outputs, [far, rows, columns], Border::default());
        let sizes = [input.len()?, output.len()?];
        context.reserve(ElementType::Float, &[2 * sizes[0] + 2 * sizes[1]])?;
        let values = values_of::<f32>(tensor)?;
        let job = Job { convolution: self, window: &window, input, output, context };
        if count > 0 && !values.is_empty() {
            let mut memory = [Buffer::zeros(sizes[0]), Buffer::zeros(sizes[1]), Buffer::zeros(sizes[1])];
            for (values, result) in
                values.chunks_exact(values.len() / batch).zip(result.chunks_exact_mut(count / batch))
            {
                job.entry(values, &mut memory, result)?;
            }
        }
        Ok(vec![Value::Tensor(tensor_of(shape, result)?)])
    }
}

/// The border that the windows of a slice read.
fn border(window: &Window) -> Border {
    let after = |axis: usize| {
        let last = window.output[axis].saturating_sub(1) * window.strides[axis]
            + (window.kernel[axis] - 1) * window.dilations[axis]
            + 1;
        last.saturating_sub(window.before[axis] + window.image[axis])
    };
    Border { top: window.before[1], left: window.before[2], bottom: after(1), right: after(2) }
}

/// A run.
struct Job<'a> {
    convolution: &'a VolumeConvolution,
    window: &'a Window,
    input: Slices,
    output: Slices,
    context: &'a Context<'a>,
}

impl Job<'_> {
    /// The convolution of one volume. `memory` has room for the input and, twice, for the output.
    fn entry(
        &self,
        values: &[f32],
        memory: &mut [Buffer; 3],
        result: &mut [f32],
    ) -> Result<(), OperatorError> {
        let [channels, outputs] = self.convolution.channels;
        let padded = self.padded(values);
        let (tall, [input, one, other]) = (self.input.tall(), memory);
        let cost = 8 * tall.len();
        share(self.context, Shared::new(input), cost, |buffer, part| {
            layout::enter(&padded, channels, tall, buffer, part)
        })?;
        for far in 0..self.output.depth {
            self.context.check()?;
            self.slice(far, input, [one, other])?;
        }
        let images = Images { planes: self.output.tall(), values: one };
        let cost = 8 * result.len();
        share(self.context, Shared::new(result), cost, |buffer, part| {
            layout::leave(images, outputs, buffer, part)
        })
    }

    /// The rows of a volume with zeros around those of each slice.
    fn padded(&self, values: &[f32]) -> Vec<f32> {
        let Planes { height, width, border, .. } = self.input.planes;
        let wide = border.left + width + border.right;
        let slice = (border.top + height + border.bottom) * wide;
        let mut padded = vec![0.0; values.len() / (height * width) * slice];
        for (to, from) in padded.chunks_exact_mut(slice).zip(values.chunks_exact(height * width)) {
            let rows = to.chunks_exact_mut(wide).skip(border.top);
            for (to, from) in rows.zip(from.chunks_exact(width)) {
                to[border.left..border.left + width].copy_from_slice(from);
            }
        }
        padded
    }

    /// A slice of the output, in the first of two buffers.
    fn slice(&self, far: usize, input: &[f32], buffers: [&mut Buffer; 2]) -> Result<(), OperatorError> {
        let VolumeConvolution { slices, bias, .. } = self.convolution;
        let window = self.window;
        let (planes, step) = (self.output.planes, self.output.planes.image());
        let places = slices.iter().enumerate().filter_map(|(number, filters)| {
            let place = far * window.strides[0] + number * window.dilations[0];
            let place = place.checked_sub(window.before[0]).filter(|place| *place < self.input.depth)?;
            Some((place, filters))
        });
        let places: Vec<(usize, &Filters)> = places.collect();
        let [mut to, mut from] = buffers;
        if places.len() % 2 == 1 {
            (to, from) = (from, to);
        }
        // The sum begins with the bias. Each convolution adds what the one before it left.
        for (block, bias) in bias.chunks_exact(BLOCK).enumerate() {
            let start = block * planes.block() + far * step;
            let pixels = to.get_mut(start..start + step).unwrap_or_default();
            pixels.chunks_exact_mut(BLOCK).for_each(|pixel| pixel.copy_from_slice(bias));
        }
        let steps = Steps {
            strides: [window.strides[1], window.strides[2]],
            dilations: [window.dilations[1], window.dilations[2]],
            before: [window.before[1], window.before[2]],
        };
        for (place, filters) in places {
            (to, from) = (from, to);
            let values = input.get(place * self.input.planes.image()..).unwrap_or_default();
            let job = Convolution {
                filters,
                steps,
                input: Images { planes: self.input.planes, values },
                residual: Some(Images { planes, values: from.get(far * step..).unwrap_or_default() }),
                output: planes,
                activation: Activation::Identity,
                after: Activation::Identity,
                spread: None,
            };
            let target = Shared::new(to.get_mut(far * step..).unwrap_or_default());
            let weights = filters.inputs * filters.rows * filters.columns * filters.outputs * filters.groups;
            let cost = weights.saturating_mul(planes.height * planes.width);
            share(self.context, target, cost, |output, part: Part| job.run(output, part))?;
        }
        Ok(())
    }
}
