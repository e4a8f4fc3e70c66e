//! A region of quantised numbers as an operator.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    super::step::Value as Number,
    draft::{Exit, Passage},
    schedule::{Place, Planned, Schedule, needed},
    step::{Entry, Flow, Step, Work},
};
use crate::{
    operators::{
        Context, Divisible, Operator, OperatorError,
        share::{share, unfit, with_crew},
    },
    tensor::{Element, ElementType, Tensor, Value},
};
use adytum_kernels::{
    buffer::Shared,
    integer::{
        Images, Instructions,
        convolution::Convolution,
        depthwise::Depthwise,
        elementwise::{Pair, Tables, look_up},
        layout::{self, Entering, Leaving},
        memory::Bytes,
        pool::{Mean, Pool, Pooling},
        target::Target,
    },
};

/// Schedules that are kept: models are asked for few sizes, mostly.
const SCHEDULES: usize = 8;

/// Bytes of memory that are kept for the next run: fresh pages cost more than small runs.
const SPARE: usize = 16 << 20;

/// The sizes of the inputs, and the outputs that are wanted.
type Key = (Vec<Option<Vec<usize>>>, Vec<bool>);

/// A compiled region.
pub(crate) struct Region {
    flow: Flow,
    instructions: Instructions,
    schedules: Mutex<Vec<(Key, Arc<Schedule>)>>,
    spare: Mutex<Option<Bytes>>,
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
        let wanted = vec![true; self.flow.exits.len()];
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
        let entries = self.flow.entries.iter();
        entries.map(|entry| needed.get(entry.value.0).copied().unwrap_or(true)).collect()
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
    pub(crate) fn new(flow: Flow, instructions: Instructions) -> Self {
        Self { flow, instructions, schedules: Mutex::default(), spare: Mutex::default() }
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
        let bytes = schedule.total.saturating_add(schedule.scratch.saturating_mul(threads));
        context.budget().charge(bytes)?;
        let result = with_crew(context, |context| {
            Run { region: self, schedule: &schedule, context }.all(&tensors, wanted)
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
        for (entry, shape) in self.flow.entries.iter().zip(&key.0) {
            let channels = self.flow.channels.get(entry.value.0).copied().unwrap_or(0);
            sizes.push(match shape.as_deref() {
                None => None,
                Some(&[images, found, height, width]) if found == channels => Some([images, height, width]),
                Some(&[rows, found]) if found == channels => Some([rows, 1, 1]),
                Some(shape) => {
                    return Err(OperatorError::inputs(format!(
                        "images of the shape {shape:?} were given; expected 4 dimensions and {channels} channels"
                    )));
                }
            });
        }
        let schedule = Arc::new(Schedule::new(&self.flow, &sizes, wanted)?);
        if schedules.len() >= SCHEDULES {
            schedules.remove(0);
        }
        schedules.push((key, Arc::clone(&schedule)));
        Ok(schedule)
    }

    /// Memory of `count` bytes, of any contents.
    fn memory(&self, count: usize) -> Bytes {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        spare.filter(|buffer| buffer.len() >= count).unwrap_or_else(|| Bytes::zeros(count))
    }

    fn give_back(&self, buffer: Bytes) {
        if buffer.len() <= SPARE {
            *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(buffer);
        }
    }
}

/// A run with its plan of memory.
struct Run<'a> {
    region: &'a Region,
    schedule: &'a Schedule,
    context: &'a Context<'a>,
}

impl Run<'_> {
    fn all(&self, inputs: &[Option<Tensor>], wanted: &[bool]) -> Result<Vec<Option<Value>>, OperatorError> {
        let mut memory = self.region.memory(self.schedule.total);
        let result = self.within(&mut memory, inputs, wanted);
        self.region.give_back(memory);
        result
    }

