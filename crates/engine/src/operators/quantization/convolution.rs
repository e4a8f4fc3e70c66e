//! `ConvInteger` and `QLinearConv`: any number of spatial dimensions, groups, padding
//! with the zero point.

mod single_channel;

use rayon::prelude::*;

use self::single_channel::Lines;
use super::{
    kernel::BLOCK,
    matmul::each_scale,
    number::{Bytes, Quantized, byte_type, check_same_type},
    panel::{Columns, Rows, multiply},
    scales::{Each, Scale, check_scale, each_zero_point, single_zero_point},
    window::{Geometry, Tap, Window},
};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        definition::Builder,
        operands::{Operands, check_arity, output, values, volume},
    },
    tensor::{Element, ElementType, Shape, Tensor, Value},
    threads::Threads,
};

pub(in crate::operators) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "ConvInteger", build_integer), ("", "QLinearConv", build_linear)];

/// How many positions of the window are computed at once.
const POSITIONS: usize = 64;

/// The attributes of a convolution.
#[derive(Debug)]
struct Convolution {
    window: Window,
    groups: usize,
}

impl Convolution {
    fn read(definition: &Definition<'_>) -> Result<Self, Refusal> {
        let groups = definition.attributes.integer("group")?.unwrap_or(1);
        let groups = usize::try_from(groups).ok().filter(|groups| *groups > 0).ok_or_else(|| {
            Refusal::new(format!("the attribute group is {groups}; at least 1 is expected"))
        })?;
        Ok(Self { window: Window::read(definition.attributes)?, groups })
    }

    /// A convolution of tensors of these shapes.
    fn of(&self, input: &[usize], weights: &[usize]) -> Result<Task, OperatorError> {
        let wrong = || {
            OperatorError::inputs(format!(
                "weights of the shape {weights:?} do not fit an input of the shape {input:?} in {} groups",
                self.groups
            ))
        };
        let ([images, channels, spatial @ ..], [filters, depth, kernel @ ..]) = (input, weights) else {
            return Err(wrong());
        };
        if depth.checked_mul(self.groups) != Some(*channels) || !filters.is_multiple_of(self.groups) {
            return Err(wrong());
        }
        let geometry = self.window.over(spatial, Some(kernel))?;
        let mut shape = vec![*images, *filters];
        shape.extend_from_slice(&geometry.output);
        Ok(Task {
            images: *images,
            channels: *depth,
            filters: filters / self.groups,
            groups: self.groups,
            positions: geometry
                .positions()
                .ok_or_else(|| OperatorError::TooLarge { shape: shape.clone() })?,
            size: volume(spatial),
            geometry,
            shape,
        })
    }
}

/// An image and a group of channels.
struct Part<'a> {
    input: Bytes<'a>,
    zero_point: i32,
    /// Where each place of the window lies in a channel.
    table: &'a [u32],
    filters: Rows,
}

/// Memory for a block of positions.
struct Scratch {
    windows: Columns,
    sums: Vec<i32>,
}

/// A convolution of known sizes. Channels and filters are those of one group.
struct Task {
    images: usize,
    groups: usize,
    channels: usize,
    filters: usize,
    /// Positions of the window.
    positions: usize,
    /// Elements of a channel of the input.
    size: usize,
    geometry: Geometry,
    /// The shape of the output.
    shape: Shape,
}

impl Task {
    /// How many filters there are in all.
    fn all_filters(&self) -> usize {
        self.groups * self.filters
    }

