//! Channels and pixels that are moved.

use proptest::prelude::*;

use super::plain::{Plain, cases, left, levels, parts};
use crate::{
    Level, Part,
    buffer::{Buffer, Shared},
    channels::{Mix, Mixing},
    convolution::Images,
    layout::{self, Channels},
    planes::{Border, Planes},
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 24 } else { 1500 }))]

    #[test]
    fn channels_are_mixed(
        case in cases(),
        pieces in proptest::collection::vec((0_usize..2, 0_usize..60, 1_usize..40), 1..8),
    ) {
        let sizes = [case.images, case.channels, case.size[0], case.size[1]];
        let inputs = [Plain::new(sizes, 1), Plain::new(sizes, 2)];
        let entered = [inputs[0].entered(case.border(), false), inputs[1].entered(Border::default(), false)];
        let images = [0, 1].map(|input| Images { planes: entered[input].0, values: &entered[input].1 });
        let mut runs = vec![Vec::new(), Vec::new()];
        let mut from = Vec::new();
        for (input, first, count) in pieces {
            let first = first % case.channels;
            let count = count.min(case.channels - first);
            runs[input].push(Channels { from: first, to: from.len(), count });
            from.extend((first..first + count).map(|channel| (input, channel)));
            // A channel that nobody gives.
            from.push((2, 0));
        }
        let output = Planes::new(from.len(), sizes[0], sizes[2], sizes[3], case.border_of_output());
        let pixels = sizes[2] * sizes[3];
        for level in levels() {
            let mix = Mix::new(level, &runs, from.len()).unwrap();
            let job = Mixing { mix: &mix, inputs: &images, output };
            let mut buffer = Buffer::zeros(output.len());
            buffer.fill(-7.0);
            parts(case.parts, |part| job.run(Shared::new(&mut buffer), part).unwrap());
            for (index, found) in left(output, from.len(), &buffer).into_iter().enumerate() {
                let image = index / pixels / from.len();
                let expected = match from[index / pixels % from.len()] {
                    (2, _) => 0.0,
                    (input, channel) => {
                        inputs[input].values[(image * case.channels + channel) * pixels + index % pixels]
                    }
                };
                prop_assert_eq!(found, expected);
            }
            let short = Images { values: &images[1].values[1..], ..images[1] };
            let is_used = !runs[1].is_empty();
            let job = Mixing { inputs: &[images[0], short], ..job };
            prop_assert!(!is_used || pixels == 0 || job.run(Shared::new(&mut buffer), Part::WHOLE).is_err());
        }
        prop_assert!(Mix::new(Level::Plain, &runs, from.len() - 2).is_none());
    }

    #[test]
    fn pixels_are_repeated(case in cases()) {
        let sizes = [case.images, case.channels, case.size[0], case.size[1]];
        let input = Plain::new(sizes, 1);
        let (planes, values) = input.entered(case.border(), false);
        let images = Images { planes, values: &values };
        let pixels = sizes[2] * sizes[3];
        let times = case.window;
        let border = case.border_of_output();
        let (height, width) = (sizes[2] * times[0], sizes[3] * times[1]);
        let output = Planes::new(sizes[1], sizes[0], height, width, border);
        let mut buffer = Buffer::zeros(output.len());
        parts(case.parts, |part| {
            layout::repeat(images, times, output, Shared::new(&mut buffer), part).unwrap();
        });
        for (index, found) in left(output, case.channels, &buffer).into_iter().enumerate() {
            let (plane, y, x) = (index / (height * width), index / width % height, index % width);
            let expected = input.values[plane * pixels + y / times[0] * sizes[3] + x / times[1]];
            prop_assert_eq!(found, expected);
        }
    }
}
