//! The steps of a region that is ready to run.

use std::collections::HashSet;

use super::{
    byte_convolution::Packed,
    orders::{Entering, Leaving},
    recognize::{Resizing, Surround},
};
use crate::operators::windows::geometry::Settings;
use adytum_kernels::{
    activation::Activation, channels::Mix, depthwise::Windows, elementwise::Binary, filters::Filters,
    integer::Instructions, winograd::Winograd,
};

/// A value of a region, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Value(pub(crate) usize);

/// What a step computes.
#[derive(Debug)]
pub(crate) enum Work {
    /// A convolution; a second input is added to it.
    Convolution { filters: Filters, settings: Settings, activation: Activation, after: Activation },
    /// A convolution of 3 by 3 by Winograd's way; a second input is added to it.
    Winograd { winograd: Winograd, settings: Settings, activation: Activation, after: Activation },
    /// A convolution of each channel alone; a second input is added to it.
    Depthwise { windows: Windows, settings: Settings, activation: Activation, after: Activation },
    /// A transposed convolution: a convolution for each place of the stride.
    Spread { places: Vec<Spreading>, times: [usize; 2], more: [isize; 2], after: Activation },
    /// A convolution of bytes whose scale follows from the numbers of a run; a second input is added to it.
    Dynamic(Box<Dynamics>),
    /// The largest under a window.
    Maximum { settings: Settings, window: [usize; 2] },
    /// The mean under a window; pads count as zeros, or not at all.
    Mean { settings: Settings, window: [usize; 2], with_pads: bool },
    /// The mean of whole images.
    GlobalMean,
    /// A function of two images.
    Image { binary: Binary, activation: Activation },
    /// A function of an image and an image of one pixel.
    Pixel { binary: Binary, activation: Activation },
    /// A factor and a summand for each channel.
    Channels { factors: Vec<f32>, summands: Vec<f32>, activation: Activation },
    /// A function of each element.
    Activation(Activation),
    /// Channels of all inputs.
    Copy(Mix),
    /// Pixels that are repeated downwards and to the right.
    Repeat([usize; 2]),
    /// Images of another size.
    Resize(Resizing),
    /// Images with pixels around them.
    Pad(Surround),
    /// Groups of channels brought to a mean of 0 and a variance of 1; a factor and a summand for each channel.
    Normalization {
        group: usize,
        epsilon: f32,
        factors: Vec<f32>,
        summands: Vec<f32>,
        activation: Activation,
    },
    /// The first pixel of each rectangle of this many rows and columns.
    Sample([usize; 2]),
    /// Numbers that are rounded to 16-bit floats.
    Narrow,
}

/// The convolution that makes the outputs of one place of a stride.
#[derive(Debug)]
pub(crate) struct Spreading {
    pub(crate) filters: Filters,
    /// Rows and columns before the image at which its first window begins.
    pub(crate) before: [usize; 2],
}

/// A convolution of real numbers that become bytes first.
#[derive(Debug)]
pub(crate) struct Dynamics {
    /// Their summands are those of a zero point of 1.
    pub(crate) weights: Packed,
    pub(crate) settings: Settings,
    pub(crate) instructions: Instructions,
    pub(crate) outputs: usize,
    /// The scales of the weights, for each output channel in whole blocks.
    pub(crate) scales: Vec<f32>,
    /// Factors and summands of the results, for each output channel in whole blocks.
    pub(crate) line: Option<[Vec<f32>; 2]>,
    /// What the results are clipped to.
    pub(crate) bounds: [f32; 2],
}

impl Dynamics {
    /// The rows and columns of the window.
    pub(crate) fn window(&self) -> [usize; 2] {
        match &self.weights {
            Packed::Filters(filters) => [filters.rows, filters.columns],
            Packed::Windows(windows) => [windows.rows, windows.columns],
        }
    }
}

/// A step of a region.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) work: Work,
    pub(crate) inputs: Vec<Value>,
    pub(crate) output: Value,
}

/// A value that enters a region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    /// Whether all channels of a pixel are to be next to each other.
    pub(crate) is_whole: bool,
    pub(crate) order: Entering,
}

/// A value that leaves a region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit {
    pub(crate) value: Value,
    pub(crate) order: Leaving,
}

