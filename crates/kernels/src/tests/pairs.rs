//! Convolutions of 16-bit floats in plain loops, in the order of the kernels.

use super::{
    super::{
        BLOCK, Level, Part,
        activation::Activation,
        bfloat::{Form, WORDS, dot, dot_of_tiles, round, widen, word},
        buffer::{Buffer, Shared},
        convolution::Images,
        layout,
        narrowing::narrow,
        planes::Planes,
    },
    plain::{Case, Plain, apply},
};

/// Images in planes of floats, as 16-bit floats if they are to be.
pub(super) fn narrowed((planes, values): (Planes, Buffer), is_narrow: bool) -> (Planes, Buffer) {
    if !is_narrow {
        return (planes, values);
    }
    let output = planes.narrow();
    let mut buffer = Buffer::zeros(output.len());
    buffer.fill(f32::NAN);
    layout::clear_border(output, &mut buffer).unwrap();
    narrow(Level::best(), Images { planes, values: &values }, output, Shared::new(&mut buffer), Part::WHOLE)
        .unwrap();
    (output, buffer)
}

/// Images of 16-bit floats as floats.
pub(super) fn widened((planes, values): (Planes, Buffer)) -> (Planes, Buffer) {
    if planes.lanes != WORDS {
        return (planes, values);
    }
    let mut buffer = Buffer::zeros(2 * values.len());
    for (pair, word) in buffer.chunks_exact_mut(2).zip(values.iter()) {
        pair.copy_from_slice(&[widen(word.to_bits() as u16), widen((word.to_bits() >> 16) as u16)]);
    }
    (Planes { lanes: BLOCK, ..planes }, buffer)
}

/// `[image][channel][row][column]` of a convolution, with what is added to it, which may be narrow.
pub(super) fn expected(
    case: &Case,
    input: &Plain,
    weights: &[f32],
    bias: &[f32],
    (added, is_narrow): (Option<&Plain>, bool),
    form: Form,
    after: Activation,
) -> Vec<f32> {
    let [height, width] = case.output().unwrap();
    let (inputs, per_group) = (case.channels / case.groups, case.outputs / case.groups);
    let [rows, columns] = case.window;
    let mut result = Vec::new();
    for image in 0..case.images {
        for (output, bias) in bias.iter().enumerate() {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let mut sum = *bias;
                let places = (0..inputs).step_by(BLOCK).flat_map(|block| {
                    let windows =
                        (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)));
                    windows.map(move |tap| (block, tap))
                });
                for (block, (row, column)) in places {
                    let at = |axis: usize, place: usize, tap: usize| {
                        (place * case.strides[axis] + tap * case.dilations[axis]) as isize
                            - case.before[axis] as isize
                    };
                    let value = |channel: usize| {
                        let channel = output / per_group * inputs + channel;
                        input.at(image, channel, at(0, y, row), at(1, x, column)) as f32
                    };
                    let weight = |channel: usize| {
                        weights[((output * inputs + channel) * rows + row) * columns + column]
                    };
                    let words = (block..inputs.min(block + BLOCK)).step_by(2).map(|channel| {
                        // A channel may have no other one.
                        let [other, other_weight] = match channel + 1 < inputs {
                            true => [value(channel + 1), weight(channel + 1)],
                            false => [0.0; 2],
                        };
                        (word(value(channel), other), word(weight(channel), other_weight))
                    });
                    sum = match form {
                        Form::Tile => dot_of_tiles(sum, words),
                        _ => words.fold(sum, |sum, (left, right)| dot(sum, left, right)),
                    };
                }
                if let Some(added) = added {
                    let value = added.at(image, output, y as isize, x as isize) as f32;
                    sum += if is_narrow { widen(round(value)) } else { value };
                }
                result.push(apply(after, sum.into()) as f32);
            }
        }
    }
    result
}
