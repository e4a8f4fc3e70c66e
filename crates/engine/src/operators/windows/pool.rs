//! MaxPool, AveragePool, LpPool, and their global forms.

use super::geometry::{Settings, Window};
use crate::{
    operators::{
        Built, Context, Definition, OperatorError, Refusal,
        arguments::{several, single, tensor_of, unfit, values_of},
        axes::product,
        number::{Number, Real},
        reduction::reduce::sum_of,
        registry::Builder,
        types::{for_reals, for_types},
        widen::in_float,
    },
    tensor::{Element, ElementType, Shape, Tensor, strides},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "MaxPool", max_pool),
    ("", "AveragePool", average_pool),
    ("", "LpPool", norm_pool),
    ("", "GlobalAveragePool", global_pool),
    ("", "GlobalMaxPool", global_pool),
    ("", "GlobalLpPool", global_pool),
];

fn settings(definition: &Definition<'_>) -> Result<(Settings, Shape), Refusal> {
    let settings = Settings::new(definition)?;
    let kernel = settings.kernel.clone().ok_or_else(|| Refusal::new("kernel_shape is missing"))?;
    Ok((settings, kernel))
}

/// Images, the window over each of them, and the shape of the result.
struct Pool {
    window: Window,
    shape: Shape,
    images: usize,
}

impl Pool {
    fn new(tensor: &Tensor, settings: &Settings, kernel: &[usize]) -> Result<Self, OperatorError> {
        let [batch, channels, image @ ..] = tensor.shape() else {
            return unfit(format!("the shape {:?} is not of images", tensor.shape()));
        };
        let window = settings.window(image, kernel)?;
        let mut shape = vec![*batch, *channels];
        shape.extend(&window.output);
        Ok(Self { window, shape, images: batch * channels })
    }

    /// For every image: its pixels, and its part of the result, folded over the window.
    fn fold<T: Number>(
        &self,
        tensor: &Tensor,
        first: T,
        context: &Context<'_>,
        function: impl Fn(T, T) -> T,
        finish: impl Fn(&mut [T]),
    ) -> Result<Tensor, OperatorError> {
        let values = values_of::<T>(tensor)?;
        let count = context.reserve(T::TYPE, &self.shape)?;
        let mut result = vec![first; count];
        let (places, size) = (product(&self.window.output), product(&self.window.image));
        if count > 0 {
            for (number, row) in result.chunks_exact_mut(places).enumerate() {
                context.check()?;
                let pixels = &values[number * size..(number + 1) * size];
                self.window.offsets(|_, offset| {
                    self.window.runs(offset, 0..places, |run| {
                        let pixels = pixels[run.element..].iter().step_by(self.window.step());
                        for (value, pixel) in row[run.place..run.place + run.count].iter_mut().zip(pixels) {
                            *value = function(*value, *pixel);
                        }
                    });
                });
                finish(row);
            }
        }
        tensor_of(self.shape.as_slice(), result)
    }
}

