//! Resize and Upsample.

use super::taps::{Coordinates, Dimension, Mode, Rounding};
use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        arguments::{reshaped, single, tensor_of, unfit, values_of},
        axes::{around, axes_of, size_of_input},
        cast::as_doubles,
        movement::pad::{Places, copy_places},
        number::{Number, Real},
        registry::Builder,
        types::{for_every_type, for_numbers, for_reals},
        widen::in_float,
    },
    tensor::{Element, ElementType, Shape, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("", "Resize", resize), ("", "Upsample", resize)];

/// What is done where the aspect ratio is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aspect {
    Stretch,
    NotLarger,
    NotSmaller,
}

/// Where the node has its scales, sizes and parts.
#[derive(Clone, Debug)]
enum Sizes {
    /// As an attribute: Upsample below opset 9.
    Fixed(Vec<f32>),
    /// As inputs: the index of the scales, of the sizes and of the region.
    Inputs { scales: Option<usize>, sizes: Option<usize>, region: Option<usize> },
}

/// The settings of a node.
#[derive(Clone, Debug)]
struct Plan {
    mode: Mode,
    coordinates: Coordinates,
    sizes: Sizes,
    axes: Option<Vec<i64>>,
    aspect: Aspect,
    antialias: bool,
    exclude_outside: bool,
    extrapolation: f32,
}

impl Plan {
    fn new(definition: &Definition<'_>) -> Result<Self, Refusal> {
        let attributes = definition.attributes;
        let name = attributes.text("mode")?.unwrap_or("nearest");
        let modern = definition.operator == "Resize" && definition.opset >= 11;
        let rounding = match attributes.text("nearest_mode")? {
            Some(rounding) => Rounding::parse(rounding)?,
            None if modern => Rounding::PreferFloor,
            None => Rounding::ByScale,
        };
        let coordinates = match attributes.text("coordinate_transformation_mode")? {
            Some(coordinates) => Coordinates::parse(coordinates)?,
            None if modern => Coordinates::HalfPixel,
            None => Coordinates::Asymmetric,
        };
        let mode = match name {
            "nearest" => Mode::Nearest(rounding),
            "linear" | "bilinear" => Mode::Linear,
            "cubic" => Mode::Cubic(attributes.float("cubic_coeff_a")?.unwrap_or(-0.75)),
            other => return Err(Refusal::new(format!("the mode {other:?} of resizing is not known"))),
        };
        let aspect = match attributes.text("keep_aspect_ratio_policy")? {
            None | Some("stretch") => Aspect::Stretch,
            Some("not_larger") => Aspect::NotLarger,
            Some("not_smaller") => Aspect::NotSmaller,
            Some(other) => return Err(Refusal::new(format!("the policy {other:?} is not known"))),
        };
        let input = |index: usize| definition.has_input(index).then_some(index);
        let sizes = if let Some(scales) = attributes.floats("scales")? {
            Sizes::Fixed(scales.to_vec())
        } else if modern {
            Sizes::Inputs { scales: input(2), sizes: input(3), region: input(1) }
        } else {
            Sizes::Inputs { scales: input(1), sizes: None, region: None }
        };
        if matches!(sizes, Sizes::Inputs { scales: None, sizes: None, .. }) {
            return Err(Refusal::new("neither scales nor sizes are given"));
        }
        Ok(Self {
            mode,
            coordinates,
            sizes,
            axes: attributes.integers("axes")?.map(<[i64]>::to_vec),
            aspect,
            antialias: attributes.flag("antialias", false)?,
            exclude_outside: attributes.flag("exclude_outside", false)?,
            extrapolation: attributes.float("extrapolation_value")?.unwrap_or(0.0),
        })
    }

