//! Operators that move elements and compute none.

use super::{Inferred, Query, axis, broadcast, elements};
use crate::facts::{
    Fact, dimension_bounds,
    size::{LARGEST_DIMENSION, Size, Sizes},
};

/// The facts about each output.
pub(super) fn infer(query: &Query<'_>, sizes: &mut Sizes) -> Vec<Inferred> {
    let range = query.input(0).and_then(|input| input.bounds(sizes));
    let one =
        |shape: Option<Vec<Size>>, contents: Option<Vec<Size>>| vec![Inferred { shape, contents, range }];
    let contents = query.input(0).and_then(|input| input.contents.clone());
    match query.node.operator.as_str() {
        "Shape" => vec![shape(query, sizes)],
        "Size" => {
            let total = query.shape(0).and_then(|shape| elements(shape));
            vec![Inferred { shape: Some(Vec::new()), contents: total.map(|total| vec![total]), range: None }]
        }
        "Reshape" => {
            let shape = reshape(query, sizes);
            let keeps = shape.as_ref().is_some_and(|shape| shape.len() <= 1);
            one(shape, contents.filter(|_| keeps))
        }
        "Flatten" => one(flatten(query), None),
        "Transpose" => one(transpose(query), contents),
        "Squeeze" => {
            let shape = squeeze(query);
            one(shape, contents)
        }
        "Unsqueeze" => {
            let shape = unsqueeze(query);
            let keeps = shape.as_ref().is_some_and(|shape| shape.len() <= 1);
            one(shape, contents.filter(|_| keeps))
        }
        "Concat" => vec![concat(query, sizes)],
        "Gather" => vec![gather(query, range)],
        "GatherElements" => one(query.shape(1).cloned(), None),
        "GatherND" => one(gather_nd(query), None),
        "Slice" => vec![slice(query, range, sizes)],
        "Split" => split(query, range, sizes),
        "Expand" => {
            let target = query.input(1).and_then(|input| {
                // At least the number of dimensions is known, mostly.
                let rank = || usize::try_from(input.dimension(0)?).ok().filter(|rank| *rank <= 64);
                let open = || Some((0..rank()?).map(|_| sizes.unknown(0, LARGEST_DIMENSION)).collect());
                input.contents.clone().or_else(open)
            });
            let shape = query.shape(0).zip(target).map(|(shape, target)| broadcast(shape, &target, sizes));
            one(shape, None)
        }
        "ConstantOfShape" => vec![constant_of_shape(query)],
        "Tile" => {
            let repeats = query.input(1).and_then(|input| input.contents.clone());
            let shape = query.shape(0).zip(repeats).filter(|(shape, repeats)| shape.len() == repeats.len());
            let tiled = shape.and_then(|(shape, repeats)| {
                shape.iter().zip(&repeats).map(|(size, repeats)| size.times(repeats)).collect()
            });
            one(tiled, None)
        }
        "DepthToSpace" | "SpaceToDepth" => one(blocks(query, sizes), None),
        _ => Vec::new(),
    }
}

fn shape(query: &Query<'_>, sizes: &mut Sizes) -> Inferred {
    let Some(dimensions) = query.shape(0) else {
        return Inferred {
            shape: Some(vec![sizes.unknown(0, 64)]),
            contents: None,
            range: Some(dimension_bounds()),
        };
    };
    let rank = i64::try_from(dimensions.len()).unwrap_or_default();
    let position = |value: Option<i64>, default: i64| {
        let value = value.unwrap_or(default);
        let value = if value < 0 { value + rank } else { value };
        usize::try_from(value.clamp(0, rank)).unwrap_or_default()
    };
    let (Ok(start), Ok(end)) = (query.node.attributes.integer("start"), query.node.attributes.integer("end"))
    else {
        return Inferred::default();
    };
    let (start, end) = (position(start, 0), position(end, rank));
    let contents = dimensions.get(start..end.max(start)).unwrap_or_default().to_vec();
    Inferred {
        shape: Size::known(contents.len()).map(|length| vec![length]),
        contents: Some(contents),
        range: Some(dimension_bounds()),
    }
}

