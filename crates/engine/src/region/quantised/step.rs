//! The steps of a region of quantised numbers that is ready to run.

use super::{
    super::step::Value,
    draft::{Exit, Passage},
    recognize::{Part, Table},
};
use crate::operators::windows::geometry::Settings;
use adytum_kernels::integer::{
    depthwise::Windows, elementwise::Function, filters::Filters, finish::Finish, pool::Scale,
};

/// What a step computes.
#[derive(Debug)]
pub(crate) enum Work {
    /// A convolution; a second input is added to it.
    Convolution { filters: Filters, settings: Settings, finish: Finish },
    /// A convolution of each channel alone; a second input is added to it.
    Depthwise { windows: Windows, settings: Settings, finish: Finish },
    /// The largest under a window.
    Maximum { settings: Settings, window: [usize; 2] },
    /// The mean under a window; pads count as zeros, or not at all.
    Mean { settings: Settings, window: [usize; 2], with_pads: bool, from: Scale, to: Scale, is_signed: bool },
    /// The mean of whole images.
    GlobalMean { from: Scale, to: Scale },
    /// A function of two images, or of an image and an image of one pixel.
    Pair { function: Function, is_pixel: bool },
    /// Channels of each input.
    Copy(Vec<Part>),
    /// A byte for each byte.
    Table(Table),
    /// A table for each channel, in whole blocks.
    Tables(Vec<[u8; 256]>),
    /// Pixels that are repeated downwards and to the right.
    Repeat([usize; 2]),
}

/// A step of a region.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) work: Work,
    pub(crate) inputs: Vec<Value>,
    pub(crate) output: Value,
    /// The byte around the first input, of a convolution.
    pub(crate) zero_point: u8,
}

/// What enters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) passage: Passage,
    /// Whether all channels of a pixel are to be next to each other.
    pub(crate) is_whole: bool,
}

/// A region that is ready to run.
#[derive(Debug)]
pub(crate) struct Flow {
    /// The channels of each value.
    pub(crate) channels: Vec<usize>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) exits: Vec<Exit>,
    pub(crate) steps: Vec<Step>,
}

impl Step {
    /// What it is, for people.
    pub(crate) fn describe(&self) -> String {
        let added = if self.inputs.len() > 1 { ", sum" } else { "" };
        let what = match &self.work {
            Work::Convolution { filters, .. } => format!(
                "convolution {}x{} of {} to {} channels{added}",
                filters.rows,
                filters.columns,
                filters.inputs * filters.groups,
                filters.outputs * filters.groups,
            ),
            Work::Depthwise { windows, .. } => format!(
                "convolution {}x{} of each of {} channels{added}",
                windows.rows, windows.columns, windows.channels,
            ),
            Work::Maximum { window, .. } => format!("largest of {}x{}", window[0], window[1]),
            Work::Mean { window, .. } => format!("mean of {}x{}", window[0], window[1]),
            Work::GlobalMean { .. } => "mean of the image".to_owned(),
            Work::Pair { function, is_pixel } => {
                let name = match function {
                    Function::Add(_) => "sum",
                    Function::Multiply(..) => "product",
                };
                format!("{name} of {}", if *is_pixel { "an image and a pixel" } else { "two images" })
            }
            Work::Copy(_) => "copy of channels".to_owned(),
            Work::Table(_) => "table".to_owned(),
            Work::Tables(_) => "table for each channel".to_owned(),
            Work::Repeat(times) => format!("pixels repeated {}x{}", times[0], times[1]),
        };
        format!("bytes: {what}")
    }
}
