//! Kernels that read or write images of 16-bit floats: their answers are those for the floats that these are, bit for bit,
//! rounded where they are written.

use proptest::prelude::*;

use super::{
    pairs::{self, narrowed, widened},
    plain::{ACTIVATIONS, Case, Plain, cases, left, levels, numbers, parts},
};
use crate::{
    Level, Part,
    activation::Activation,
    arena::Arena,
    bfloat::{self, Form},
    buffer::{Buffer, Shared},
    channels::{Mix, Mixing},
    convolution::{Convolution, Images},
    depthwise::{Depthwise, Windows},
    elementwise::{Binary, Elementwise, Other},
    filters::{Filters, Reading},
    layout::Channels,
    narrowing::enter_pairs,
    planes::{Border, Planes},
    pool::{Mean, Pool, Pooling},
    weights::Weights,
};

/// Images in planes.
type Placed = (Planes, Buffer);

/// The level whose kernels of floats have the operations of those of pairs.
fn level_of_floats(level: Level) -> Level {
    if bfloat::is_available(level) { level } else { Level::Plain }
}

/// Images of 16-bit floats, and the same numbers in images of floats.
fn both(input: &Plain, border: Border) -> [Placed; 2] {
    let narrow = narrowed(input.entered(border, false), true);
    let wide = widened((narrow.0, narrow.1.clone()));
    [narrow, wide]
}

fn images(placed: &Placed) -> Images<'_> {
    Images { planes: placed.0, values: &placed.1 }
}

/// Runs a job that writes narrow images if `is_narrow` says so, and returns the numbers of the images.
fn written(
    output: Planes,
    is_narrow: bool,
    channels: usize,
    run: impl FnOnce(Planes, &mut Buffer),
) -> Vec<f32> {
    let output = if is_narrow { output.narrow() } else { output };
    let mut buffer = Buffer::zeros(output.len());
    buffer.fill(f32::NAN);
    run(output, &mut buffer);
    let (planes, values) = widened((output, buffer));
    left(planes, channels, &values)
}