fn reshape(query: &Query<'_>, sizes: &mut Sizes) -> Option<Vec<Size>> {
    let target: Vec<Size> = match query.integers("shape") {
        Some(target) => target.into_iter().map(Size::from).collect(),
        None => match &query.input(1)?.contents {
            Some(contents) => contents.clone(),
            // Only the number of dimensions is known.
            None => {
                let rank = usize::try_from(query.input(1)?.dimension(0)?).ok().filter(|rank| *rank <= 64)?;
                return Some((0..rank).map(|_| sizes.unknown(0, LARGEST_DIMENSION)).collect());
            }
        },
    };
    let input = query.shape(0);
    let keeps_zero = query.integer("allowzero", 0)? != 0;
    let mut output = Vec::with_capacity(target.len());
    let mut open = None;
    for (index, size) in target.into_iter().enumerate() {
        match size.value() {
            Some(0) if !keeps_zero => output.push(input?.get(index)?.clone()),
            Some(-1) => {
                open = Some(index);
                output.push(Size::from(1));
            }
            Some(_) => output.push(size),
            // A size that may be 0 or -1 when the run comes.
            None if sizes.bounds(&size).0 < 0 => output.push(sizes.unknown(0, LARGEST_DIMENSION)),
            None => output.push(size),
        }
    }
    if let Some(index) = open {
        let size = match input.and_then(|input| elements(input)).zip(elements(&output)) {
            Some((total, others)) if sizes.bounds(&others).1 > 0 && others.value() != Some(0) => {
                sizes.quotient(&total, &others)
            }
            _ => sizes.unknown(0, LARGEST_DIMENSION),
        };
        *output.get_mut(index)? = size;
    }
    Some(output)
}

fn flatten(query: &Query<'_>) -> Option<Vec<Size>> {
    let shape = query.shape(0)?;
    let position = query.integer("axis", 1)?;
    let position =
        if position == i64::try_from(shape.len()).ok()? { shape.len() } else { axis(position, shape.len())? };
    let (before, after) = shape.split_at_checked(position)?;
    Some(vec![elements(before)?, elements(after)?])
}

fn transpose(query: &Query<'_>) -> Option<Vec<Size>> {
    let shape = query.shape(0)?;
    match query.integers("perm") {
        None => Some(shape.iter().rev().cloned().collect()),
        Some(order) => order
            .into_iter()
            .map(|position| axis(position, shape.len()).and_then(|position| shape.get(position).cloned()))
            .collect(),
    }
}

fn squeeze(query: &Query<'_>) -> Option<Vec<Size>> {
    let shape = query.shape(0)?;
    match query.integers_or_input("axes", 1).ok()? {
        None => {
            // Which dimensions go depends on their sizes.
            let all_known = shape.iter().all(|size| size.value().is_some());
            all_known.then(|| shape.iter().filter(|size| size.value() != Some(1)).cloned().collect())
        }
        Some(axes) => {
            let axes: Option<Vec<usize>> =
                axes.into_iter().map(|position| axis(position, shape.len())).collect();
            let axes = axes?;
            let kept = shape.iter().enumerate().filter(|(index, _)| !axes.contains(index));
            Some(kept.map(|(_, size)| size.clone()).collect())
        }
    }
}

fn unsqueeze(query: &Query<'_>) -> Option<Vec<Size>> {
    let shape = query.shape(0)?;
    let axes = query.integers_or_input("axes", 1).ok()??;
    let rank = shape.len() + axes.len();
    let axes: Option<Vec<usize>> = axes.into_iter().map(|position| axis(position, rank)).collect();
    let axes = axes?;
    let mut rest = shape.iter().cloned();
    (0..rank).map(|index| if axes.contains(&index) { Some(Size::from(1)) } else { rest.next() }).collect()
}

fn concat(query: &Query<'_>, sizes: &Sizes) -> Inferred {
    let facts: Option<Vec<&Fact>> = query.inputs.iter().copied().collect();
    let Some(facts) = facts else { return Inferred::default() };
    let shape = || {
        let shapes: Option<Vec<&Vec<Size>>> = facts.iter().map(|fact| fact.shape.as_ref()).collect();
        let shapes = shapes?;
        let mut shape = (*shapes.first()?).clone();
        let position = axis(query.integer("axis", 1)?, shape.len())?;
        let mut total = Size::from(0);
        for other in &shapes {
            total = total.plus(other.get(position)?)?;
            for (size, other) in shape.iter_mut().zip(other.iter()) {
                if size.value().is_none() && other.value().is_some() {
                    *size = other.clone();
                }
            }
        }
        *shape.get_mut(position)? = total;
        Some(shape)
    };
    let contents = || {
        let parts: Option<Vec<&Vec<Size>>> = facts.iter().map(|fact| fact.contents.as_ref()).collect();
        Some(parts?.into_iter().flatten().cloned().collect())
    };
    let range = facts.iter().map(|fact| fact.bounds(sizes)).reduce(|left, right| {
        left.zip(right).map(|(left, right)| (left.0.min(right.0), left.1.max(right.1)))
    });
    let shape = shape();
    let is_vector = shape.as_ref().is_some_and(|shape| shape.len() == 1);
    Inferred { contents: contents().filter(|_| is_vector), shape, range: range.flatten() }
}