    /// The dimensions of a tensor, with their new sizes.
    fn dimensions(&self, shape: &[usize], arguments: &Arguments) -> Result<Vec<Dimension>, OperatorError> {
        let rank = shape.len();
        let axes = match &self.axes {
            Some(axes) => axes_of(axes, rank)?,
            None => (0..rank).collect(),
        };
        let mut dimensions: Vec<Dimension> = shape
            .iter()
            .map(|size| Dimension {
                from: *size,
                to: *size,
                scale: 1.0,
                exact: *size as f32,
                part: (0.0, 1.0),
            })
            .collect();
        let (scales, sizes, parts) = match &self.sizes {
            Sizes::Fixed(fixed) => (Some(fixed.clone()), None, None),
            Sizes::Inputs { scales: at, sizes: of, region } => {
                let floats = |index: &usize| -> Result<Vec<f32>, OperatorError> {
                    Ok(as_doubles(arguments.tensor(*index)?)?.into_iter().map(|value| value as f32).collect())
                };
                // An empty list is the same as none.
                let scales = at.as_ref().map(floats).transpose()?.filter(|scales| !scales.is_empty());
                let parts = region.as_ref().map(floats).transpose()?.filter(|parts| !parts.is_empty());
                let sizes = match of {
                    Some(index) => arguments.integers(*index)?.filter(|sizes| !sizes.is_empty()),
                    None => None,
                };
                (scales, sizes, parts)
            }
        };
        if self.coordinates == Coordinates::CropAndResize {
            let Some(parts) = parts.filter(|parts| parts.len() == 2 * axes.len()) else {
                return unfit(format!("the region has not 2 numbers for each of {} dimensions", axes.len()));
            };
            for (place, axis) in axes.iter().enumerate() {
                dimensions[*axis].part = (parts[place], parts[place + axes.len()]);
            }
        }
        match (scales, sizes) {
            (_, Some(sizes)) => self.by_sizes(&mut dimensions, &axes, &sizes)?,
            (Some(scales), None) => self.by_scales(&mut dimensions, &axes, &scales)?,
            (None, None) => return unfit("neither scales nor sizes are given"),
        }
        if let Some(dimension) = dimensions.iter().find(|dimension| dimension.from == 0 && dimension.to > 0) {
            return unfit(format!("a dimension of 0 can't be resized to {}", dimension.to));
        }
        Ok(dimensions)
    }

    fn by_scales(
        &self,
        dimensions: &mut [Dimension],
        axes: &[usize],
        scales: &[f32],
    ) -> Result<(), OperatorError> {
        if scales.len() != axes.len() {
            return unfit(format!("{} scales are given for {} dimensions", scales.len(), axes.len()));
        }
        for (axis, scale) in axes.iter().zip(scales) {
            if !(*scale > 0.0 && scale.is_finite()) {
                return unfit(format!("the scale {scale} is not above 0"));
            }
            let dimension = &mut dimensions[*axis];
            let part = if self.coordinates == Coordinates::CropAndResize {
                dimension.part.1 - dimension.part.0
            } else {
                1.0
            };
            dimension.scale = *scale;
            dimension.exact = dimension.from as f32 * part * scale;
            if dimension.exact > 1e15 {
                return unfit(format!("the scale {scale} is too large"));
            }
            dimension.to = dimension.exact.floor().max(0.0) as usize;
        }
        Ok(())
    }

    fn by_sizes(
        &self,
        dimensions: &mut [Dimension],
        axes: &[usize],
        sizes: &[i64],
    ) -> Result<(), OperatorError> {
        if sizes.len() != axes.len() {
            return unfit(format!("{} sizes are given for {} dimensions", sizes.len(), axes.len()));
        }
        let mut scales = Vec::with_capacity(axes.len());
        for (axis, size) in axes.iter().zip(sizes) {
            let size = size_of_input(*size, "a size")?;
            let dimension = &mut dimensions[*axis];
            dimension.to = size;
            dimension.exact = size as f32;
            dimension.scale = size as f32 / dimension.from.max(1) as f32;
            scales.push(dimension.scale);
        }
        let common = match self.aspect {
            Aspect::Stretch => return Ok(()),
            Aspect::NotLarger => scales.into_iter().fold(f32::INFINITY, f32::min),
            Aspect::NotSmaller => scales.into_iter().fold(0.0, f32::max),
        };
        for axis in axes {
            let dimension = &mut dimensions[*axis];
            dimension.scale = common;
            dimension.to = (common * dimension.from as f32 + 0.5).floor() as usize;
            dimension.exact = dimension.to as f32;
        }
        Ok(())
    }
}

