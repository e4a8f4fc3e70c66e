//! Transpose, DepthToSpace, SpaceToDepth: the dimensions in another order.

use adytum_kernels::buffer::Shared;

use crate::{
    operators::{
        Built, Definition, OperatorError, Refusal,
        arguments::{reshaped, single, tensor_of, unfit},
        axes::product,
        definition::Builder,
        layout::View,
        share::share,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "Transpose", transpose),
    ("", "DepthToSpace", depth_to_space),
    ("", "SpaceToDepth", space_to_depth),
];

fn transpose(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let order = match definition.attributes.integers("perm")? {
        None => None,
        Some(order) => {
            let axes: Option<Vec<usize>> = order.iter().map(|axis| usize::try_from(*axis).ok()).collect();
            let sorted = axes.clone().map(|mut axes| {
                axes.sort_unstable();
                axes
            });
            if !sorted.is_some_and(|sorted| sorted.iter().enumerate().all(|(place, axis)| place == *axis)) {
                return Err(Refusal::new(format!("{order:?} is not an order of dimensions")));
            }
            axes
        }
    };
    single(definition, element_type, move |mut arguments, context| {
        let tensor = arguments.take(0)?;
        let rank = tensor.rank();
        let order = order.clone().unwrap_or_else(|| (0..rank).rev().collect());
        if order.len() != rank {
            return unfit(format!("the order {order:?} does not fit the shape {:?}", tensor.shape()));
        }
        // Where only dimensions of 1 move, the elements stay.
        let moved = order.iter().filter(|axis| tensor.shape()[**axis] != 1);
        if moved.is_sorted() {
            let shape: Vec<usize> = order.iter().map(|axis| tensor.shape()[*axis]).collect();
            return reshaped(tensor, shape);
        }
        if let (Some(values), Some(sizes)) = (tensor.values::<f32>(), matrices(tensor.shape(), &order)) {
            let shape: Vec<usize> = order.iter().map(|axis| tensor.shape()[*axis]).collect();
            let mut result = vec![0.0; context.reserve(ElementType::Float, &shape)?];
            share(context, Shared::new(&mut result), 8 * values.len(), |output, part| {
                adytum_kernels::transpose::transpose(values, sizes, output, part)
            })?;
            return tensor_of(shape, result);
        }
        View::transposed(tensor.shape(), &order).copy(&tensor, context)
    })
}

/// The matrices whose rows and columns an order of dimensions exchanges: how many, their rows, their columns. `None`
/// if it does something else.
fn matrices(shape: &[usize], order: &[usize]) -> Option<[usize; 3]> {
    // The dimensions that stay in front, and where the rest is cut in two.
    let ahead = order.iter().enumerate().take_while(|(place, axis)| place == *axis).count();
    let (first, rest) = order.get(ahead..)?.split_first()?;
    let turned = rest.len() + 1 - (first - ahead);
    let expected = (*first..order.len()).chain(ahead..*first);
    let is_turned = order[ahead..].iter().copied().eq(expected);
    let of = |range: std::ops::Range<usize>| shape.get(range).map(product);
    let sizes = [of(0..ahead)?, of(ahead..*first)?, of(*first..*first + turned)?];
    (is_turned && sizes.iter().all(|size| *size > 0)).then_some(sizes)
}

fn block_size(definition: &Definition<'_>) -> Result<usize, Refusal> {
    let size = definition.attributes.integer("blocksize")?.unwrap_or(0);
    usize::try_from(size)
        .ok()
        .filter(|size| *size > 0 && *size < 1 << 24)
        .ok_or_else(|| Refusal::new(format!("the blocksize is {size}; expected 1 or more")))
}

fn four(tensor: &Tensor) -> Result<[usize; 4], OperatorError> {
    tensor.shape().try_into().or_else(|_| {
        unfit(format!("the shape is {:?}; expected images: batch, channels, height, width", tensor.shape()))
    })
}

fn depth_to_space(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let block = block_size(definition)?;
    let columns_first = match definition.attributes.text("mode")? {
        None | Some("DCR") => false,
        Some("CRD") => true,
        Some(other) => return Err(Refusal::new(format!("the mode {other:?} is not DCR or CRD"))),
    };
    single(definition, element_type, move |mut arguments, context| {
        let tensor = arguments.take(0)?;
        let [batch, channels, height, width] = four(&tensor)?;
        if channels % (block * block) != 0 {
            return unfit(format!("{channels} channels are not blocks of {block} by {block}"));
        }
        let depth = channels / (block * block);
        let (split, order): (_, [usize; 6]) = if columns_first {
            ([batch, depth, block, block, height, width], [0, 1, 4, 2, 5, 3])
        } else {
            ([batch, block, block, depth, height, width], [0, 3, 4, 1, 5, 2])
        };
        let moved = View::transposed(&split, &order).copy(&tensor, context)?;
        reshaped(moved, [batch, depth, height * block, width * block])
    })
}

fn space_to_depth(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let block = block_size(definition)?;
    let columns_first = match definition.attributes.text("mode")? {
        None | Some("DCR") => false,
        Some("CRD") => true,
        Some(other) => return Err(Refusal::new(format!("the mode {other:?} is not DCR or CRD"))),
    };
    single(definition, element_type, move |mut arguments, context| {
        let tensor = arguments.take(0)?;
        let [batch, channels, height, width] = four(&tensor)?;
        if height % block != 0 || width % block != 0 {
            return unfit(format!("images of {height} by {width} are not blocks of {block} by {block}"));
        }
        let split = [batch, channels, height / block, block, width / block, block];
        let order = if columns_first { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
        let moved = View::transposed(&split, &order).copy(&tensor, context)?;
        reshaped(moved, [batch, channels * block * block, height / block, width / block])
    })
}
