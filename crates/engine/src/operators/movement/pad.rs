//! Pad and CenterCropPad: dimensions made longer or shorter at their ends.

use crate::{
    operators::{
        Built, Context, Definition, OperatorError, Refusal,
        arguments::{reshaped, single, tensor_of, unfit, values_of},
        axes::{Setting, axes_of, product, sizes_of_input},
        cast::only,
        definition::Builder,
        number::Number,
        types::{for_every_type, for_numbers},
    },
    tensor::{Element, ElementType, Shape, Tensor, strides},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "Pad", pad), ("", "CenterCropPad", center_crop_pad)];

/// The source of the values beyond the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

impl Mode {
    /// By its name; `None` for one that is not known.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "constant" => Self::Constant,
            "reflect" => Self::Reflect,
            "edge" => Self::Edge,
            "wrap" => Self::Wrap,
            _ => return None,
        })
    }
}

/// Where each index of a new dimension is in the old one; `None` for what is put there.
pub(crate) type Places = Vec<Option<usize>>;

fn pad(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let name = definition.attributes.text("mode")?.unwrap_or("constant");
    let mode =
        Mode::parse(name).ok_or_else(|| Refusal::new(format!("the mode {name:?} of Pad is not known")))?;
    let pads = Setting::new(definition, "pads", 1, 11)?.required("pads")?;
    let axes = if definition.opset >= 18 { Setting::input(definition, 3)? } else { Setting::Absent };
    let has_value = definition.opset >= 11 && definition.has_input(2);
    if has_value && definition.tensor_type(2)? != element_type {
        return Err(definition.unsupported_type(2));
    }
    let fixed =
        if definition.opset < 11 { definition.attributes.float("value")?.unwrap_or(0.0) } else { 0.0 };
    for_every_type!(
        element_type,
        T => {
            let fixed = fixed_value::<T>(fixed)?;
            single(definition, element_type, move |arguments, context| {
                let tensor = arguments.tensor(0)?;
                let given = arguments.optional(2).filter(|_| has_value);
                let given = given.map(|value| only::<T>(value, "the value to pad with")).transpose()?;
                let fill = given.as_ref().unwrap_or(&fixed);
                let rank = tensor.rank();
                let pads = pads.need(&arguments)?;
                let axes = match axes.get(&arguments)? {
                    Some(axes) => axes_of(&axes, rank)?,
                    None => (0..rank).collect(),
                };
                if pads.len() != 2 * axes.len() {
                    return unfit(format!("{} pads are given for {} dimensions", pads.len(), axes.len()));
                }
                let mut ends = vec![(0, 0); rank];
                for (place, axis) in axes.iter().enumerate() {
                    ends[*axis] = (pads[place], pads[axes.len() + place]);
                }
                padded::<T>(tensor, &ends, mode, fill, context)
            })
        },
        Err(definition.unsupported_type(0))
    )
}

/// The value of an attribute in the element type. Types without numbers know only none.
fn fixed_value<T: Element>(value: f32) -> Result<T, Refusal> {
    let scalar = for_numbers!(
        T::TYPE,
        N => Tensor::scalar(N::from_f64(value.into())),
        return if value == 0.0 { Ok(T::default()) } else { Err(Refusal::new("the value is not of the type")) }
    );
    only(&scalar, "the value").map_err(|error| Refusal::new(error.to_string()))
}

fn padded<T: Element>(
    tensor: &Tensor,
    ends: &[(i64, i64)],
    mode: Mode,
    fill: &T,
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    let mut shape = Shape::with_capacity(ends.len());
    for (size, (before, after)) in tensor.shape().iter().zip(ends) {
        let sum = *size as i128 + i128::from(*before) + i128::from(*after);
        match usize::try_from(sum) {
            Ok(size) => shape.push(size),
            Err(_) => return unfit(format!("a dimension of {size} can't be padded by {before} and {after}")),
        }
    }
    // The number of places is at most that of the elements, unless there are none.
    if context.reserve(T::TYPE, &shape)? == 0 {
        return tensor_of(shape, Vec::<T>::new());
    }
    let places: Result<Vec<Places>, OperatorError> = tensor
        .shape()
        .iter()
        .zip(&shape)
        .zip(ends)
        .map(|((from, to), (before, after))| places(*from, *to, *before, *after, mode))
        .collect();
    let values = copy_places(values_of::<T>(tensor)?, tensor.shape(), &places?, fill);
    tensor_of(shape, values)
}