fn gather(query: &Query<'_>, range: Option<(i128, i128)>) -> Inferred {
    let shape = || {
        let (data, indices) = (query.shape(0)?, query.shape(1)?);
        let position = axis(query.integer("axis", 0)?, data.len())?;
        Some([data.get(..position)?, indices, data.get(position + 1..)?].concat())
    };
    let contents = || {
        let data = query.input(0).filter(|data| data.rank() == Some(1))?;
        let contents = data.contents.as_ref()?;
        let indices = query.input(1)?;
        if indices.rank()? > 1 {
            return None;
        }
        indices
            .known_integers()?
            .into_iter()
            .map(|index| axis(index, contents.len()).and_then(|index| contents.get(index).cloned()))
            .collect()
    };
    Inferred { shape: shape(), contents: contents(), range }
}

fn gather_nd(query: &Query<'_>) -> Option<Vec<Size>> {
    let (data, indices) = (query.shape(0)?, query.shape(1)?);
    let batch = usize::try_from(query.integer("batch_dims", 0)?).ok()?;
    let (depth, outer) = indices.split_last()?;
    let depth = usize::try_from(depth.value()?).ok()?;
    Some([outer, data.get(batch.checked_add(depth)?..)?].concat())
}

fn slice(query: &Query<'_>, range: Option<(i128, i128)>, sizes: &mut Sizes) -> Inferred {
    let Some(shape) = query.shape(0) else { return Inferred { range, ..Inferred::default() } };
    let parts = |name: &str, input: usize| query.integers_or_input(name, input).ok();
    let symbolic = |input: usize| query.input(input).and_then(|input| input.contents.clone());
    let Some(Some(steps)) = parts("steps", 4).map(|steps| Some(steps.unwrap_or_default())) else {
        return Inferred { range, ..Inferred::default() };
    };
    let axes = match parts("axes", 3) {
        Some(Some(axes)) => axes,
        Some(None) => (0..shape.len() as i64).collect(),
        None => return Inferred { range, ..Inferred::default() },
    };
    let known = |name: &str, input: usize| match parts(name, input) {
        Some(Some(values)) => Some(values.into_iter().map(Size::from).collect::<Vec<_>>()),
        _ => symbolic(input),
    };
    let (starts, ends) = (known("starts", 1), known("ends", 2));
    let mut output = shape.clone();
    for (index, position) in axes.iter().enumerate() {
        let Some(position) = axis(*position, shape.len()) else {
            return Inferred { range, ..Inferred::default() };
        };
        let step = steps.get(index).copied().unwrap_or(1);
        let size = shape.get(position).cloned().unwrap_or_default();
        let start = starts.as_ref().and_then(|starts| starts.get(index));
        let end = ends.as_ref().and_then(|ends| ends.get(index));
        let length = length_of_slice(&size, start, end, step, sizes);
        if let Some(dimension) = output.get_mut(position) {
            *dimension = length;
        }
    }
    let contents = || {
        let contents = query.input(0)?.contents.as_ref().filter(|_| shape.len() == 1)?;
        let [step] = (if steps.is_empty() { &[1][..] } else { steps.as_slice() }) else { return None };
        let (start, end) = (starts.as_ref()?.first()?.value()?, ends.as_ref()?.first()?.value()?);
        let length = i64::try_from(contents.len()).ok()?;
        let position = |value: i64, low: i64, high: i64| {
            (if value < 0 { value.saturating_add(length) } else { value }).clamp(low, high)
        };
        let (mut at, end) = if *step > 0 {
            (position(start, 0, length), position(end, 0, length))
        } else {
            (position(start, 0, length - 1), position(end, -1, length - 1))
        };
        let mut taken = Vec::new();
        while *step != 0 && (if *step > 0 { at < end } else { at > end }) {
            taken.push(contents.get(usize::try_from(at).ok()?)?.clone());
            at = at.saturating_add(*step);
        }
        Some(taken)
    };
    Inferred { contents: contents(), shape: Some(output), range }
}