fn resize(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let plan = Plan::new(definition)?;
    for index in 1..definition.inputs.len() {
        if definition.has_input(index)
            && matches!(definition.tensor_type(index)?, ElementType::Text | ElementType::Bool)
        {
            return Err(definition.unsupported_type(index));
        }
    }
    if let Mode::Nearest(rounding) = plan.mode {
        let element_type = definition.tensor_type(0)?;
        return for_every_type!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                nearest::<T>(&plan, rounding, &arguments, context)
            }),
            Err(definition.unsupported_type(0))
        );
    }
    in_float(definition, |definition| {
        let plan = Plan::new(definition)?;
        let element_type = definition.tensor_type(0)?;
        for_reals!(
            element_type,
            T => return single(definition, element_type, move |arguments, context| {
                let tensor = arguments.tensor(0)?;
                let dimensions = plan.dimensions(tensor.shape(), &arguments)?;
                let (shape, values) = interpolate::<T>(&plan, &dimensions, values_of(tensor)?, context)?;
                tensor_of(shape, values)
            }),
            ()
        );
        for_numbers!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let tensor = arguments.tensor(0)?;
                let dimensions = plan.dimensions(tensor.shape(), &arguments)?;
                context.reserve(ElementType::Double, tensor.shape())?;
                let (shape, values) = interpolate::<f64>(&plan, &dimensions, &as_doubles(tensor)?, context)?;
                tensor_of::<T>(shape, values.into_iter().map(T::from_f64).collect())
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

fn nearest<T: Element>(
    plan: &Plan,
    rounding: Rounding,
    arguments: &Arguments,
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    let tensor = arguments.tensor(0)?;
    let dimensions = plan.dimensions(tensor.shape(), arguments)?;
    let shape: Shape = dimensions.iter().map(|dimension| dimension.to).collect();
    if context.reserve(T::TYPE, &shape)? == 0 {
        return tensor_of(shape, Vec::<T>::new());
    }
    if shape == tensor.shape() && plan.coordinates != Coordinates::CropAndResize {
        return reshaped(tensor.clone(), shape);
    }
    let crops = plan.coordinates == Coordinates::CropAndResize;
    let fill: T = for_numbers!(
        T::TYPE,
        N => super::super::cast::only(&Tensor::scalar(N::from_f64(plan.extrapolation.into())), "the value")?,
        T::default()
    );
    let places: Vec<Places> = dimensions
        .iter()
        .map(|dimension| {
            (0..dimension.to)
                .map(|index| {
                    if dimension.from == dimension.to && !crops {
                        return Some(index);
                    }
                    let place = dimension.place(index, plan.coordinates);
                    (!crops || !dimension.is_outside(place)).then(|| dimension.nearest(place, rounding))
                })
                .collect()
        })
        .collect();
    tensor_of(shape, copy_places(values_of::<T>(tensor)?, tensor.shape(), &places, &fill))
}

/// Interpolates along one dimension after the other.
fn interpolate<T: Real>(
    plan: &Plan,
    dimensions: &[Dimension],
    values: &[T],
    context: &Context<'_>,
) -> Result<(Shape, Vec<T>), OperatorError> {
    let crops = plan.coordinates == Coordinates::CropAndResize;
    let mut shape: Shape = dimensions.iter().map(|dimension| dimension.from).collect();
    let final_shape: Shape = dimensions.iter().map(|dimension| dimension.to).collect();
    if context.reserve(T::TYPE, &final_shape)? == 0 {
        return Ok((final_shape, Vec::new()));
    }
    let mut values = values.to_vec();
    let mut outside: Vec<(usize, Vec<bool>)> = Vec::new();
    for (axis, dimension) in dimensions.iter().enumerate() {
        if dimension.from == dimension.to && dimension.scale == 1.0 && !crops {
            continue;
        }
        context.check()?;
        let (outer, from, inner) = around(&shape, axis);
        shape[axis] = dimension.to;
        let count = context.reserve(T::TYPE, &shape)?;
        let mut result = vec![T::ZERO; count];
        let mut missing = vec![false; if crops { dimension.to } else { 0 }];
        for index in 0..dimension.to {
            let place = dimension.place(index, plan.coordinates);
            if crops && dimension.is_outside(place) {
                missing[index] = true;
                continue;
            }
            let weights = dimension.weights::<T>(place, plan.mode, plan.antialias, plan.exclude_outside);
            for row in 0..outer {
                let target = &mut result[(row * dimension.to + index) * inner..][..inner];
                for (source, weight) in &weights {
                    let source = &values[(row * from + source) * inner..][..inner];
                    for (value, source) in target.iter_mut().zip(source) {
                        *value += *weight * *source;
                    }
                }
            }
        }
        if missing.contains(&true) {
            outside.push((axis, missing));
        }
        values = result;
    }
    for (axis, missing) in outside {
        let (outer, size, inner) = around(&shape, axis);
        for row in 0..outer {
            for (index, _) in missing.iter().enumerate().filter(|(_, missing)| **missing) {
                values[(row * size + index) * inner..][..inner].fill(T::from_f64(plan.extrapolation.into()));
            }
        }
    }
    Ok((shape, values))
}
