//! ConvTranspose of any number of dimensions.

use super::{
    convolution::groups,
    fold::add_columns,
    geometry::{Padding, Settings, Window, extent, sizes},
};
use crate::{
    operators::{
        Built, Context, Definition, OperatorError, Refusal,
        algebra::kernel::add_product,
        arguments::{single, tensor_of, unfit, values_of},
        axes::product,
        definition::Builder,
        elementwise::arithmetic::common_type,
        layout::View,
        number::Number,
        types::for_reals,
        widen::in_float,
    },
    tensor::{Shape, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("", "ConvTranspose", transposed)];

/// Elements of the columns that are made at once.
const TILE: usize = 1 << 18;

/// The settings that only a transposed convolution has.
#[derive(Clone, Debug)]
struct Extra {
    /// Sizes of the result, if the node says them.
    output: Option<Shape>,
    /// Elements to add at the ends of the result.
    added: Shape,
    groups: usize,
}

fn transposed(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = common_type(definition)?;
        let settings = Settings::new(definition)?;
        let extra = Extra {
            output: sizes(definition.attributes, "output_shape", 0)?,
            added: sizes(definition.attributes, "output_padding", 0)?.unwrap_or_default(),
            groups: groups(definition)?,
        };
        if definition.has_input(2) && definition.tensor_type(2)? != element_type {
            return Err(definition.unsupported_type(2));
        }
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let (images, kernels) = (arguments.tensor(0)?, arguments.tensor(1)?);
                spread::<T>(images, kernels, arguments.optional_values(2)?, &settings, &extra, context)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

/// The window that moves over the result: its places are the input's elements.
fn window_over_result(
    settings: &Settings,
    extra: &Extra,
    input: &[usize],
    kernel: &[usize],
) -> Result<Window, OperatorError> {
    let rank = input.len();
    if kernel.len() != rank || settings.kernel.as_ref().is_some_and(|named| named != kernel) {
        return unfit(format!("kernel_shape is {:?}, but the kernels have {kernel:?}", settings.kernel));
    }
    let strides = Settings::filled(&settings.strides, rank, "strides")?;
    let dilations = Settings::filled(&settings.dilations, rank, "dilations")?;
    let added = if extra.added.is_empty() { vec![0; rank] } else { extra.added.clone() };
    let named = match &extra.output {
        // With the batch and the channels before them, as some exporters write.
        Some(output) if output.len() == rank + 2 => Some(&output[2..]),
        Some(output) => Some(output.as_slice()),
        None => None,
    };
    if added.len() != rank || named.is_some_and(|named| named.len() != rank) {
        return unfit(format!("output_padding or output_shape does not fit {rank} dimensions"));
    }
    let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
    if let Padding::Explicit(pads) = &settings.padding
        && !pads.is_empty()
    {
        if pads.len() != 2 * rank {
            return unfit(format!("{} pads are given for {rank} dimensions", pads.len()));
        }
        before.copy_from_slice(&pads[..rank]);
        after.copy_from_slice(&pads[rank..]);
    }
    let mut image = Shape::with_capacity(rank);
    for axis in 0..rank {
        let full = input[axis]
            .saturating_sub(1)
            .checked_mul(strides[axis])
            .and_then(|size| size.checked_add(extent(kernel[axis], dilations[axis]).ok()?))
            .and_then(|size| size.checked_add(added[axis]))
            .ok_or_else(|| OperatorError::TooLarge { shape: input.to_vec() })?;
        let same = matches!(settings.padding, Padding::SameUpper | Padding::SameLower);
        let wanted = match named {
            Some(named) => Some(named[axis]),
            None if same => Some(input[axis].saturating_mul(strides[axis])),
            None => None,
        };
        image.push(match wanted {
            Some(wanted) => {
                let total = full.saturating_sub(wanted);
                let half = total / 2;
                before[axis] = if settings.padding == Padding::SameUpper { half } else { total - half };
                after[axis] = total - before[axis];
                wanted
            }
            None => match full.checked_sub(before[axis]).and_then(|size| size.checked_sub(after[axis])) {
                Some(size) => size,
                None => return unfit(format!("the pads take more than the {full} elements of a dimension")),
            },
        });
    }
    Ok(Window { image, output: input.to_vec(), kernel: kernel.to_vec(), strides, dilations, before, after })
}

fn spread<T: Number>(
    images: &Tensor,
    kernels: &Tensor,
    bias: Option<&[T]>,
    settings: &Settings,
    extra: &Extra,
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    let groups = extra.groups;
    let ([batch, channels, input @ ..], [depth, filters, kernel @ ..]) = (images.shape(), kernels.shape())
    else {
        return unfit(format!("images have the shape {:?}, kernels {:?}", images.shape(), kernels.shape()));
    };
    let (batch, channels, per_group) = (*batch, *channels, *filters);
    if input.is_empty() || *depth != channels || channels % groups != 0 {
        return unfit(format!(
            "kernels of the shape {:?} in {groups} groups do not fit images of the shape {:?}",
            kernels.shape(),
            images.shape()
        ));
    }
    let window = window_over_result(settings, extra, input, kernel)?;
    let too_large = || OperatorError::TooLarge { shape: kernels.shape().to_vec() };
    let filters = per_group.checked_mul(groups).ok_or_else(too_large)?;
    if bias.is_some_and(|bias| bias.len() != filters) {
        return unfit(format!("the bias does not have an element for each of {filters} kernels"));
    }
    let mut shape = vec![batch, filters];
    shape.extend(&window.image);
    let count = context.reserve(T::TYPE, &shape)?;
    let mut result = vec![T::ZERO; count];
    let size = product(&window.image);
    if count == 0 {
        return tensor_of(shape, result);
    }
    if let Some(bias) = bias {
        for (number, row) in result.chunks_exact_mut(size).enumerate() {
            row.fill(bias[number % filters]);
        }
    }
    let places = product(input);
    let rows = per_group * product(kernel);
    let depth = channels / groups;
    if places == 0 || depth == 0 {
        return tensor_of(shape, result);
    }
    // Each group's kernels with a row for every element of the window.
    let turned = View::transposed(&[groups, depth, rows], &[0, 2, 1]);
    let weights = turned.copy_values::<T>(values_of(kernels)?, context)?;
    let pixels = values_of::<T>(images)?;
    let tile = (TILE / rows.max(1)).max(64).min(places);
    context.reserve(T::TYPE, &[rows + depth, tile])?;
    let (mut columns, mut part) = (vec![T::ZERO; rows * tile], vec![T::ZERO; depth * tile]);
    for image in 0..batch {
        for group in 0..groups {
            let weights = &weights[group * rows * depth..][..rows * depth];
            let pixels = &pixels[(image * channels + group * depth) * places..][..depth * places];
            let target = &mut result[(image * filters + group * per_group) * size..][..per_group * size];
            for start in (0..places).step_by(tile) {
                context.check()?;
                let width = tile.min(places - start);
                for (row, part) in part[..depth * width].chunks_exact_mut(width).enumerate() {
                    part.copy_from_slice(&pixels[row * places + start..][..width]);
                }
                let columns = &mut columns[..rows * width];
                columns.fill(T::ZERO);
                add_product(weights, &part[..depth * width], columns, rows, depth, width);
                add_columns(&window, columns, per_group, start, width, target);
            }
        }
    }
    tensor_of(shape, result)
}
