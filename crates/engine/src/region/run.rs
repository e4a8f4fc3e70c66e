//! A region as an operator.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    dynamic::{self, Sizes},
    orders::{Entering, Leaving},
    recognize::Sources,
    schedule::{Planned, Schedule, needed},
    step::{Entry, Exit, Flow, Spreading, Step, Value as Number, Work},
    stretches::ALL,
};
use crate::{
    operators::{
        Context, Divisible, Operator, OperatorError,
        share::{share, unfit, with_crew},
    },
    tensor::{ElementType, Tensor, Value},
};
use adytum_kernels::{
    Level,
    activation::Activation,
    buffer::{Buffer, Shared},
    channels::Mixing,
    convolution::{Convolution, Images, Spread, Steps},
    depthwise::Depthwise,
    elementwise::{Binary, Elementwise, Other},
    integer::memory::Bytes,
    layout,
    moments::Moments,
    narrowing::{enter_pairs, narrow},
    planes::Planes,
    pool::{Mean, Pool, Pooling},
    resampling::{self, Interpolation},
    winograd::Tiles,
};

/// Schedules that are kept: models are asked for few sizes, mostly.
const SCHEDULES: usize = 8;

/// Bytes of memory that are kept for the next run, at least: fresh pages cost more than small runs.
const SPARE: usize = 16 << 20;

/// The sizes of the inputs, and the outputs that are wanted.
type Key = (Vec<Option<Vec<usize>>>, Vec<bool>);

/// A compiled region.
pub(crate) struct Region {
    flow: Flow,
    level: Level,
    schedules: Mutex<Vec<(Key, Arc<Schedule>)>>,
    spare: Mutex<Option<Buffer>>,
    /// Of numbers that become bytes in a step.
    spare_bytes: Mutex<Bytes>,
    /// Bytes of memory that are kept.
    kept: usize,
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("steps", &self.flow.steps.len()).finish_non_exhaustive()
    }
}

fn engine(reason: impl Into<String>) -> OperatorError {
    OperatorError::Engine { reason: reason.into() }
}

impl Operator for Region {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let wanted = vec![true; self.flow.outputs.len()];
        let outputs = self.compute(inputs, &wanted, context)?;
        outputs.into_iter().map(|output| output.ok_or_else(|| engine("an output is missing"))).collect()
    }

    fn divisible(&self) -> Option<&dyn Divisible> {
        Some(self)
    }
}

impl Divisible for Region {
    fn needed_inputs(&self, wanted: &[bool]) -> Vec<bool> {
        let needed = needed(&self.flow, wanted);
        self.flow.inputs.iter().map(|entry| needed.get(entry.value.0).copied().unwrap_or(true)).collect()
    }

    fn run_partly(
        &self,
        inputs: Vec<Option<Value>>,
        wanted: &[bool],
        context: &Context<'_>,
    ) -> Result<Vec<Option<Value>>, OperatorError> {
        self.compute(inputs, wanted, context)
    }
}

impl Region {
    /// A region of a model whose file has this number of bytes. Next to a large model, more memory may be kept.
    pub(crate) fn new(flow: Flow, level: Level, file: usize) -> Self {
        let kept = SPARE.max(file / 8);
        let (schedules, spare, spare_bytes) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { flow, level, schedules, spare, spare_bytes, kept }
    }

    fn compute(
        &self,
        inputs: Vec<Option<Value>>,
        wanted: &[bool],
        context: &Context<'_>,
    ) -> Result<Vec<Option<Value>>, OperatorError> {
        let needs = self.needed_inputs(wanted);
        let mut tensors = Vec::with_capacity(inputs.len());
        for (input, needs) in inputs.into_iter().zip(needs) {
            let tensor = input.and_then(Value::into_tensor);
            if needs && tensor.is_none() {
                return Err(engine("an input of a region is missing"));
            }
            tensors.push(tensor.filter(|_| needs));
        }
        let schedule = self.schedule(&tensors, wanted)?;
        let threads = context.threads().map_or(1, crate::threads::Threads::count);
        let room = schedule.total.saturating_add(schedule.scratch.saturating_mul(threads));
        let of_bytes = schedule.bytes.saturating_add(schedule.columns.saturating_mul(threads));
        let bytes = room.saturating_mul(size_of::<f32>()).saturating_add(of_bytes);
        context.budget().charge(bytes)?;
        let result = with_crew(context, |context| {
            Run { region: self, schedule: &schedule, room, context }.all(&tensors, wanted)
        });
        context.budget().release(bytes);
        result
    }