/// Negative pads cut first; the others are put around what is left.
///
/// # Errors
/// A dimension without elements has none to put around it.
pub(crate) fn places(
    from: usize,
    to: usize,
    before: i64,
    after: i64,
    mode: Mode,
) -> Result<Places, OperatorError> {
    let cut = |pad: i64| usize::try_from(pad.min(0).unsigned_abs()).unwrap_or(usize::MAX);
    let (first, last) = (cut(before), cut(after));
    let left = from.saturating_sub(first).saturating_sub(last);
    let lead = before.max(0);
    (0..to)
        .map(|index| {
            let index = index as i128 - i128::from(lead);
            let size = left as i128;
            if (0..size).contains(&index) {
                return Ok(Some(first + index as usize));
            }
            if mode == Mode::Constant {
                return Ok(None);
            }
            if left == 0 {
                return unfit("a dimension without elements can only be padded with a constant");
            }
            let place = match mode {
                Mode::Edge | Mode::Constant => index.clamp(0, size - 1),
                Mode::Wrap => index.rem_euclid(size),
                Mode::Reflect => {
                    let period = (2 * (size - 1)).max(1);
                    let place = index.rem_euclid(period);
                    place.min(period - place).min(size - 1)
                }
            };
            Ok(Some(first + place as usize))
        })
        .collect()
}

/// Copies elements by the places of their indices along each dimension.
pub(crate) fn copy_places<T: Element>(source: &[T], shape: &[usize], places: &[Places], fill: &T) -> Vec<T> {
    // Dimensions at the end that stay as they are make blocks.
    let same = |(size, places): (&usize, &Places)| {
        places.len() == *size && places.iter().enumerate().all(|(index, place)| *place == Some(index))
    };
    let kept = shape.iter().zip(places).rev().take_while(|pair| same(*pair)).count();
    let moved = shape.len() - kept;
    let block = product(&shape[moved..]);
    let steps = strides(shape);
    let mut values = Vec::new();
    let mut position = vec![0; moved];
    loop {
        let start = (0..moved)
            .try_fold(0, |sum, axis| places[axis][position[axis]].map(|place| sum + place * steps[axis]));
        match start {
            Some(start) => values.extend_from_slice(&source[start..start + block]),
            None => values.extend(std::iter::repeat_n(fill.clone(), block)),
        }
        let mut axis = moved;
        loop {
            if axis == 0 {
                return values;
            }
            axis -= 1;
            position[axis] += 1;
            if position[axis] < places[axis].len() {
                break;
            }
            position[axis] = 0;
        }
    }
}

/// The middle of a tensor, or a tensor in the middle of zeros.
fn center_crop_pad(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let sizes = Setting::input(definition, 1)?.required("the shape")?;
    let axes = definition.attributes.integers("axes")?.map(<[i64]>::to_vec);
    if element_type == ElementType::Text {
        return Err(definition.unsupported_type(0));
    }
    for_every_type!(
        element_type,
        T => single(definition, element_type, move |mut arguments, context| {
            let sizes = sizes_of_input(&sizes.need(&arguments)?, "a size")?;
            let tensor = arguments.take(0)?;
            let axes = match &axes {
                Some(axes) => axes_of(axes, tensor.rank())?,
                None => (0..tensor.rank()).collect(),
            };
            if axes.len() != sizes.len() {
                return unfit(format!("{} sizes are given for {} dimensions", sizes.len(), axes.len()));
            }
            let mut ends = vec![(0, 0); tensor.rank()];
            for (axis, size) in axes.into_iter().zip(sizes) {
                let difference = size as i64 - tensor.shape()[axis] as i64;
                // The odd one is cut or put at the end.
                let before = difference / 2;
                ends[axis] = (before, difference - before);
            }
            if ends.iter().all(|end| *end == (0, 0)) {
                let shape = tensor.shape().to_vec();
                return reshaped(tensor, shape);
            }
            padded::<T>(&tensor, &ends, Mode::Constant, &T::default(), context)
        }),
        Err(definition.unsupported_type(0))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_numpys_pad() {
        let of = |from, before, after, mode| {
            let to = (from as i64 + before + after) as usize;
            places(from, to, before, after, mode)
                .unwrap()
                .into_iter()
                .map(|place| place.map_or(-1, |place| place as i64))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(3, 2, 2, Mode::Reflect), [2, 1, 0, 1, 2, 1, 0]);
        assert_eq!(of(3, 4, 2, Mode::Wrap), [2, 0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(of(3, -1, 2, Mode::Edge), [1, 2, 2, 2]);
        assert_eq!(of(3, 1, -2, Mode::Constant), [-1, 0]);
        assert_eq!(of(1, 2, 0, Mode::Reflect), [0, 0, 0]);
    }
}