/// A region that is ready to run.
#[derive(Debug)]
pub(crate) struct Flow {
    /// The channels of each value.
    pub(crate) channels: Vec<usize>,
    /// The values that are kept as 16-bit floats.
    pub(crate) narrow: HashSet<Value>,
    pub(crate) inputs: Vec<Entry>,
    pub(crate) outputs: Vec<Exit>,
    /// The values that the model has with three dimensions.
    pub(crate) lines: HashSet<Value>,
    pub(crate) steps: Vec<Step>,
}

impl Step {
    /// Whether it is a convolution in 16-bit floats.
    pub(crate) fn is_narrow(&self) -> bool {
        matches!(&self.work, Work::Convolution { filters, .. } if filters.form.is_narrow())
    }

    /// What it is, for people.
    pub(crate) fn describe(&self) -> String {
        let function = |activation: &Activation| match activation {
            Activation::Identity => String::new(),
            other => format!(", {}", other.name()),
        };
        let stride = |settings: &Settings| match settings.strides.as_slice() {
            [] | [1, 1] => String::new(),
            [down, right] if down == right => format!(", stride {down}"),
            strides => format!(", strides {strides:?}"),
        };
        let added = if self.inputs.len() > 1 { ", sum" } else { "" };
        match &self.work {
            Work::Convolution { filters, settings, activation, after } => format!(
                "convolution {}x{} of {} to {} channels{}{}{}{added}{}",
                filters.rows,
                filters.columns,
                filters.inputs * filters.groups,
                filters.outputs * filters.groups,
                if self.is_narrow() { " in bf16" } else { "" },
                stride(settings),
                function(activation),
                function(after)
            ),
            Work::Winograd { winograd, activation, after, .. } => format!(
                "convolution 3x3 of {} to {} channels by Winograd{}{added}{}",
                winograd.inputs,
                winograd.outputs,
                function(activation),
                function(after)
            ),
            Work::Depthwise { windows, settings, activation, after } => format!(
                "convolution {}x{} of each of {} channels{}{}{added}{}",
                windows.rows,
                windows.columns,
                windows.channels,
                stride(settings),
                function(activation),
                function(after)
            ),
            Work::Spread { places, times, after, .. } => format!(
                "transposed convolution, stride {}x{}, to {} channels{}",
                times[0],
                times[1],
                places.first().map_or(0, |place| place.filters.outputs),
                function(after)
            ),
            Work::Dynamic(dynamic) => {
                let [rows, columns] = dynamic.window();
                let by_channel = if matches!(dynamic.weights, Packed::Windows(_)) { "each of " } else { "" };
                let clip = function(&Activation::Clip(dynamic.bounds[0], dynamic.bounds[1]));
                let clip = if dynamic.bounds == [f32::NEG_INFINITY, f32::INFINITY] { "" } else { &clip };
                format!(
                    "convolution {rows}x{columns} of bytes to {by_channel}{} channels{}{added}{clip}",
                    dynamic.outputs,
                    stride(&dynamic.settings)
                )
            }
            Work::Maximum { window, .. } => format!("largest of {}x{}", window[0], window[1]),
            Work::Mean { window, .. } => format!("mean of {}x{}", window[0], window[1]),
            Work::GlobalMean => "mean of the image".to_owned(),
            Work::Image { binary, activation } => {
                format!("{binary:?} of two images{}", function(activation)).to_lowercase()
            }
            Work::Pixel { binary, activation } => {
                format!("{binary:?} of an image and a pixel{}", function(activation)).to_lowercase()
            }
            Work::Channels { activation, .. } => format!("scale of channels{}", function(activation)),
            Work::Activation(activation) => activation.name().to_owned(),
            Work::Copy(_) => "copy of channels".to_owned(),
            Work::Resize(_) => "images of another size".to_owned(),
            Work::Pad(_) => "images with pixels around them".to_owned(),
            Work::Normalization { group, activation, .. } => {
                format!("normalization of groups of {group}{}", function(activation))
            }
            Work::Sample(steps) => format!("first pixel of {}x{}", steps[0], steps[1]),
            Work::Narrow => "rounded to bf16".to_owned(),
            Work::Repeat(times) => format!("pixels repeated {}x{}", times[0], times[1]),
        }
    }
}
