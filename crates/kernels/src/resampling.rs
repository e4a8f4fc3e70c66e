//! Images of another size: each pixel is taken from a list of places, or is between four others.

#![expect(unsafe_code, reason = "loads and stores through pointers; several threads write one output")]

use super::{
    BLOCK, Level, Part, Unfit,
    buffer::Shared,
    convolution::Images,
    isa::{Isa, Task, dispatch},
    planes::Planes,
};

/// Where each row or column of the output is in the input; `None` for one that is filled.
pub type Places = [Option<usize>];

/// Takes each pixel from its row and its column. Pixels without one are `fill`. Computes this thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes, or a place that is not in the input.
pub fn pick(
    input: Images<'_>,
    [rows, columns]: [&Places; 2],
    fill: f32,
    output: Planes,
    buffer: Shared<'_>,
    part: Part,
) -> Result<(), Unfit> {
    let planes = input.planes;
    let within = |places: &Places, size: usize| places.iter().flatten().all(|place| *place < size);
    let fits = fit(&input, &output, buffer)
        && (rows.len(), columns.len()) == (output.height, output.width)
        && within(rows, planes.height)
        && within(columns, planes.width);
    if !fits {
        return Err(Unfit("pixels that are picked"));
    }
    let height = output.height;
    for number in part.of(output.blocks * output.images * height) {
        let (block, image, y) =
            (number / height / output.images, number / height % output.images, number % height);
        // SAFETY: this thread alone has this row of the output.
        let target = unsafe { buffer.part(output.at(block, image, y, 0), output.width * BLOCK) };
        let Some(target) = target else { continue };
        let Some(row) = rows[y] else {
            target.fill(fill);
            continue;
        };
        let source = &input.values[planes.at(block, image, row, 0)..][..planes.width * BLOCK];
        for (target, column) in target.chunks_exact_mut(BLOCK).zip(columns) {
            match column {
                Some(column) => target.copy_from_slice(&source[column * BLOCK..][..BLOCK]),
                None => target.fill(fill),
            }
        }
    }
    Ok(())
}

/// The two rows or columns of the input that make one of the output, and their weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tap {
    pub places: [usize; 2],
    pub weights: [f32; 2],
}

/// Pixels between others that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Interpolation<'a> {
    pub level: Level,
    pub rows: &'a [Tap],
    pub columns: &'a [Tap],
    pub input: Images<'a>,
    pub output: Planes,
}

impl Interpolation<'_> {
    /// Computes this thread's share.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes, or a place that is not in the input.
    pub fn run(&self, output: Shared<'_>, part: Part) -> Result<(), Unfit> {
        let planes = &self.input.planes;
        let within =
            |taps: &[Tap], size: usize| taps.iter().all(|tap| tap.places.iter().all(|place| *place < size));
        let fits = fit(&self.input, &self.output, output)
            && (self.rows.len(), self.columns.len()) == (self.output.height, self.output.width)
            && within(self.rows, planes.height)
            && within(self.columns, planes.width);
        if !fits {
            return Err(Unfit("pixels between others"));
        }
        dispatch(self.level, Rows { interpolation: self, output, part });
        Ok(())
    }
}

/// Whether both images are in blocks, of the same channels and batch, and within their buffers.
fn fit(input: &Images<'_>, output: &Planes, buffer: Shared<'_>) -> bool {
    input.planes.lanes == BLOCK
        && output.lanes == BLOCK
        && input.planes.blocks == output.blocks
        && input.planes.images == output.images
        && input.values.len() >= input.planes.len()
        && buffer.len() >= output.len()
}

struct Rows<'a> {
    interpolation: &'a Interpolation<'a>,
    output: Shared<'a>,
    part: Part,
}

