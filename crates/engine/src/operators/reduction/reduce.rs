//! ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd, ReduceL1, ReduceL2,
//! ReduceLogSum, ReduceLogSumExp, ReduceSumSquare.

use super::Rows;
use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        arguments::{single, unfit},
        axes::{Setting, axes_of},
        number::{Number, Real},
        registry::Builder,
        types::{for_integers, for_numbers, for_reals},
        widen::in_float,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "ReduceSum", reduce),
    ("", "ReduceMean", reduce),
    ("", "ReduceMax", reduce_to_extreme),
    ("", "ReduceMin", reduce_to_extreme),
    ("", "ReduceProd", reduce),
    ("", "ReduceL1", reduce),
    ("", "ReduceL2", reduce),
    ("", "ReduceLogSum", reduce),
    ("", "ReduceLogSumExp", reduce),
    ("", "ReduceSumSquare", reduce),
];

/// Which axes are reduced, and whether they stay as 1.
#[derive(Clone, Debug)]
struct Plan {
    axes: Setting,
    keep: bool,
    /// Whether no axes at all mean that nothing is reduced.
    none_is_none: bool,
}

impl Plan {
    fn new(definition: &Definition<'_>) -> Result<Self, Refusal> {
        // Axes became an input at 13 for ReduceSum, at 18 for the others.
        let since = if definition.operator == "ReduceSum" { 13 } else { 18 };
        Ok(Self {
            axes: Setting::new(definition, "axes", 1, since)?,
            keep: definition.attributes.flag("keepdims", true)?,
            none_is_none: definition.attributes.flag("noop_with_empty_axes", false)?,
        })
    }

    fn axes(&self, arguments: &Arguments, rank: usize) -> Result<Vec<usize>, OperatorError> {
        match self.axes.get(arguments)? {
            Some(axes) if !axes.is_empty() => axes_of(&axes, rank),
            _ if self.none_is_none => Ok(Vec::new()),
            _ => Ok((0..rank).collect()),
        }
    }

    fn run<T: Number>(
        &self,
        arguments: &Arguments,
        context: &Context<'_>,
        function: impl Fn(&[T]) -> T,
    ) -> Result<Tensor, OperatorError> {
        let tensor = arguments.tensor(0)?;
        let axes = self.axes(arguments, tensor.rank())?;
        Rows::<T>::new(tensor, &axes, context)?.reduce(self.keep, context, function)
    }
}

fn reduce(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let plan = Plan::new(definition)?;
        for_reals!(
            element_type,
            T => {
                let function = function_of_reals::<T>(definition.operator)?;
                return single(definition, element_type, move |arguments, context| {
                    plan.run::<T>(&arguments, context, function)
                });
            },
            ()
        );
        for_integers!(
            element_type,
            T => {
                let function = function_of_integers::<T>(definition.operator)?;
                let mean = definition.operator == "ReduceMean";
                single(definition, element_type, move |arguments, context| {
                    let result = plan.run::<T>(&arguments, context, function)?;
                    if mean && arguments.tensor(0)?.is_empty() && !result.is_empty() {
                        return unfit("the mean of no whole numbers is asked for");
                    }
                    Ok(result)
                })
            },
            Err(definition.unsupported_type(0))
        )
    })
}

fn unknown(operator: &str) -> Refusal {
    Refusal::new(format!("there is no reduction {operator}"))
}

fn function_of_reals<T: Real>(operator: &str) -> Result<fn(&[T]) -> T, Refusal> {
    Ok(match operator {
        "ReduceSum" => sum,
        "ReduceMean" => |row| sum(row) / T::from_i64(row.len() as i64),
        "ReduceProd" => |row| row.iter().fold(T::ONE, |product, value| product * *value),
        "ReduceL1" => |row| sum_of(row, T::abs),
        "ReduceL2" => |row| sum_of(row, |value| value * value).sqrt(),
        "ReduceSumSquare" => |row| sum_of(row, |value| value * value),
        "ReduceLogSum" => |row| sum(row).ln(),
        "ReduceLogSumExp" => |row| {
            let greatest = row.iter().fold(T::LOWEST, |greatest, value| greatest.greatest(*value));
            // Infinities and what is not a number are what the plain formula makes of them.
            let shift = if greatest.is_finite() { greatest } else { T::ZERO };
            sum_of(row, |value| (value - shift).exp()).ln() + shift
        },
        other => return Err(unknown(other)),
    })
}

fn sum<T: Real>(row: &[T]) -> T {
    sum_of(row, |value| value)
}

/// A sum by halves: the error grows with the logarithm of the length.
pub(crate) fn sum_of<T: Real>(row: &[T], function: impl Fn(T) -> T + Copy) -> T {
    if row.len() <= 128 {
        return row.iter().map(|value| function(*value)).fold(T::ZERO, |sum, value| sum + value);
    }
    let (left, right) = row.split_at(row.len() / 2);
    sum_of(left, function) + sum_of(right, function)
}

fn function_of_integers<T: Number>(operator: &str) -> Result<fn(&[T]) -> T, Refusal> {
    fn sum<T: Number>(row: &[T], function: impl Fn(T) -> T) -> T {
        row.iter().fold(T::ZERO, |sum, value| sum.plus(function(*value)))
    }
    Ok(match operator {
        "ReduceSum" => |row| sum(row, |value| value),
        "ReduceMean" => |row| sum(row, |value| value).over(T::from_i64(row.len() as i64)),
        "ReduceProd" => |row| row.iter().fold(T::ONE, |product, value| product.times(*value)),
        "ReduceL1" => |row| sum(row, T::magnitude),
        "ReduceL2" => |row| T::from_f64(sum(row, |value| value.times(value)).to_f64().sqrt()),
        "ReduceSumSquare" => |row| sum(row, |value| value.times(value)),
        "ReduceLogSum" => |row| T::from_f64(sum(row, |value| value).to_f64().ln()),
        "ReduceLogSumExp" => |row| {
            // Each exponential is cut to a whole number, as ONNX Runtime does.
            let greatest = row.iter().fold(T::LOWEST, |greatest, value| greatest.greatest(*value));
            let sum = sum(row, |value| T::from_f64((value.to_f64() - greatest.to_f64()).exp()));
            T::from_f64(sum.to_f64().ln()).plus(greatest)
        },
        other => return Err(unknown(other)),
    })
}

/// The greatest or least; of no elements, the bound of the type.
fn reduce_to_extreme(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let plan = Plan::new(definition)?;
    let greatest = definition.operator == "ReduceMax";
    if element_type == ElementType::Bool {
        return single(definition, element_type, move |arguments, context| {
            let tensor = arguments.tensor(0)?;
            let axes = plan.axes(&arguments, tensor.rank())?;
            let function =
                move |row: &[bool]| if greatest { row.contains(&true) } else { !row.contains(&false) };
            Rows::<bool>::new(tensor, &axes, context)?.reduce(plan.keep, context, function)
        });
    }
    for_numbers!(
        element_type,
        T => single(definition, element_type, move |arguments, context| {
            plan.run::<T>(&arguments, context, |row| {
                if greatest {
                    row.iter().fold(T::LOWEST, |best, value| best.greatest(*value))
                } else {
                    row.iter().fold(T::HIGHEST, |best, value| best.least(*value))
                }
            })
        }),
        Err(definition.unsupported_type(0))
    )
}
