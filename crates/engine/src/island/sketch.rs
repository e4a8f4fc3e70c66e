//! What the values of an island take, over its inputs' shapes.

use std::collections::HashMap;

use super::{Operand, plot::Plot};
use crate::{
    facts::size::{Size, Sizes, product, value_of},
    onnx::model::ValueId,
};

/// A dimension of an input: which input, which dimension.
type Place = (usize, usize);

/// What the values of an island take. It says nothing where a shape is not known.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    sizes: Sizes,
    /// For each step of the computation: how many bytes are alive then.
    alive: Vec<Size>,
    /// The values, if the island has several outputs.
    held: Vec<Held>,
    /// Dimensions of inputs, and the first dimension that has the same size.
    alike: Vec<(Place, Place)>,
}

/// A value while it is alive.
#[derive(Debug)]
struct Held {
    /// The member that makes it.
    member: usize,
    /// The last member that takes it.
    end: usize,
    bytes: Size,
}

impl Sketch {
    /// The sketch of an island with these inputs.
    pub(super) fn new(plot: &Plot<'_>, inputs: &[ValueId]) -> Self {
        draw(plot, inputs).unwrap_or_default()
    }

    /// The most bytes that are alive at once, as far as the shapes of the inputs tell.
    pub(super) fn peak(&self, shapes: &[Vec<usize>]) -> Option<usize> {
        let values = self.sizes.evaluate(shapes);
        let mut peak = 0;
        for size in &self.alive {
            peak = peak.max(usize::try_from(value_of(size, &values)?).ok()?);
        }
        Some(peak)
    }

    /// The same when only some members run. A shape that is `None` is of an input that they don't
    /// need. A value may end sooner than is counted here, if its last taker does not run.
    pub(super) fn peak_of(&self, shapes: &[Option<Vec<usize>>], members: &[bool]) -> Option<usize> {
        let mut known: Vec<Vec<usize>> =
            shapes.iter().map(|shape| shape.clone().unwrap_or_default()).collect();
        for ((input, dimension), (first, place)) in &self.alike {
            let size = shapes.get(*input).and_then(Option::as_ref).and_then(|shape| shape.get(*dimension));
            let is_missing = shapes.get(*first).is_some_and(Option::is_none);
            if let (Some(size), true, Some(shape)) = (size, is_missing, known.get_mut(*first)) {
                shape.resize(shape.len().max(place + 1), 0);
                if let Some(place) = shape.get_mut(*place) {
                    *place = *size;
                }
            }
        }
        let values = self.sizes.evaluate(&known);
        let mut changes: Vec<((usize, bool), i64)> = Vec::new();
        for held in &self.held {
            if members.get(held.member).copied().unwrap_or(true) {
                let bytes = value_of(&held.bytes, &values)?;
                changes.push(((held.member, false), bytes));
                changes.push(((held.end, true), -bytes));
            }
        }
        changes.sort_unstable();
        let (mut now, mut peak) = (0_i64, 0_i64);
        for ((_, ends), bytes) in changes {
            now = now.checked_add(bytes)?;
            peak = if ends { peak } else { peak.max(now) };
        }
        usize::try_from(peak).ok()
    }
}

fn draw(plot: &Plot<'_>, inputs: &[ValueId]) -> Option<Sketch> {
    // The program's sizes are over the dimensions of the program's inputs. Those of the island's
    // inputs that are plain dimensions become the island's own.
    let mut sizes = Sizes::default();
    let mut known: HashMap<Size, Size> = HashMap::new();
    let mut origins: HashMap<Size, (usize, usize)> = HashMap::new();
    let mut alike = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let shape = plot.facts.get(input)?.shape.as_ref()?;
        let dimensions: Vec<Option<usize>> =
            shape.iter().map(|size| size.value().and_then(|size| usize::try_from(size).ok())).collect();
        let own = sizes.input(index, &dimensions);
        for (dimension, (outer, own)) in shape.iter().zip(own).enumerate() {
            let first = *origins.entry(outer.clone()).or_insert((index, dimension));
            if first != (index, dimension) {
                alike.push(((index, dimension), first));
            }
            known.entry(outer.clone()).or_insert(own);
        }
    }
    let mut last_use: HashMap<ValueId, usize> = HashMap::new();
    for (step, member) in plot.members.iter().enumerate() {
        for operand in member.translation.nodes.iter().flat_map(|node| node.inputs.iter().flatten()) {
            if let Operand::Value(value) = operand {
                last_use.insert(*value, step);
            }
        }
    }
    for output in &plot.outputs {
        last_use.insert(*output, usize::MAX);
    }
    let mut translated = Translator { outer: plot.sizes, inner: &mut sizes, known };
    let mut bytes: HashMap<ValueId, Size> = HashMap::new();
    let mut alive_now = Size::from(0);
    let mut alive = Vec::with_capacity(plot.members.len());
    let mut ends: HashMap<usize, Vec<ValueId>> = HashMap::new();
    let mut held = Vec::new();
    for (step, member) in plot.members.iter().enumerate() {
        for output in member.outputs.iter().flatten() {
            let Some(end) = last_use.get(output) else { continue };
            let shape = plot.facts.get(output)?.shape.as_ref()?;
            let elements =
                product(&shape.iter().map(|size| translated.translate(size)).collect::<Option<Vec<_>>>()?)?;
            let size = elements.times(&Size::from(4))?;
            alive_now = alive_now.plus(&size)?;
            if plot.outputs.len() > 1 {
                held.push(Held { member: step, end: *end, bytes: size.clone() });
            }
            bytes.insert(*output, size);
            ends.entry(*end).or_default().push(*output);
        }
        if alive.last() != Some(&alive_now) {
            alive.push(alive_now.clone());
        }
        for ended in ends.remove(&step).unwrap_or_default() {
            if let Some(size) = bytes.get(&ended) {
                alive_now = alive_now.minus(size)?;
            }
        }
    }
    Some(Sketch { sizes, alive, held, alike })
}

/// Writes sizes over the program's inputs as sizes over the island's.
struct Translator<'a> {
    outer: &'a Sizes,
    inner: &'a mut Sizes,
    known: HashMap<Size, Size>,
}

impl Translator<'_> {
    fn translate(&mut self, size: &Size) -> Option<Size> {
        if size.value().is_some() {
            return Some(size.clone());
        }
        if let Some(known) = self.known.get(size) {
            return Some(known.clone());
        }
        let translated = self.outer.rewrite(size, self.inner, &self.known, 0)?;
        self.known.insert(size.clone(), translated.clone());
        Some(translated)
    }
}