    /// Computes the sums of each image and group and hands them to `finish`: those of one filter
    /// at a time, with the filter's index and their places in the output.
    fn run<T: Copy + Default + Send + Element>(
        &self,
        (input, zero_point): (Bytes<'_>, i32),
        (weights, weight_zero_points): (Bytes<'_>, &Each<i32>),
        output: &mut [T],
        context: &Context<'_>,
        finish: impl Fn(usize, &[i32], &mut [T]) + Sync,
    ) -> Result<(), OperatorError> {
        let size = self.filters.saturating_mul(self.positions);
        if size == 0 || self.images == 0 {
            return Ok(());
        }
        let table = self.places(context)?;
        let lines = if self.channels == 1 { Some(Lines::new(self, &table, context)?) } else { None };
        let threads = context.threads().filter(|threads| threads.count() > 1);
        let parts = self.images.saturating_mul(self.groups);
        let one = |number: usize, output: &mut [T], threads: Option<&Threads>| {
            let group = number % self.groups;
            let filters = self.filters_of(group, weights, weight_zero_points, context)?;
            let elements = self.channels * self.size;
            let part =
                Part { input: input.part(number * elements, elements), zero_point, table: &table, filters };
            let first = group * self.filters;
            let finish = |filter: usize, sums: &[i32], places: &mut [T]| finish(first + filter, sums, places);
            if let Some(lines) = &lines {
                return lines.run(self, &part, output, context, finish);
            }
            if let Some(lines) = &lines {
                return lines.run(self, &part, output, context, finish);
            }
            match threads {
                Some(threads) if self.positions > POSITIONS => {
                    self.run_shared(&part, output, threads, context, finish)
                }
                _ => self.run_alone(&part, output, context, finish),
            }
        };
        match threads {
            Some(threads) if parts >= threads.count() => threads.enter(|| {
                let parts = output.par_chunks_exact_mut(size).enumerate();
                parts.try_for_each(|(number, output)| one(number, output, None))
            }),
            _ => {
                let mut parts = output.chunks_exact_mut(size).enumerate();
                parts.try_for_each(|(number, output)| one(number, output, threads))
            }
        }
    }

    /// The filters of a group as rows.
    fn filters_of(
        &self,
        group: usize,
        weights: Bytes<'_>,
        zero_points: &Each<i32>,
        context: &Context<'_>,
    ) -> Result<Rows, OperatorError> {
        let depth = self.depth();
        let mut filters = Rows::new(self.filters, depth, context)?;
        for filter in 0..self.filters {
            let index = group * self.filters + filter;
            filters.fill(filter, weights.part(index * depth, depth), zero_points.of(index));
        }
        Ok(filters)
    }

    /// Products that make a sum.
    fn depth(&self) -> usize {
        self.channels.saturating_mul(self.geometry.places())
    }

    /// An image and a group, on this thread.
    fn run_alone<T>(
        &self,
        part: &Part<'_>,
        output: &mut [T],
        context: &Context<'_>,
        finish: impl Fn(usize, &[i32], &mut [T]),
    ) -> Result<(), OperatorError> {
        let mut scratch = self.scratch(context)?;
        for first in (0..self.positions).step_by(POSITIONS) {
            context.check()?;
            self.block(part, first, &mut scratch, |filter, sums| {
                finish(filter, sums, &mut output[filter * self.positions + first..][..sums.len()]);
            });
        }
        Ok(())
    }

    /// An image and a group, on all threads: each computes blocks of positions, which then go
    /// to their places.
    fn run_shared<T: Copy + Default + Send + Element>(
        &self,
        part: &Part<'_>,
        output: &mut [T],
        threads: &Threads,
        context: &Context<'_>,
        finish: impl Fn(usize, &[i32], &mut [T]) + Sync,
    ) -> Result<(), OperatorError> {
        let mut blocks = vec![T::default(); context.reserve(T::TYPE, &[self.filters, self.positions])?];
        let size = self.filters * POSITIONS;
        threads.enter(|| {
            let blocks = blocks.par_chunks_mut(size).enumerate();
            blocks.try_for_each_init(
                || self.scratch(context),
                |scratch, (number, block)| {
                    context.check()?;
                    let scratch = scratch.as_mut().map_err(|error| error.clone())?;
                    self.block(part, number * POSITIONS, scratch, |filter, sums| {
                        finish(filter, sums, &mut block[filter * sums.len()..][..sums.len()]);
                    });
                    Ok::<(), OperatorError>(())
                },
            )
        })?;
        for (number, block) in blocks.chunks(size).enumerate() {
            let count = block.len() / self.filters;
            for (filter, values) in block.chunks_exact(count).enumerate() {
                output[filter * self.positions + number * POSITIONS..][..count].copy_from_slice(values);
            }
        }
        Ok(())
    }

    /// Memory for one block of positions.
    fn scratch(&self, context: &Context<'_>) -> Result<Scratch, OperatorError> {
        let block = POSITIONS.min(self.positions);
        Ok(Scratch {
            windows: Columns::new(block, self.depth(), context)?,
            sums: vec![0; context.reserve(ElementType::Int32, &[self.filters, block])?],
        })
    }

    /// The sums of a block of positions, for one filter at a time.
    fn block(
        &self,
        part: &Part<'_>,
        first: usize,
        scratch: &mut Scratch,
        mut finish: impl FnMut(usize, &[i32]),
    ) {
        let Scratch { windows, sums } = scratch;
        windows.set_count(POSITIONS.min(self.positions - first));
        match part.input {
            Bytes::Signed(values) => self.fill_windows(values, part.zero_point, part.table, first, windows),
            Bytes::Unsigned(values) => self.fill_windows(values, part.zero_point, part.table, first, windows),
        }
        let count = windows.count();
        multiply(&part.filters, windows, sums, count);
        for (filter, sums) in sums.chunks_exact(count).take(self.filters).enumerate() {
            finish(filter, sums);
        }
    }

    /// Where each place of the window lies in a channel, by place, then by position.
    fn places(&self, context: &Context<'_>) -> Result<Vec<u32>, OperatorError> {
        let places = self.geometry.places();
        let mut table = vec![PADDING; context.reserve(ElementType::Uint32, &[places, self.positions])?];
        if u32::try_from(self.size).is_err() {
            return Err(OperatorError::inputs("a channel of the input has more than 4294967295 elements"));
        }
        let mut taps = Vec::with_capacity(places);
        for position in 0..self.positions {
            self.geometry.taps(position, &mut taps);
            for (place, tap) in taps.iter().enumerate() {
                if let Tap::Inside(offset) = tap {
                    table[place * self.positions + position] = *offset as u32;
                }
            }
        }
        Ok(table)
    }

    /// Makes a column of each position: the window's places in each channel, less the zero point.
    fn fill_windows<T: Copy + Into<i16>>(
        &self,
        values: &[T],
        zero_point: i32,
        table: &[u32],
        first: usize,
        windows: &mut Columns,
    ) {
        let zero_point = zero_point as i16;
        let places = self.geometry.places();
        let size = self.size.max(1);
        for (block, start) in (first..first + windows.count()).step_by(BLOCK).enumerate() {
            let count = BLOCK.min(first + windows.count() - start);
            for place in 0..places {
                let offsets = &table[place * self.positions + start..][..count];
                let run = contiguous(offsets);
                if let (Some(start), 1) = (run, places) {
                    // Two channels at once lie side by side in the columns.
                    for (pair, values) in values.chunks(2 * size).enumerate() {
                        let to = windows.pair_mut(block, 2 * pair).chunks_exact_mut(2);
                        let (first, second) = values.split_at(size);
                        let first = &first[start..start + count];
                        match second.get(start..start + count) {
                            Some(second) => {
                                for ((to, first), second) in to.zip(first).zip(second) {
                                    to[0] = (*first).into() - zero_point;
                                    to[1] = (*second).into() - zero_point;
                                }
                            }
                            None => {
                                for (to, first) in to.zip(first) {
                                    to[0] = (*first).into() - zero_point;
                                }
                            }
                        }
                    }
                    continue;
                }
                for (channel, values) in values.chunks_exact(size).enumerate() {
                    let to = windows.step_mut(block, channel * places + place).iter_mut().step_by(2);
                    if let Some(start) = run {
                        for (to, value) in to.zip(&values[start..start + count]) {
                            *to = (*value).into() - zero_point;
                        }
                    } else {
                        for (to, offset) in to.zip(offsets) {
                            *to =
                                values.get(*offset as usize).map_or(0, |value| (*value).into() - zero_point);
                        }
                    }
                }
            }
        }
    }
}

/// A place of the window in the padding: beyond every channel.
const PADDING: u32 = u32::MAX;

/// Where offsets begin that follow one another.
fn contiguous(offsets: &[u32]) -> Option<usize> {
    let first = *offsets.first()?;
    let follows = |(index, offset): (usize, &u32)| first.checked_add(index as u32) == Some(*offset);
    (first != PADDING && offsets.iter().enumerate().all(follows)).then_some(first as usize)
}

#[derive(Debug)]
struct ConvInteger(Convolution);

fn build_integer(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 2..=4, 1)?;
    check_same_type(definition, 2, byte_type(definition, 0)?)?;
    check_same_type(definition, 3, byte_type(definition, 1)?)?;
    Ok(Built::tensor(ConvInteger(Convolution::read(definition)?), ElementType::Int32))
}

impl Operator for ConvInteger {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (input, weights) = (operands.tensor(0)?, operands.tensor(1)?);
        let task = self.0.of(input.shape(), weights.shape())?;
        let zero_point = single_zero_point(&mut operands, 2)?;
        let weight_zero_points = each_zero_point(operands.optional_tensor(3)?.as_ref(), task.all_filters())?;
        let mut sums = vec![0_i32; context.reserve(ElementType::Int32, &task.shape)?];
        task.run(
            (Bytes::new(&input)?, zero_point),
            (Bytes::new(&weights)?, &weight_zero_points),
            &mut sums,
            context,
            |_, values, places| places.copy_from_slice(values),
        )?;
        Ok(vec![output(task.shape, sums)?])
    }
}