fn max_pool(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let (settings, kernel) = settings(definition)?;
        let by_columns = definition.attributes.flag("storage_order", false)?;
        let indexed = definition.outputs > 1;
        for_types!(
            element_type,
            [f32, f64, i8, u8],
            T => several(definition, vec![element_type, ElementType::Int64], move |arguments, context| {
                let tensor = arguments.tensor(0)?;
                let pool = Pool::new(tensor, &settings, &kernel)?;
                if indexed {
                    return greatest_with_places::<T>(&pool, tensor, by_columns, context);
                }
                let function = |best: T, value: T| if value > best { value } else { best };
                Ok(vec![pool.fold(tensor, T::LOWEST, context, function, |_| ())?])
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

/// The greatest of each window, and where it is among all elements of the input.
fn greatest_with_places<T: Number>(
    pool: &Pool,
    tensor: &Tensor,
    by_columns: bool,
    context: &Context<'_>,
) -> Result<Vec<Tensor>, OperatorError> {
    let values = values_of::<T>(tensor)?;
    let count = context.reserve(T::TYPE, &pool.shape)?;
    context.reserve(ElementType::Int64, &pool.shape)?;
    let (mut best, mut indices) = (vec![T::LOWEST; count], vec![0_i64; count]);
    let window = &pool.window;
    let (places, size) = (product(&window.output), product(&window.image));
    for number in 0..if count > 0 { pool.images } else { 0 } {
        context.check()?;
        let pixels = &values[number * size..(number + 1) * size];
        let best = &mut best[number * places..(number + 1) * places];
        let indices = &mut indices[number * places..(number + 1) * places];
        indices.fill(-1);
        window.offsets(|_, offset| {
            window.runs(offset, 0..places, |run| {
                for step in 0..run.count {
                    let (place, element) = (run.place + step, run.element + step * window.step());
                    if indices[place] < 0 || pixels[element] > best[place] {
                        best[place] = pixels[element];
                        indices[place] = element as i64;
                    }
                }
            });
        });
        for index in indices {
            let Ok(element) = usize::try_from(*index) else {
                return unfit("a window covers no element of the image, so the greatest has no place");
            };
            let place = if by_columns { column_major(element, &window.image) } else { element };
            *index = (number * size + place) as i64;
        }
    }
    Ok(vec![tensor_of(pool.shape.as_slice(), best)?, tensor_of(pool.shape.as_slice(), indices)?])
}

/// The place of an element if the first dimension were the innermost.
fn column_major(element: usize, image: &[usize]) -> usize {
    let (mut rest, mut place) = (element, 0);
    let mut steps: Vec<usize> = strides(&image.iter().rev().copied().collect::<Vec<_>>());
    steps.reverse();
    for (size, step) in image.iter().zip(steps).rev() {
        place += (rest % size) * step;
        rest /= size;
    }
    place
}

fn average_pool(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let (settings, kernel) = settings(definition)?;
        let with_pads = definition.attributes.flag("count_include_pad", false)?;
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let tensor = arguments.tensor(0)?;
                let pool = Pool::new(tensor, &settings, &kernel)?;
                let window = &pool.window;
                context.reserve(T::TYPE, &window.output)?;
                // How many elements each place is the mean of.
                let mut counts = vec![1_usize];
                for axis in 0..window.output.len() {
                    let own = window.counts(axis, with_pads);
                    counts = counts.iter().flat_map(|outer| own.iter().map(move |count| outer * count)).collect();
                }
                pool.fold(tensor, T::ZERO, context, |sum, value| sum + value, |row| {
                    for (value, count) in row.iter_mut().zip(&counts) {
                        *value /= T::from_i64(*count as i64);
                    }
                })
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

/// The order of a norm: 1 or more.
fn order(definition: &Definition<'_>) -> Result<i64, Refusal> {
    let order = definition.attributes.integer("p")?.unwrap_or(2);
    if order < 1 {
        return Err(Refusal::new(format!("the norm of order {order} is not known; expected 1 or more")));
    }
    Ok(order)
}

fn raised<T: Real>(value: T, order: i64) -> T {
    match order {
        1 => value.abs(),
        2 => value * value,
        _ => value.abs().power(T::from_i64(order)),
    }
}

fn root<T: Real>(sum: T, order: i64) -> T {
    match order {
        1 => sum,
        2 => sum.sqrt(),
        _ => sum.power(T::ONE / T::from_i64(order)),
    }
}

fn norm_pool(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let (settings, kernel) = settings(definition)?;
        let order = order(definition)?;
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let tensor = arguments.tensor(0)?;
                let pool = Pool::new(tensor, &settings, &kernel)?;
                pool.fold(tensor, T::ZERO, context, |sum, value| sum + raised(value, order), |row| {
                    row.iter_mut().for_each(|value| *value = root(*value, order));
                })
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

fn global_pool(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let order = order(definition)?;
        for_reals!(
            element_type,
            T => {
                let function: fn(&[T], i64) -> T = match definition.operator {
                    "GlobalAveragePool" => |row, _| sum_of(row, |value| value) / T::from_i64(row.len() as i64),
                    "GlobalMaxPool" => |row, _| {
                        row.iter().fold(T::LOWEST, |best, value| if *value > best { *value } else { best })
                    },
                    _ => |row, order| root(row.iter().fold(T::ZERO, |sum, value| sum + raised(*value, order)), order),
                };
                single(definition, element_type, move |arguments, _| {
                    let tensor = arguments.tensor(0)?;
                    let [batch, channels, image @ ..] = tensor.shape() else {
                        return unfit(format!("the shape {:?} is not of images", tensor.shape()));
                    };
                    let size = product(image);
                    if size == 0 {
                        return unfit("an image without elements can't be pooled");
                    }
                    let result: Vec<T> = values_of::<T>(tensor)?.chunks_exact(size).map(|row| function(row, order)).collect();
                    let mut shape = vec![*batch, *channels];
                    shape.extend(image.iter().map(|_| 1));
                    tensor_of(shape, result)
                })
            },
            Err(definition.unsupported_type(0))
        )
    })
}