    /// The schedule for inputs of these sizes.
    fn schedule(&self, inputs: &[Option<Tensor>], wanted: &[bool]) -> Result<Arc<Schedule>, OperatorError> {
        let shapes: Vec<Option<Vec<usize>>> =
            inputs.iter().map(|input| input.as_ref().map(|tensor| tensor.shape().to_vec())).collect();
        let key = (shapes, wanted.to_vec());
        let mut schedules = self.schedules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = schedules.iter().position(|(known, _)| *known == key) {
            let entry = schedules.remove(found);
            let schedule = Arc::clone(&entry.1);
            schedules.push(entry);
            return Ok(schedule);
        }
        let mut sizes = Vec::with_capacity(inputs.len());
        for (Entry { value, order, .. }, shape) in self.flow.inputs.iter().zip(&key.0) {
            let channels = self.flow.channels.get(value.0).copied().unwrap_or(0);
            let is_line = self.flow.lines.contains(value);
            let size = |shape: &Vec<usize>| {
                order.size(shape, channels, is_line).ok_or_else(|| {
                    let expected = order.describe(channels, is_line);
                    OperatorError::inputs(format!(
                        "images of the shape {shape:?} were given; expected {expected}"
                    ))
                })
            };
            sizes.push(shape.as_ref().map(size).transpose()?);
        }
        let schedule = Arc::new(Schedule::new(&self.flow, &sizes, wanted)?);
        if schedules.len() >= SCHEDULES {
            schedules.remove(0);
        }
        schedules.push((key, Arc::clone(&schedule)));
        Ok(schedule)
    }

    /// Memory for `count` floats, of any contents.
    fn memory(&self, count: usize) -> Buffer {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        spare.filter(|buffer| buffer.len() >= count).unwrap_or_else(|| Buffer::zeros(count))
    }

    /// The same of bytes.
    fn bytes(&self, count: usize) -> Bytes {
        let spare = std::mem::take(&mut *self.spare_bytes.lock().unwrap_or_else(PoisonError::into_inner));
        if spare.len() >= count { spare } else { Bytes::zeros(count) }
    }

    fn give_back(&self, buffer: Buffer, bytes: Bytes) {
        if bytes.len() <= self.kept {
            *self.spare_bytes.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
        }
        if buffer.len() * size_of::<f32>() <= self.kept {
            *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(buffer);
        }
    }
}

/// A run with its plan of memory.
struct Run<'a> {
    region: &'a Region,
    schedule: &'a Schedule,
    /// Floats of values and of scratch memory.
    room: usize,
    context: &'a Context<'a>,
}

