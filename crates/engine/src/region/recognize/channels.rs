//! Operators that move channels or pixels: concatenations, splits, shuffles, resizing.

use super::{Form, Known, Piece, Reader};
use crate::{
    onnx::model::{Node, ValueId},
    outside::Outside,
    tensor::ElementType,
};
use adytum_kernels::layout::Channels;

/// A shuffle of channels: a form that [`super::recognize`] does not see, as images have five dimensions in between. The
/// nodes are a `Reshape` that makes a matrix of the channels, a `Transpose` of it, and a `Reshape`.
pub(crate) fn recognize_shuffle(nodes: [&Node; 3], known: &dyn Known) -> Option<Piece> {
    let [first, middle, last] = nodes;
    let operators = [("Reshape", first), ("Transpose", middle), ("Reshape", last)];
    let plain = |(operator, node): &(&str, &Node)| node.domain.is_empty() && node.operator == *operator;
    let permutation = middle.attributes.integers("perm").ok()??;
    if !operators.iter().all(plain) || permutation != [0, 2, 1, 3, 4] {
        return None;
    }
    let input = first.inputs.first().copied().flatten()?;
    let output = last.outputs.first().copied().flatten()?;
    let shape = |value: ValueId| known.fact(value).and_then(|fact| fact.shape);
    let (before, after) = (shape(input)?, shape(output)?);
    let between = shape(first.outputs.first().copied().flatten()?)?;
    let [images, groups, size, height, width] = between.as_slice() else { return None };
    let is_float = known.fact(input)?.element_type() == Some(ElementType::Float);
    let is_same = before.len() == 4
        && before == after
        && before.first() == Some(images)
        && before.get(2) == Some(height)
        && before.get(3) == Some(width);
    let number = |size: &crate::facts::size::Size| usize::try_from(size.value()?).ok();
    let (groups, size, channels) = (number(groups)?, number(size)?, number(before.get(1)?)?);
    if !is_float || !is_same || channels == 0 || groups.checked_mul(size) != Some(channels) {
        return None;
    }
    let runs =
        (0..channels).map(|to| Channels { from: to % groups * size + to / groups, to, count: 1 }).collect();
    Some(Piece { form: Form::Copy(vec![runs]), inputs: vec![(input, channels)], output, channels })
}

/// How often a node that resizes images repeats pixels, downwards and to the right.
///
/// # Errors
/// Why it does not do that.
pub(crate) fn repeated(node: &Node, known: &mut dyn Known) -> Result<[usize; 2], Outside> {
    Reader { node, known }.times()
}