/// How long a slice of a dimension is.
fn length_of_slice(
    size: &Size,
    start: Option<&Size>,
    end: Option<&Size>,
    step: i64,
    sizes: &mut Sizes,
) -> Size {
    let largest = i64::try_from(sizes.bounds(size).1).unwrap_or(LARGEST_DIMENSION).max(0);
    let (Some(start), Some(end)) = (start, end) else { return sizes.unknown(0, largest) };
    if let (Some(size), Some(start), Some(end)) = (size.value(), start.value(), end.value())
        && step != 0
    {
        let position = |value: i64, low: i64, high: i64| {
            (if value < 0 { value.saturating_add(size) } else { value }).clamp(low, high.max(low))
        };
        let length = if step > 0 {
            let (start, end) = (position(start, 0, size), position(end, 0, size));
            end.saturating_sub(start).max(0).div_euclid(step) + i64::from((end - start).max(0) % step != 0)
        } else {
            let (start, end) = (position(start, 0, size - 1), position(end, -1, size - 1));
            let step = step.checked_neg().unwrap_or(i64::MAX);
            (start - end).max(0).div_euclid(step) + i64::from((start - end).max(0) % step != 0)
        };
        return Size::from(length.max(0));
    }
    if step == 1 {
        let whole_end = end.value().is_some_and(|end| end >= LARGEST_DIMENSION) || end == size;
        match start.value() {
            Some(0) if whole_end => return size.clone(),
            // From the start to a known or symbolic place: not more than the dimension has.
            Some(0) if sizes.bounds(end).0 >= 0 => return sizes.smaller(size, end),
            // All but the last ones.
            Some(0) if end.value().is_some_and(|end| end < 0) => {
                if let Some(length) = size.plus(end) {
                    return sizes.larger(&length, &Size::from(0));
                }
            }
            // All but the first ones.
            Some(start) if start > 0 && whole_end => {
                if let Some(length) = size.minus(&Size::from(start)) {
                    return sizes.larger(&length, &Size::from(0));
                }
            }
            // The last ones.
            Some(start) if start < 0 && whole_end => {
                return sizes.smaller(size, &Size::from(start.saturating_neg()));
            }
            _ => {}
        }
    }
    sizes.unknown(0, largest)
}

fn split(query: &Query<'_>, range: Option<(i128, i128)>, sizes: &mut Sizes) -> Vec<Inferred> {
    let outputs = query.node.outputs.len();
    let mut lengths = || {
        let shape = query.shape(0)?;
        let position = axis(query.integer("axis", 0)?, shape.len())?;
        let total = shape.get(position)?;
        let lengths = match query.integers_or_input("split", 1) {
            Ok(Some(lengths)) => lengths.into_iter().map(Size::from).collect(),
            Ok(None) => {
                let parts = i64::try_from(outputs).ok().filter(|parts| *parts > 0)?;
                let whole = total.value()?;
                let length = whole.div_euclid(parts) + i64::from(whole % parts != 0);
                let last = whole - length * (parts - 1);
                (0..parts).map(|part| Size::from(if part == parts - 1 { last } else { length })).collect()
            }
            Err(()) => {
                let high = i64::try_from(sizes.bounds(total).1).ok()?;
                (0..outputs).map(|_| sizes.unknown(0, high)).collect::<Vec<_>>()
            }
        };
        Some((shape.clone(), position, lengths))
    };
    let Some((shape, position, lengths)) = lengths() else {
        return vec![Inferred { range, ..Inferred::default() }; outputs];
    };
    let contents = query.input(0).and_then(|input| input.contents.as_ref()).filter(|_| shape.len() == 1);
    let mut start = Some(0_usize);
    lengths
        .into_iter()
        .map(|length| {
            let mut shape = shape.clone();
            let end = start
                .zip(length.value())
                .and_then(|(start, length)| start.checked_add(usize::try_from(length).ok()?));
            let taken =
                contents.zip(start.zip(end)).and_then(|(contents, (start, end))| contents.get(start..end));
            start = end;
            if let Some(size) = shape.get_mut(position) {
                *size = length;
            }
            Inferred { shape: Some(shape), contents: taken.map(<[Size]>::to_vec), range }
        })
        .collect()
}

fn constant_of_shape(query: &Query<'_>) -> Inferred {
    let value = query.node.attributes.tensor("value").ok().flatten();
    let integer = value.and_then(crate::facts::integers).and_then(|values| values.first().copied());
    let shape = query.input(0).and_then(|input| input.contents.clone());
    let length = shape.as_ref().and_then(|shape| match shape.as_slice() {
        [] => Some(1),
        [length] => usize::try_from(length.value()?).ok().filter(|length| *length <= 64),
        _ => None,
    });
    Inferred {
        contents: integer.zip(length).map(|(value, length)| vec![Size::from(value); length]),
        range: integer.map(|value| (i128::from(value), i128::from(value))),
        shape,
    }
}

fn blocks(query: &Query<'_>, sizes: &mut Sizes) -> Option<Vec<Size>> {
    let [batch, channels, height, width] = query.shape(0)?.as_slice() else { return None };
    let block = Size::from(query.integer("blocksize", 0).filter(|block| *block > 0)?);
    let area = block.times(&block)?;
    Some(if query.node.operator == "DepthToSpace" {
        vec![batch.clone(), sizes.quotient(channels, &area), height.times(&block)?, width.times(&block)?]
    } else {
        vec![
            batch.clone(),
            channels.times(&area)?,
            sizes.quotient(height, &block),
            sizes.quotient(width, &block),
        ]
    })
}