#[derive(Debug)]
struct QLinearConv {
    convolution: Convolution,
    to: ElementType,
}

fn build_linear(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 8..=9, 1)?;
    check_same_type(definition, 2, byte_type(definition, 0)?)?;
    check_same_type(definition, 5, byte_type(definition, 3)?)?;
    for scale in [1, 4, 6] {
        check_scale(definition, scale)?;
    }
    check_same_type(definition, 8, ElementType::Int32)?;
    let to = byte_type(definition, 7)?;
    Ok(Built::tensor(QLinearConv { convolution: Convolution::read(definition)?, to }, to))
}

impl QLinearConv {
    fn run_as<T: Quantized + Send>(
        task: &Task,
        (input, from): (&Tensor, Scale),
        (weights, weight_zero_points): (&Tensor, &Each<i32>),
        (scales, bias, to): (&Each<f32>, &[i32], Scale),
        context: &Context<'_>,
    ) -> Result<Value, OperatorError> {
        let mut quantized = vec![T::default(); context.reserve(T::TYPE, &task.shape)?];
        task.run(
            (Bytes::new(input)?, from.zero_point),
            (Bytes::new(weights)?, weight_zero_points),
            &mut quantized,
            context,
            |filter, sums, places| {
                let bias = bias.get(filter).copied().unwrap_or(0);
                let scale = scales.of(filter);
                for (place, sum) in places.iter_mut().zip(sums) {
                    *place = T::round(sum.wrapping_add(bias) as f32 * scale, to.zero_point);
                }
            },
        )?;
        output(task.shape.as_slice(), quantized)
    }
}