impl Reader<'_> {
    pub(super) fn concatenation(&mut self) -> Result<Vec<Piece>, Outside> {
        if self.axis(self.integer("axis", 1)?) != 1 {
            return Err(Outside::Attribute("axis"));
        }
        if self.node.inputs.is_empty() {
            return Err(Outside::Image(0));
        }
        let mut inputs = Vec::new();
        let mut runs = Vec::new();
        let mut to = 0;
        for index in 0..self.node.inputs.len() {
            let (value, count) = self.image(index)?;
            inputs.push((value, count));
            runs.push(vec![Channels { from: 0, to, count }]);
            to += count;
        }
        Ok(vec![Piece { form: Form::Copy(runs), inputs, output: self.output()?, channels: to }])
    }

    pub(super) fn split(&mut self) -> Result<Vec<Piece>, Outside> {
        let (value, channels) = self.image(0)?;
        if self.axis(self.integer("axis", 0)?) != 1 {
            return Err(Outside::Attribute("axis"));
        }
        let mut pieces = Vec::new();
        let mut from = 0;
        for output in &self.node.outputs {
            let output = output.ok_or(Outside::Outputs)?;
            let count = self.known.fact(output).and_then(|fact| usize::try_from(fact.dimension(1)?).ok());
            let count = count.filter(|count| *count > 0).ok_or(Outside::Sizes)?;
            let runs = vec![vec![Channels { from, to: 0, count }]];
            let inputs = vec![(value, channels)];
            pieces.push(Piece { form: Form::Copy(runs), inputs, output, channels: count });
            from += count;
        }
        if from == channels && !pieces.is_empty() { Ok(pieces) } else { Err(Outside::Sizes) }
    }

    /// A run of channels.
    pub(super) fn slice(&mut self) -> Result<Vec<Piece>, Outside> {
        let (value, channels) = self.image(0)?;
        let one = |index: usize| {
            let numbers = self.input(index).and_then(|value| self.known.fact(value)?.known_integers());
            match numbers.as_deref() {
                Some([number]) => Ok(*number),
                _ => Err(Outside::Constant(index)),
            }
        };
        let (start, end) = (one(1)?, one(2)?);
        let (axis, step) = (one(3)?, if self.input(4).is_some() { one(4)? } else { 1 });
        if self.axis(axis) != 1 || step != 1 {
            return Err(Outside::Attribute("axis or step"));
        }
        let size = i64::try_from(channels).map_err(|_| Outside::Image(0))?;
        let place = |index: i64| {
            let index = if index < 0 { index.saturating_add(size) } else { index };
            usize::try_from(index.clamp(0, size)).unwrap_or_default()
        };
        let (from, end) = (place(start), place(end));
        let count = end.checked_sub(from).filter(|count| *count > 0).ok_or(Outside::Sizes)?;
        let form = Form::Copy(vec![vec![Channels { from, to: 0, count }]]);
        Ok(vec![Piece { form, inputs: vec![(value, channels)], output: self.output()?, channels: count }])
    }

    /// Pixels that are repeated a whole number of times, or other pixels of another size.
    pub(super) fn resize(&mut self) -> Result<Vec<Piece>, Outside> {
        match self.times() {
            Ok(times) => self.of_image(0, Form::Repeat(times)),
            Err(_) => self.resizing(),
        }
    }

    /// How often pixels are repeated.
    fn times(&mut self) -> Result<[usize; 2], Outside> {
        let attributes = &self.node.attributes;
        let is_old = self.node.operator == "Upsample" || self.node.opset < 11;
        let text = |name: &'static str, default: &'static str| -> Result<String, Outside> {
            let found = attributes.text(name).map_err(|_| Outside::Attribute(name))?;
            Ok(found.unwrap_or(default).to_owned())
        };
        let mode = text("mode", "nearest")?;
        let coordinates =
            text("coordinate_transformation_mode", if is_old { "asymmetric" } else { "half_pixel" })?;
        let nearest = text("nearest_mode", if is_old { "floor" } else { "round_prefer_floor" })?;
        // Both give the pixel whose number is rounded down where the factor is a whole number.
        let rounds_down = match coordinates.as_str() {
            "asymmetric" => nearest == "floor",
            "half_pixel" | "pytorch_half_pixel" => nearest == "round_prefer_floor",
            _ => false,
        };
        let sizes = if is_old { None } else { self.input(3) };
        let is_wrong = [
            ("mode", mode != "nearest"),
            ("coordinate_transformation_mode or nearest_mode", !rounds_down),
            ("axes", attributes.contains("axes")),
        ];
        if let Some((name, _)) = is_wrong.into_iter().find(|(_, is_wrong)| *is_wrong) {
            return Err(Outside::Attribute(name));
        }
        if sizes.is_some() {
            return Err(Outside::Constant(3));
        }
        let (place, constant) = (if is_old { 1 } else { 2 }, attributes.contains("scales"));
        let scales = if constant {
            attributes.floats("scales").ok().flatten().map(<[f32]>::to_vec)
        } else {
            self.floats(place)?.values::<f32>().map(<[f32]>::to_vec)
        };
        let wrong = if constant { Outside::Attribute("scales") } else { Outside::Constant(place) };
        let (down, right) = match scales.as_deref() {
            Some(&[1.0, 1.0, down, right]) => (down, right),
            Some(&[1.0, 1.0, right]) => (1.0, right),
            _ => return Err(wrong),
        };
        let whole = |factor: f32| {
            let is_whole = (1.0..=64.0).contains(&factor) && factor.fract() == 0.0;
            is_whole.then_some(factor as usize)
        };
        Ok([whole(down).ok_or(wrong)?, whole(right).ok_or(wrong)?])
    }
}