impl Task for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Interpolation { rows, columns, input, output, .. } = *self.interpolation;
        let (planes, height) = (input.planes, output.height);
        for number in self.part.of(output.blocks * output.images * height) {
            let (block, image, y) =
                (number / height / output.images, number / height % output.images, number % height);
            // SAFETY: this thread alone has this row of the output.
            let target = unsafe { self.output.part(output.at(block, image, y, 0), output.width * BLOCK) };
            let Some(target) = target else { continue };
            let tap = &rows[y];
            let [upper, lower] = tap
                .places
                .map(|row| &input.values[planes.at(block, image, row, 0)..][..planes.width * BLOCK]);
            let (above, below) = (isa.splat(tap.weights[0]), isa.splat(tap.weights[1]));
            for (target, tap) in target.chunks_exact_mut(BLOCK).zip(columns) {
                let mut sides = [above; 2];
                for (side, column) in sides.iter_mut().zip(tap.places) {
                    let (upper, lower) =
                        (&upper[column * BLOCK..][..BLOCK], &lower[column * BLOCK..][..BLOCK]);
                    // SAFETY: both slices have 16 floats.
                    let (upper, lower) = unsafe { (isa.load(upper.as_ptr()), isa.load(lower.as_ptr())) };
                    *side = isa.multiply_add(lower, below, isa.multiply(upper, above));
                }
                let (before, after) = (isa.splat(tap.weights[0]), isa.splat(tap.weights[1]));
                let result = isa.multiply_add(sides[1], after, isa.multiply(sides[0], before));
                // SAFETY: the slice has 16 floats.
                unsafe { isa.store(result, target.as_mut_ptr()) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        buffer::Buffer,
        tests::plain::{Plain, cases, left, levels, parts},
    };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 24 } else { 1500 }))]

        #[test]
        fn pixels_are_those_of_plain_loops(
            case in cases(),
            rows in proptest::collection::vec((0_usize..99, 0_usize..99, 0_u8..9), 0..9),
            columns in proptest::collection::vec((0_usize..99, 0_usize..99, 0_u8..9), 0..9),
        ) {
            let [height, width] = case.size;
            prop_assume!(height * width > 0);
            let input = Plain::new([case.images, case.channels, height, width], 1);
            let (planes, values) = input.entered(case.border(), false);
            let images = Images { planes, values: &values };
            let output =
                Planes::new(case.channels, case.images, rows.len(), columns.len(), case.border_of_output());
            let places = |list: &[(usize, usize, u8)], size: usize| -> Vec<Option<usize>> {
                list.iter().map(|(first, _, part)| (*part > 0).then_some(first % size)).collect()
            };
            let taps = |list: &[(usize, usize, u8)], size: usize| -> Vec<Tap> {
                let tap = |(first, second, part): &(usize, usize, u8)| {
                    let part = f32::from(*part) / 8.0;
                    Tap { places: [first % size, second % size], weights: [1.0 - part, part] }
                };
                list.iter().map(tap).collect()
            };
            let at = |plane: usize, y: usize, x: usize| input.values[(plane * height + y) * width + x];
            let count = rows.len() * columns.len();
            let (lines, uprights) = (places(&rows, height), places(&columns, width));
            let mut buffer = Buffer::zeros(output.len());
            parts(case.parts, |part| {
                pick(images, [&lines, &uprights], -7.0, output, Shared::new(&mut buffer), part).unwrap();
            });
            for (index, found) in left(output, case.channels, &buffer).into_iter().enumerate() {
                let (y, x) = (index % count / columns.len(), index % columns.len());
                let expected = match (lines[y], uprights[x]) {
                    (Some(y), Some(x)) => at(index / count, y, x),
                    _ => -7.0,
                };
                prop_assert_eq!(found, expected);
            }
            let (lines, uprights) = (taps(&rows, height), taps(&columns, width));
            for level in levels() {
                let job = Interpolation { level, rows: &lines, columns: &uprights, input: images, output };
                parts(case.parts, |part| job.run(Shared::new(&mut buffer), part).unwrap());
                for (index, found) in left(output, case.channels, &buffer).into_iter().enumerate() {
                    let (y, x) = (index % count / columns.len(), index % columns.len());
                    let mut expected = 0.0;
                    for (row, above) in lines[y].places.iter().zip(lines[y].weights) {
                        for (column, along) in uprights[x].places.iter().zip(uprights[x].weights) {
                            expected += f64::from(at(index / count, *row, *column))
                                * f64::from(above)
                                * f64::from(along);
                        }
                    }
                    prop_assert!((f64::from(found) - expected).abs() < 1e-6, "{level:?} {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn places_beyond_the_input_are_refused() {
        let planes = Planes::new(3, 1, 2, 2, crate::planes::Border::default());
        let values = vec![0.0; planes.len()];
        let images = Images { planes, values: &values };
        let mut buffer = vec![0.0; planes.len()];
        let places = [[Some(0), Some(2)], [Some(0), None]];
        let buffer = Shared::new(&mut buffer);
        assert!(pick(images, [&places[0], &places[1]], 0.0, planes, buffer, Part::WHOLE).is_err());
        assert!(pick(images, [&places[1], &places[1]], 0.0, planes, buffer, Part::WHOLE).is_ok());
        let tap = |place| Tap { places: [place, 0], weights: [0.5; 2] };
        let (good, bad) = ([tap(0), tap(1)], [tap(0), tap(2)]);
        let job =
            Interpolation { level: Level::Plain, rows: &good, columns: &bad, input: images, output: planes };
        assert!(job.run(buffer, Part::WHOLE).is_err());
        assert!(Interpolation { columns: &good[..1], ..job }.run(buffer, Part::WHOLE).is_err());
        assert!(Interpolation { columns: &good, ..job }.run(buffer, Part::WHOLE).is_ok());
    }
}