impl Operator for QLinearConv {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (input, weights) = (operands.tensor(0)?, operands.tensor(3)?);
        let task = self.convolution.of(input.shape(), weights.shape())?;
        let from = Scale::take(&mut operands, 1, 2)?;
        let weight_scales = each_scale(&operands.tensor(4)?, task.all_filters())?;
        let weight_zero_points = each_zero_point(operands.optional_tensor(5)?.as_ref(), task.all_filters())?;
        let to = Scale::take(&mut operands, 6, 7)?;
        let bias = match operands.optional_tensor(8)? {
            None => Vec::new(),
            Some(bias) if bias.shape() == [task.all_filters()] => values::<i32>(&bias)?.to_vec(),
            Some(bias) => {
                return Err(OperatorError::inputs(format!(
                    "the bias has the shape {:?}; [{}] is expected",
                    bias.shape(),
                    task.all_filters()
                )));
            }
        };
        let scales = weight_scales.map(|scale| from.scale * scale / to.scale);
        let (input, weights) = ((&input, from), (&weights, &weight_zero_points));
        let parameters = (&scales, bias.as_slice(), to);
        Ok(vec![match self.to {
            ElementType::Int8 => Self::run_as::<i8>(&task, input, weights, parameters, context)?,
            _ => Self::run_as::<u8>(&task, input, weights, parameters, context)?,
        }])
    }
}
