//! `ConvInteger` with constant weights that were put in the order of the kernels when the model was loaded.

use super::{byte_convolution::Packed, schedule::moved};
use crate::{
    operators::{
        Context, Operator, OperatorError,
        share::{share, unfit},
        windows::geometry::Settings,
    },
    tensor::{ElementType, Elements, Tensor, Value},
};
use adytum_kernels::{
    buffer::Shared,
    integer::{
        Images, Instructions,
        convolution::Convolution,
        depthwise::Depthwise,
        layout::{self, Entering},
        memory::Bytes,
        target::Target,
    },
    planes::{Border, Planes},
};

/// A convolution of bytes whose results are the sums. Inputs: the images, their zero point.
#[derive(Debug)]
pub(crate) struct IntegerConvolution {
    /// Their summands are those of a zero point of 1.
    pub(crate) weights: Packed,
    pub(crate) settings: Settings,
    pub(crate) instructions: Instructions,
    /// Channels of the images.
    pub(crate) inputs: usize,
    /// Channels of the sums.
    pub(crate) outputs: usize,
}

/// Bytes that a run has charged, until they are given back.
struct Charged<'a>(&'a Context<'a>, usize);

impl<'a> Charged<'a> {
    fn new(context: &'a Context<'a>, bytes: usize) -> Result<Self, OperatorError> {
        context.budget().charge(bytes)?;
        Ok(Self(context, bytes))
    }
}

impl Drop for Charged<'_> {
    fn drop(&mut self) {
        self.0.budget().release(self.1);
    }
}

/// The byte of a zero point, which is 128 more for images of int8.
fn zero_point(tensor: Option<&Tensor>) -> Result<Option<u8>, OperatorError> {
    let Some(tensor) = tensor else { return Ok(None) };
    match (tensor.values::<u8>(), tensor.values::<i8>()) {
        (Some([value]), _) => Ok(Some(*value)),
        (_, Some([value])) => Ok(Some(value.cast_unsigned() ^ 0x80)),
        _ => Err(OperatorError::inputs(format!(
            "the zero point has the shape {:?}; one number of the type of the images is expected",
            tensor.shape()
        ))),
    }
}

impl Operator for IntegerConvolution {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut tensors = inputs.into_iter().map(|input| input.and_then(Value::into_tensor));
        let images = tensors.next().flatten();
        let images = images.ok_or_else(|| OperatorError::inputs("the images are missing"))?;
        let zero = zero_point(tensors.next().flatten().as_ref())?;
        let &[count, channels, height, width] = images.shape() else {
            return Err(OperatorError::inputs(format!(
                "images of the shape {:?} were given; 4 dimensions are expected",
                images.shape()
            )));
        };
        if channels != self.inputs {
            return Err(OperatorError::inputs(format!(
                "images of {channels} channels were given; {} are expected",
                self.inputs
            )));
        }
        let (entering, none) = match images.elements() {
            Elements::Int8(values) => (Entering::Signed(values), 0x80),
            Elements::Uint8(values) => (Entering::Unsigned(values), 0),
            _ => return Err(OperatorError::inputs("the images are not of 8-bit integers")),
        };
        let zero = zero.unwrap_or(none);
        let window = match &self.weights {
            Packed::Filters(filters) => [filters.rows, filters.columns],
            Packed::Windows(windows) => [windows.rows, windows.columns],
        };
        let (steps, [_, rows, columns], border) =
            moved(count, &self.settings.window(&[height, width], &window)?)?;
        let planes = Planes::new(channels, count, height, width, border.unwrap_or_default());
        let output = Planes::new(self.outputs, count, rows, columns, Border::default());
        let too_large = |planes: Planes| OperatorError::TooLarge {
            shape: vec![planes.images, planes.blocks * planes.lanes, planes.height, planes.width],
        };
        let bytes = planes.checked_len().ok_or_else(|| too_large(planes))?;
        let sums = output.checked_len().ok_or_else(|| too_large(output))?;
        let threads = context.threads().map_or(1, crate::threads::Threads::count);
        let scratch = match &self.weights {
            Packed::Filters(_) => 0,
            Packed::Windows(windows) => windows.scratch(&steps, columns).saturating_mul(threads),
        };
        let needed = bytes.saturating_add(sums.saturating_mul(4));
        let _charged = Charged::new(context, needed.saturating_add(scratch))?;
        let shape = vec![count, self.outputs, rows, columns];
        let mut result = vec![0_i32; context.reserve(ElementType::Int32, &shape)?];
        let mut memory = Bytes::zeros(bytes);
        layout::fill_border(planes, zero, &mut memory).map_err(unfit)?;
        share(context, Shared::new(&mut memory), 8 * bytes, |buffer, part| {
            layout::enter(self.instructions, entering, channels, planes, buffer, part)
        })?;
        let mut blocks = vec![0_i32; sums];
        let input = Images { planes, values: &memory };
        // The summands of a zero point of 1, as often as this one is.
        let times = i32::from(zero);
        let bias = |ones: &[i32]| -> Vec<i32> { ones.iter().map(|one| one.wrapping_mul(times)).collect() };
        match &self.weights {
            Packed::Filters(filters) => {
                let bias = bias(filters.bias());
                let job = Convolution { filters, steps, input, bias: Some(&bias), output };
                let products = filters.inputs * filters.rows * filters.columns;
                share(context, Shared::new(&mut blocks), sums.saturating_mul(products) / 3, |sums, part| {
                    job.run(&Target::Sums(sums), part)
                })?;
            }
            Packed::Windows(windows) => {
                let bias = bias(windows.bias());
                let job = Depthwise { windows, steps, input, bias: Some(&bias), output };
                let products = windows.rows * windows.columns;
                share(context, Shared::new(&mut blocks), sums.saturating_mul(products), |sums, part| {
                    job.run(&Target::Sums(sums), part)
                })?;
            }
        }
        share(context, Shared::new(&mut result), 8 * sums, |buffer, part| {
            layout::leave_sums(&blocks, output, self.outputs, buffer, part)
        })?;
        let wrong = || OperatorError::Engine { reason: "an output of another size".to_owned() };
        Ok(vec![Value::Tensor(Tensor::from_vec(shape, result).ok_or_else(wrong)?)])
    }
}
