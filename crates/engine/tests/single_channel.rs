//! `ConvInteger` with one channel in each group is computed line by line. Its sums are those of
//! the definition, for each stride, dilation, padding and zero point.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::{
    engine::{LoadedModel, Run},
    operators::{Cancellation, Memory},
    tensor::{Tensor, Value},
    threads::Threads,
};
use fixture::{
    onnx::{Attribute, graph, initializer, model_with, node, value},
    runs::load,
};
use proptest::prelude::*;

const UINT8: u64 = 2;
const INT8: u64 = 3;
const INT32: u64 = 6;

/// A convolution of two dimensions.
#[derive(Clone, Copy, Debug)]
struct Case {
    images: usize,
    groups: usize,
    /// Filters of each group.
    filters: usize,
    size: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    /// Top, left, bottom, right.
    pads: [usize; 4],
    zero_point: u8,
}

impl Case {
    /// The height and width of the output; `None` if the kernel does not fit.
    fn output(&self) -> Option<[usize; 2]> {
        let length = |axis: usize| {
            let reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            let free = (self.size[axis] + self.pads[axis] + self.pads[axis + 2]).checked_sub(reach)?;
            Some(free / self.strides[axis] + 1)
        };
        Some([length(0)?, length(1)?])
    }

    fn model(&self, weights: &[i8]) -> Vec<u8> {
        let numbers = |values: &[usize]| values.iter().map(|value| *value as i64).collect::<Vec<_>>();
        let (strides, dilations, pads) =
            (numbers(&self.strides), numbers(&self.dilations), numbers(&self.pads));
        let attributes = [
            Attribute::Integers("strides", &strides),
            Attribute::Integers("dilations", &dilations),
            Attribute::Integers("pads", &pads),
            Attribute::Integer("group", self.groups as i64),
        ];
        let shape = numbers(&[self.groups * self.filters, 1, self.kernel[0], self.kernel[1]]);
        let bytes: Vec<u8> = weights.iter().map(|weight| weight.cast_unsigned()).collect();
        let graph = graph(
            &[node("ConvInteger", &["x", "w", "z"], &["y"], &attributes)],
            &[value("x", UINT8, &[-1, self.groups as i64, self.size[0] as i64, self.size[1] as i64])],
            &[value("y", INT32, &[-1, -1, -1, -1])],
            &[initializer("w", INT8, &shape, &bytes), initializer("z", UINT8, &[], &[self.zero_point])],
        );
        model_with(&graph, &[], 17)
    }

    /// The sum at a place of the output, by the definition.
    fn sum(&self, pixels: &[u8], weights: &[i8], [image, filter, row, column]: [usize; 4]) -> i32 {
        let group = filter / self.filters;
        let plane = &pixels[(image * self.groups + group) * self.size[0] * self.size[1]..];
        let mut sum = 0;
        for y in 0..self.kernel[0] {
            for x in 0..self.kernel[1] {
                let row = (row * self.strides[0] + y * self.dilations[0]).checked_sub(self.pads[0]);
                let column = (column * self.strides[1] + x * self.dilations[1]).checked_sub(self.pads[1]);
                let (Some(row), Some(column)) = (row, column) else { continue };
                if row < self.size[0] && column < self.size[1] {
                    let pixel = i32::from(plane[row * self.size[1] + column]) - i32::from(self.zero_point);
                    let weight = weights[(filter * self.kernel[0] + y) * self.kernel[1] + x];
                    sum += pixel * i32::from(weight);
                }
            }
        }
        sum
    }
}

fn pair(range: std::ops::Range<usize>) -> impl Strategy<Value = [usize; 2]> {
    [range.clone(), range]
}

fn case() -> impl Strategy<Value = Case> {
    let counts = (1..3_usize, 1..5_usize, 1..3_usize);
    let windows = (pair(1..20), pair(1..5), pair(1..4), pair(1..4), [0..4_usize, 0..4, 0..4, 0..4]);
    (counts, windows, any::<u8>()).prop_map(
        |((images, groups, filters), (size, kernel, strides, dilations, pads), zero_point)| Case {
            images,
            groups,
            filters,
            size,
            kernel,
            strides,
            dilations,
            pads,
            zero_point,
        },
    )
}

fn run(model: &dyn LoadedModel, images: &Tensor, threads: usize) -> Tensor {
    let threads = Threads::new(threads);
    let memory = Memory::new(1 << 30);
    let cancellation = Cancellation::default();
    let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
    let found = model.run(vec![Some(Value::Tensor(images.clone()))], &[0], run).unwrap();
    found.into_iter().next().unwrap().into_tensor().unwrap()
}

proptest! {
    #[test]
    fn sums_are_those_of_the_definition(case in case(), seed in 1..1000_usize) {
        let Some([rows, columns]) = case.output() else { return Ok(()) };
        let filters = case.groups * case.filters;
        let weights: Vec<i8> = (0..filters * case.kernel[0] * case.kernel[1])
            .map(|place| (((place + seed) * 83 % 251) as i16 - 125) as i8)
            .collect();
        let pixels: Vec<u8> = (0..case.images * case.groups * case.size[0] * case.size[1])
            .map(|place| ((place + seed) * 61 % 256) as u8)
            .collect();
        let shape = [case.images, case.groups, case.size[0], case.size[1]];
        let images = Tensor::from_vec(shape, pixels.clone()).unwrap();
        let model = load(case.model(&weights)).unwrap();
        let found = run(model.as_ref(), &images, 1);
        prop_assert_eq!(&found, &run(model.as_ref(), &images, 3));
        prop_assert_eq!(found.shape(), [case.images, filters, rows, columns]);
        for (place, found) in found.values::<i32>().unwrap().iter().enumerate() {
            let (column, row) = (place % columns, place / columns % rows);
            let (filter, image) = (place / columns / rows % filters, place / columns / rows / filters);
            prop_assert_eq!(*found, case.sum(&pixels, &weights, [image, filter, row, column]));
        }
    }
}