    fn within(
        &self,
        memory: &mut [u8],
        inputs: &[Option<Tensor>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Value>>, OperatorError> {
        let flow = &self.region.flow;
        for (entry, tensor) in flow.entries.iter().zip(inputs) {
            if let Some(tensor) = tensor {
                self.enter(entry, tensor, memory)?;
            }
        }
        for planned in &self.schedule.steps {
            self.context.check()?;
            let step = flow.steps.get(planned.step).ok_or_else(|| engine("a step is missing"))?;
            self.step(step, planned, memory)?;
        }
        let mut outputs = Vec::with_capacity(flow.exits.len());
        for (exit, wanted) in flow.exits.iter().zip(wanted) {
            outputs.push(if *wanted { Some(self.leave(exit, memory)?) } else { None });
        }
        Ok(outputs)
    }

    fn place(&self, value: Number) -> Result<&Place, OperatorError> {
        let found = self.schedule.places.get(value.0).and_then(Option::as_ref);
        found.ok_or_else(|| engine("a value of a region has no place"))
    }

    fn channels(&self, value: Number) -> usize {
        self.region.flow.channels.get(value.0).copied().unwrap_or(0)
    }

    fn enter(&self, entry: &Entry, tensor: &Tensor, memory: &mut [u8]) -> Result<(), OperatorError> {
        let Place { planes, range, around } = self.place(entry.value)?;
        let wrong = || engine("an input is of another type than the plan says");
        let values = match entry.passage {
            Passage::Floats(scale) => Entering::Floats(tensor.values::<f32>().ok_or_else(wrong)?, scale),
            Passage::Bytes(ElementType::Int8) => Entering::Signed(tensor.values::<i8>().ok_or_else(wrong)?),
            Passage::Bytes(_) => Entering::Unsigned(tensor.values::<u8>().ok_or_else(wrong)?),
        };
        let target = memory.get_mut(range.clone()).ok_or_else(|| engine("no room for an input"))?;
        layout::fill_border(*planes, *around, target).map_err(unfit)?;
        let (instructions, channels) = (self.region.instructions, self.channels(entry.value));
        share(self.context, Shared::new(target), 8 * planes.len(), |buffer, part| {
            layout::enter(instructions, values, channels, *planes, buffer, part)
        })
    }

    #[expect(clippy::redundant_closure, reason = "the variants themselves are of one lifetime only")]
    fn leave(&self, exit: &Exit, memory: &[u8]) -> Result<Value, OperatorError> {
        let channels = self.channels(exit.value);
        let Place { planes, range, .. } = self.place(exit.value)?;
        let values = memory.get(range.clone()).ok_or_else(|| engine("an output is not there"))?;
        let mut shape = vec![planes.images, channels, planes.height, planes.width];
        if exit.is_matrix {
            shape.truncate(2);
        }
        let input = Images { planes: *planes, values };
        match exit.passage {
            Passage::Floats(scale) => {
                self.leave_as::<f32>(input, channels, shape, |buffer| Leaving::Floats(buffer, scale))
            }
            Passage::Bytes(ElementType::Int8) => {
                self.leave_as::<i8>(input, channels, shape, |buffer| Leaving::Signed(buffer))
            }
            Passage::Bytes(_) => {
                self.leave_as::<u8>(input, channels, shape, |buffer| Leaving::Unsigned(buffer))
            }
        }
    }

    fn leave_as<T: Element + Copy + Default + Send>(
        &self,
        input: Images<'_>,
        channels: usize,
        shape: Vec<usize>,
        leaving: impl Fn(Shared<'_, T>) -> Leaving<'_> + Sync,
    ) -> Result<Value, OperatorError> {
        let count = self.context.reserve(T::TYPE, &shape)?;
        let mut result = vec![T::default(); count];
        share(self.context, Shared::new(&mut result), 8 * count, |buffer, part| {
            layout::leave(input, channels, leaving(buffer), part)
        })?;
        let tensor = Tensor::from_vec(shape, result).ok_or_else(|| engine("an output of another size"))?;
        Ok(Value::Tensor(tensor))
    }

    fn step(&self, step: &Step, planned: &Planned, memory: &mut [u8]) -> Result<(), OperatorError> {
        let Place { planes: output, range, around } = self.place(step.output)?;
        let output = *output;
        // The inputs are before or after the output in memory.
        let (before, rest) =
            memory.split_at_mut_checked(range.start).ok_or_else(|| engine("no room for a value"))?;
        let (target, after) =
            rest.split_at_mut_checked(range.len()).ok_or_else(|| engine("no room for a value"))?;
        let mut images = Vec::with_capacity(step.inputs.len());
        for input in &step.inputs {
            let Place { planes, range: place, .. } = self.place(*input)?;
            let values = if place.end <= range.start {
                before.get(place.clone())
            } else {
                let start = place.start.checked_sub(range.end);
                start.and_then(|start| after.get(start..start + place.len()))
            };
            let values = values.ok_or_else(|| engine("a value is not where it was put"))?;
            images.push(Images { planes: *planes, values });
        }
        layout::fill_border(output, *around, target).map_err(unfit)?;
        let buffer = Shared::new(target);
        let Some(input) = images.first().copied() else { return Err(engine("a step without inputs")) };
        let (steps, cost, residual) = (planned.steps, planned.cost, images.get(1).copied());
        match &step.work {
            Work::Convolution { filters, finish, .. } => {
                let target = |output| Target::Bytes { output, finish: *finish, residual };
                let job = Convolution { filters, steps, input, bias: None, output };
                share(self.context, buffer, cost, |buffer, part| job.run(&target(buffer), part))
            }
            Work::Depthwise { windows, finish, .. } => {
                let target = |output| Target::Bytes { output, finish: *finish, residual };
                let job = Depthwise { windows, steps, input, bias: None, output };
                share(self.context, buffer, cost, |buffer, part| job.run(&target(buffer), part))
            }
            Work::Maximum { window, .. } => {
                let job = Pool { pooling: Pooling::Maximum, window: *window, steps, input, output };
                share(self.context, buffer, cost, |buffer, part| job.run(buffer, part))
            }
            Work::Mean { window, from, to, is_signed, .. } => {
                let [rows, columns] = &planned.counts;
                let (counts, from, to, is_signed) =
                    ([rows.as_slice(), columns.as_slice()], *from, *to, *is_signed);
                let pooling = Pooling::Mean { counts, from, to, is_signed };
                let job = Pool { pooling, window: *window, steps, input, output };
                share(self.context, buffer, cost, |buffer, part| job.run(buffer, part))
            }
            Work::GlobalMean { from, to } => {
                let job = Mean { input, output, from: *from, to: *to };
                share(self.context, buffer, 2 * input.planes.len(), |buffer, part| job.run(buffer, part))
            }
            Work::Pair { function, .. } => {
                let second = residual.ok_or_else(|| engine("a step without its second input"))?;
                let (instructions, function) = (self.region.instructions, *function);
                let job = Pair { instructions, function, first: input, second, output };
                share(self.context, buffer, cost, |buffer, part| job.run(buffer, part))
            }
            Work::Copy(parts) => {
                for (input, own) in images.iter().zip(parts) {
                    share(self.context, buffer, cost, |buffer, part| {
                        layout::copy(*input, &own.runs, own.table.as_deref(), output, buffer, part)
                    })?;
                }
                Ok(())
            }
            Work::Table(table) => share(self.context, buffer, cost, |buffer, part| {
                look_up(Tables::One(table), input, output, buffer, part)
            }),
            Work::Tables(tables) => share(self.context, buffer, cost, |buffer, part| {
                look_up(Tables::Each(tables), input, output, buffer, part)
            }),
            Work::Repeat(times) => share(self.context, buffer, cost, |buffer, part| {
                layout::repeat(input, *times, output, buffer, part)
            }),
        }
    }
}