impl Run<'_> {
    fn all(&self, inputs: &[Option<Tensor>], wanted: &[bool]) -> Result<Vec<Option<Value>>, OperatorError> {
        let mut memory = self.region.memory(self.room);
        let mut bytes = self.region.bytes(self.schedule.bytes);
        let result = self.within(&mut memory, &mut bytes, inputs, wanted);
        self.region.give_back(memory, bytes);
        result
    }

    fn within(
        &self,
        memory: &mut [f32],
        bytes: &mut [u8],
        inputs: &[Option<Tensor>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Value>>, OperatorError> {
        let flow = &self.region.flow;
        for (Entry { value, order, .. }, tensor) in flow.inputs.iter().zip(inputs) {
            let Some(tensor) = tensor else { continue };
            let channels = flow.channels.get(value.0).copied().unwrap_or(0);
            let (planes, range) = self.place(*value, &ALL)?;
            let values = tensor.values::<f32>().ok_or_else(|| engine("an input is not of floats"))?;
            let target = memory.get_mut(range).ok_or_else(|| engine("no room for an input"))?;
            layout::clear_border(planes, target).map_err(unfit)?;
            let is_narrow = flow.narrow.contains(value);
            share(self.context, Shared::new(target), 8 * planes.len(), |buffer, part| {
                if *order != Entering::Channels {
                    layout::enter_pixels(values, channels, planes, buffer, part)
                } else if is_narrow {
                    enter_pairs(self.region.level, values, channels, planes, buffer, part)
                } else {
                    layout::enter(values, channels, planes, buffer, part)
                }
            })?;
        }
        for stretch in &self.schedule.stretches {
            let steps = self.schedule.steps.get(stretch.steps.clone()).unwrap_or_default();
            for images in &stretch.groups {
                for planned in steps {
                    self.context.check()?;
                    let step = flow.steps.get(planned.step).ok_or_else(|| engine("a step is missing"))?;
                    let (values, scratch) = memory
                        .split_at_mut_checked(self.schedule.total)
                        .ok_or_else(|| engine("no room for the values"))?;
                    self.step(step, planned, images, values, (scratch, bytes))?;
                }
            }
        }
        let mut outputs = Vec::with_capacity(flow.outputs.len());
        for (exit, wanted) in flow.outputs.iter().zip(wanted) {
            outputs.push(if *wanted { Some(self.leave(*exit, memory)?) } else { None });
        }
        Ok(outputs)
    }

    /// Where these images of a value are.
    fn place(&self, value: Number, images: &Range<usize>) -> Result<(Planes, Range<usize>), OperatorError> {
        let found = self.schedule.places.get(value.0).and_then(Option::as_ref);
        found.map(|place| place.of(images)).ok_or_else(|| engine("a value of a region has no place"))
    }

    fn leave(&self, Exit { value, order }: Exit, memory: &[f32]) -> Result<Value, OperatorError> {
        let channels = self.region.flow.channels.get(value.0).copied().unwrap_or(0);
        let (planes, range) = self.place(value, &ALL)?;
        let is_line = self.region.flow.lines.contains(&value);
        let shape = order.shape([planes.images, channels, planes.height, planes.width], is_line);
        let count = self.context.reserve(ElementType::Float, &shape)?;
        let mut result = vec![0.0; count];
        let values = memory.get(range).ok_or_else(|| engine("an output is not there"))?;
        share(self.context, Shared::new(&mut result), 8 * count, |buffer, part| {
            let images = Images { planes, values };
            match order {
                Leaving::Channels => layout::leave(images, channels, buffer, part),
                Leaving::Pixels | Leaving::List => layout::leave_pixels(images, channels, buffer, part),
            }
        })?;
        let tensor = Tensor::from_vec(shape, result).ok_or_else(|| engine("an output of another size"))?;
        Ok(Value::Tensor(tensor))
    }

    /// Computes a step for these images.
    fn step(
        &self,
        step: &Step,
        planned: &Planned,
        group: &Range<usize>,
        memory: &mut [f32],
        (scratch, bytes): (&mut [f32], &mut [u8]),
    ) -> Result<(), OperatorError> {
        let (output, range) = self.place(step.output, group)?;
        // The inputs are before or after the output in memory.
        let (before, rest) =
            memory.split_at_mut_checked(range.start).ok_or_else(|| engine("no room for a value"))?;
        let (target, after) =
            rest.split_at_mut_checked(range.len()).ok_or_else(|| engine("no room for a value"))?;
        let mut images = Vec::with_capacity(step.inputs.len());
        for input in &step.inputs {
            let (planes, place) = self.place(*input, group)?;
            let values = if place.end <= range.start {
                before.get(place)
            } else {
                let start = place.start.checked_sub(range.end);
                start.and_then(|start| after.get(start..start + place.len()))
            };
            let values = values.ok_or_else(|| engine("a value is not where it was put"))?;
            images.push(Images { planes, values });
        }
        layout::clear_border(output, target).map_err(unfit)?;
        let buffer = Shared::new(target);
        let Some(input) = images.first().copied() else { return Err(engine("a step without inputs")) };
        let (level, steps) = (self.region.level, planned.steps);
        let cost = planned.cost.saturating_mul(output.images);
        let residual = images.get(1).copied();
        match &step.work {
            Work::Convolution { filters, activation, after, .. } => {
                let (activation, after) = (*activation, *after);
                let spread = None;
                let job = Convolution { filters, steps, input, residual, output, activation, after, spread };
                share(self.context, buffer, cost, |buffer, part| job.run(buffer, part))
            }
            Work::Winograd { winograd, activation, after, .. } => {
                let (activation, after, before) = (*activation, *after, steps.before);
                let job = Tiles { winograd, before, input, residual, output, activation, after };
                let scratch = Shared::new(scratch);
                share(self.context, buffer, cost, |buffer, part| job.run(buffer, scratch, part))
            }
            Work::Depthwise { windows, activation, after, .. } => {
                let (activation, after) = (*activation, *after);
                let job = Depthwise { windows, steps, input, residual, output, activation, after };
                share(self.context, buffer, cost, |buffer, part| job.run(buffer, part))
            }
            Work::Dynamic(own) => {
                let channels = step.inputs.first().and_then(|input| self.region.flow.channels.get(input.0));
                let channels = channels.copied().unwrap_or(0);
                let border = planned.bytes.unwrap_or_default();
                let sizes = Sizes { input, channels, residual, output, steps, border, cost };
                dynamic::run(own, &sizes, buffer, bytes, self.context)
            }
            Work::Spread { places, times, after, .. } => {
                for (number, Spreading { filters, before }) in places.iter().enumerate() {
                    let place = [number / times[1], number % times[1]];
                    let steps = Steps { before: *before, ..steps };
                    let spread = Some(Spread { times: *times, place });
                    let (activation, after, residual) = (Activation::Identity, *after, None);
                    let job =
                        Convolution { filters, steps, input, residual, output, activation, after, spread };
                    share(self.context, buffer, cost / places.len(), |buffer, part| job.run(buffer, part))?;
                }
                Ok(())
            }
            Work::Maximum { window, .. } => {
                let job = Pool { level, pooling: Pooling::Maximum, window: *window, steps, input, output };
                share(self.context, buffer, cost, |buffer, part| job.run(buffer, part))
            }
            Work::Mean { window, .. } => {
                let [rows, columns] = &planned.counts;
                let pooling = Pooling::Mean(rows, columns);
                let job = Pool { level, pooling, window: *window, steps, input, output };
                share(self.context, buffer, cost, |buffer, part| job.run(buffer, part))
            }
            Work::GlobalMean => {
                let job = Mean { level, input, output };
                share(self.context, buffer, 8 * input.planes.len(), |buffer, part| job.run(buffer, part))
            }
            Work::Image { activation, .. } | Work::Pixel { activation, .. } => {
                let second = residual.ok_or_else(|| engine("a step without its second input"))?;
                let other = match &step.work {
                    Work::Pixel { binary, .. } => Other::Pixel(*binary, second),
                    Work::Image { binary, .. } => Other::Image(*binary, second),
                    _ => Other::Image(Binary::Add, second),
                };
                self.each(input, other, *activation, output, buffer, cost)
            }
            Work::Channels { factors, summands, activation } => {
                self.each(input, Other::Channels(factors, summands), *activation, output, buffer, cost)
            }
            Work::Activation(activation) => self.each(input, Other::None, *activation, output, buffer, cost),
            Work::Copy(mix) => {
                let job = Mixing { mix, inputs: &images, output };
                share(self.context, buffer, cost, |buffer, part| job.run(buffer, part))
            }
            Work::Resize(_) | Work::Pad(_) => {
                let fill = if let Work::Pad(surround) = &step.work { surround.fill } else { 0.0 };
                match &planned.sources {
                    Some(Sources::Picked([rows, columns])) => {
                        share(self.context, buffer, cost, |buffer, part| {
                            resampling::pick(input, [rows, columns], fill, output, buffer, part)
                        })
                    }
                    Some(Sources::Between([rows, columns])) => {
                        let job = Interpolation { level, rows, columns, input, output };
                        share(self.context, buffer, cost, |buffer, part| job.run(buffer, part))
                    }
                    None => Err(engine("a step of a region does not know where its pixels come from")),
                }
            }
            Work::Normalization { group, epsilon, factors, summands, activation } => {
                let channels = self.region.flow.channels.get(step.output.0).copied().unwrap_or(0);
                let (group, epsilon, activation) = (*group, *epsilon, *activation);
                let job =
                    Moments { level, channels, group, epsilon, factors, summands, activation, input, output };
                share(self.context, buffer, cost, |buffer, part| job.run(buffer, part))
            }
            Work::Sample(steps) => share(self.context, buffer, cost, |buffer, part| {
                layout::sample(input, *steps, output, buffer, part)
            }),
            Work::Narrow => {
                share(self.context, buffer, cost, |buffer, part| narrow(level, input, output, buffer, part))
            }
            Work::Repeat(times) => share(self.context, buffer, cost, |buffer, part| {
                layout::repeat(input, *times, output, buffer, part)
            }),
        }
    }

    fn each(
        &self,
        input: Images<'_>,
        other: Other<'_>,
        activation: Activation,
        output: Planes,
        buffer: Shared<'_>,
        cost: usize,
    ) -> Result<(), OperatorError> {
        let job = Elementwise { level: self.region.level, input, other, activation, output };
        share(self.context, buffer, cost, |buffer, part| job.run(buffer, part))
    }
}