/// Runs a job with images of 16-bit floats where `narrow` says so (two inputs, the output), and another one with the
/// same numbers in floats, and compares the answers.
fn compare(
    inputs: [&[Placed; 2]; 2],
    (output, channels): (Planes, usize),
    narrow: [bool; 3],
    level: Level,
    run: impl Fn(Level, [Images<'_>; 2], Planes, &mut Buffer),
) -> Result<(), TestCaseError> {
    let [first, second, last] = narrow;
    let given = [images(&inputs[0][usize::from(!first)]), images(&inputs[1][usize::from(!second)])];
    let found = written(output, last, channels, |output, buffer| run(level, given, output, buffer));
    // Without narrow images, the kernels are those of the level.
    let level = if first || second || last { level_of_floats(level) } else { level };
    let given = [images(&inputs[0][1]), images(&inputs[1][1])];
    let expected = written(output, false, channels, |output, buffer| run(level, given, output, buffer));
    prop_assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.into_iter().zip(expected).enumerate() {
        let expected = if last { bfloat::widen(bfloat::round(expected)) } else { expected };
        prop_assert!(found == expected, "{:?}, element {}: {} and not {}", level, index, found, expected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 24 } else { 1500 }))]

    #[test]
    fn first_convolutions_of_pairs_are_chains_of_dots(case in cases(), is_narrow: bool) {
        let [down, _] = case.dilations;
        let case = Case { channels: case.channels % 4 + 1, groups: 1, dilations: [down, 1], ..case };
        prop_assume!(case.output().is_some());
        let input = Plain::new([case.images, case.channels, case.size[0], case.size[1]], 1);
        let shape = [case.outputs, case.channels, case.window[0], case.window[1]];
        let (weights, bias) = (numbers(shape.iter().product(), 2), numbers(case.outputs, 3));
        let after = ACTIVATIONS[case.functions.1 % 3];
        let expected = pairs::expected(&case, &input, &weights, &bias, (None, false), Form::Pair, after);
        let mut planes = Planes::new(case.channels, case.images, case.size[0], case.size[1], case.border());
        (planes.lanes, planes.blocks) = (case.channels.div_ceil(2), 1);
        for level in levels() {
            let mut values = Buffer::zeros(planes.len());
            parts(case.parts, |part| {
                enter_pairs(level, &input.values, case.channels, planes, Shared::new(&mut values), part).unwrap();
            });
            let (form, reading) = ((level, Form::Pair), Reading::Rows);
            let filters =
                Filters::new(form, Weights::plain(&weights), shape, 1, Some(&bias), reading, &mut Arena::default()).unwrap();
            let found = written(case.outputs().0, is_narrow, case.outputs, |output, buffer| {
                let job = Convolution {
                    filters: &filters,
                    steps: case.steps(),
                    input: Images { planes, values: &values },
                    residual: None,
                    output,
                    activation: Activation::Identity,
                    after,
                    spread: None,
                };
                parts(case.parts, |part| job.run(Shared::new(buffer), part).unwrap());
            });
            for (found, expected) in found.into_iter().zip(&expected) {
                let expected = if is_narrow { bfloat::widen(bfloat::round(*expected)) } else { *expected };
                prop_assert_eq!(found, expected, "{:?}", level);
            }
        }
        let tiles = (Level::Plain, Form::Tile);
        prop_assert!(
            Filters::new(tiles, Weights::plain(&weights), shape, 1, None, Reading::Rows, &mut Arena::default()).is_none()
        );
    }

    #[test]
    fn convolutions_by_channels_take_narrow_images(case in cases(), narrow in any::<[bool; 3]>()) {
        let case = Case { outputs: case.channels, groups: case.channels, ..case };
        prop_assume!(case.output().is_some());
        let input = both(&Plain::new([case.images, case.channels, case.size[0], case.size[1]], 1), case.border());
        let sizes = [case.channels, case.window[0], case.window[1]];
        let (weights, bias) = (numbers(sizes.iter().product(), 2), numbers(case.outputs, 3));
        let (output, added) = case.outputs();
        let added = both(&added, Border::default());
        let after = ACTIVATIONS[case.functions.1 % 3];
        let narrow = [narrow[0], narrow[1] && case.adds, narrow[2]];
        for level in levels() {
            compare([&input, &added], (output, case.channels), narrow, level, |level, images, output, buffer| {
                let windows =
                    Windows::new(level, Weights::plain(&weights), sizes, Some(&bias), &mut Arena::default()).unwrap();
                let job = Depthwise {
                    windows: &windows,
                    steps: case.steps(),
                    input: images[0],
                    residual: case.adds.then_some(images[1]),
                    output,
                    activation: Activation::Identity,
                    after,
                };
                parts(case.parts, |part| job.run(Shared::new(buffer), part).unwrap());
                // No pass goes over narrow images.
                let job = Depthwise { activation: Activation::Tanh, output: output.narrow(), ..job };
                assert!(job.run(Shared::new(buffer), Part::WHOLE).is_err());
            })?;
        }
    }

    #[test]
    fn pools_take_narrow_images(case in cases(), narrow in any::<[bool; 2]>()) {
        let Some([height, width]) = case.output() else { return Err(TestCaseError::reject("no place")) };
        let input = both(&Plain::new([case.images, case.channels, case.size[0], case.size[1]], 1), case.border());
        let output = Planes::new(case.channels, case.images, height, width, case.border_of_output());
        let (rows, columns) = (vec![case.window[0] as f32; height], vec![case.window[1] as f32; width]);
        let narrow = [narrow[0], false, narrow[1]];
        for level in levels() {
            for pooling in [Pooling::Maximum, Pooling::Mean(&rows, &columns)] {
                compare([&input, &input], (output, case.channels), narrow, level, |level, images, output, buffer| {
                    let (window, steps, input) = (case.window, case.steps(), images[0]);
                    let job = Pool { level, pooling, window, steps, input, output };
                    parts(case.parts, |part| job.run(Shared::new(buffer), part).unwrap());
                })?;
            }
            let one = Planes::new(case.channels, case.images, 1, 1, Border::default());
            compare([&input, &input], (one, case.channels), narrow, level, |level, images, output, buffer| {
                let job = Mean { level, input: images[0], output };
                parts(case.parts, |part| job.run(Shared::new(buffer), part).unwrap());
            })?;
        }
    }

    #[test]
    fn operators_of_each_element_take_narrow_images(
        case in cases(),
        form in 0_usize..4,
        kind in 0_usize..3,
        narrow in any::<[bool; 3]>(),
    ) {
        let sizes = [case.images, case.channels, case.size[0], case.size[1]];
        let input = both(&Plain::new(sizes, 1), case.border());
        let other = if form == 2 { [sizes[0], sizes[1], 1, 1] } else { sizes };
        let other = both(&Plain::new(other, 2), Border::default());
        let binary = [Binary::Add, Binary::Subtract, Binary::Multiply][kind];
        let padded = case.channels.next_multiple_of(16);
        let (factors, summands) = (numbers(padded, 7), numbers(padded, 8));
        let output = Planes::new(sizes[1], sizes[0], sizes[2], sizes[3], case.border_of_output());
        let narrow = [narrow[0], narrow[1] && form % 3 != 0, narrow[2]];
        let activation = if narrow[2] { Activation::Identity } else { ACTIVATIONS[case.functions.0 % 3] };
        for level in levels() {
            compare([&input, &other], (output, case.channels), narrow, level, |level, images, output, buffer| {
                let other = match form {
                    0 => Other::None,
                    1 => Other::Image(binary, images[1]),
                    2 => Other::Pixel(binary, images[1]),
                    _ => Other::Channels(&factors, &summands),
                };
                let job = Elementwise { level, input: images[0], other, activation, output };
                parts(case.parts, |part| job.run(Shared::new(buffer), part).unwrap());
                // No pass goes over narrow images.
                let job = Elementwise { activation: Activation::Tanh, output: output.narrow(), ..job };
                assert!(job.run(Shared::new(buffer), Part::WHOLE).is_err());
            })?;
        }
    }

    #[test]
    fn channels_of_narrow_images_are_mixed(
        case in cases(),
        pieces in proptest::collection::vec((0_usize..2, 0_usize..60, 1_usize..40), 1..8),
        narrow in any::<[bool; 3]>(),
    ) {
        let sizes = [case.images, case.channels, case.size[0], case.size[1]];
        let inputs = [both(&Plain::new(sizes, 1), case.border()), both(&Plain::new(sizes, 2), Border::default())];
        let mut runs = vec![Vec::new(), Vec::new()];
        let mut channels = 0;
        for (input, first, count) in pieces {
            let from = if first % 2 == 0 { 0 } else { first % case.channels };
            let count = count.min(case.channels - from);
            runs[input].push(Channels { from, to: channels, count });
            channels += count;
        }
        let output = Planes::new(channels, sizes[0], sizes[2], sizes[3], case.border_of_output());
        for level in levels() {
            compare([&inputs[0], &inputs[1]], (output, channels), narrow, level, |level, images, output, buffer| {
                let mix = Mix::new(level, &runs, channels).unwrap();
                let job = Mixing { mix: &mix, inputs: &images, output };
                parts(case.parts, |part| job.run(Shared::new(buffer), part).unwrap());
            })?;
        }
    }
}
