//! Which elements of a dimension make each element of the resized dimension.

use crate::operators::{Refusal, number::Real};

/// How an index of the output is turned into a place in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    HalfPixelForNearest,
    CropAndResize,
}

/// Which neighbour is the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
    /// Below opset 11: up where the image becomes smaller, otherwise down.
    ByScale,
}

/// How elements between those of the input are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    Nearest(Rounding),
    Linear,
    Cubic(f32),
}

impl Coordinates {
    pub(crate) fn parse(name: &str) -> Result<Self, Refusal> {
        Ok(match name {
            "half_pixel" => Self::HalfPixel,
            "half_pixel_symmetric" => Self::HalfPixelSymmetric,
            "pytorch_half_pixel" => Self::PytorchHalfPixel,
            "align_corners" => Self::AlignCorners,
            "asymmetric" => Self::Asymmetric,
            "tf_half_pixel_for_nn" => Self::HalfPixelForNearest,
            "tf_crop_and_resize" => Self::CropAndResize,
            other => return Err(Refusal::new(format!("the coordinates {other:?} are not known"))),
        })
    }
}

impl Rounding {
    pub(crate) fn parse(name: &str) -> Result<Self, Refusal> {
        Ok(match name {
            "round_prefer_floor" => Self::PreferFloor,
            "round_prefer_ceil" => Self::PreferCeil,
            "floor" => Self::Floor,
            "ceil" => Self::Ceil,
            other => return Err(Refusal::new(format!("the nearest_mode {other:?} is not known"))),
        })
    }
}

/// A dimension that is resized.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dimension {
    /// The size before, in elements.
    pub(crate) from: usize,
    /// The size after, in elements.
    pub(crate) to: usize,
    /// By how much it grows.
    pub(crate) scale: f32,
    /// Its size after, before that was made whole.
    pub(crate) exact: f32,
    /// The part of it that is taken, from 0 to 1, for `CropAndResize`.
    pub(crate) part: (f32, f32),
}

impl Dimension {
    /// Where an index of the output is in the input; in single precision, as ONNX Runtime
    /// does, so that the nearest neighbours are the same.
    pub(crate) fn place(&self, index: usize, coordinates: Coordinates) -> f32 {
        let (index, from, to) = (index as f32, self.from as f32, self.to as f32);
        match coordinates {
            Coordinates::HalfPixel => (index + 0.5) / self.scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = to / self.exact;
                let offset = from / 2.0 * (1.0 - adjustment);
                offset + (index + 0.5) / self.scale - 0.5
            }
            Coordinates::PytorchHalfPixel => {
                if self.to > 1 {
                    (index + 0.5) / self.scale - 0.5
                } else {
                    0.0
                }
            }
            Coordinates::AlignCorners => {
                if self.to > 1 && self.exact > 1.0 {
                    index * (from - 1.0) / (self.exact - 1.0)
                } else {
                    0.0
                }
            }
            Coordinates::Asymmetric => index / self.scale,
            Coordinates::HalfPixelForNearest => (index + 0.5) / self.scale,
            Coordinates::CropAndResize => {
                let (start, end) = self.part;
                if self.to > 1 {
                    start * (from - 1.0) + index * (end - start) * (from - 1.0) / (to - 1.0)
                } else {
                    0.5 * (start + end) * (from - 1.0)
                }
            }
        }
    }

    /// Whether a place is outside the image, where the crop's own value is put.
    pub(crate) fn is_outside(&self, place: f32) -> bool {
        !(place >= 0.0 && place <= self.from as f32 - 1.0)
    }

    /// The index of the nearest element to a place.
    pub(crate) fn nearest(&self, place: f32, rounding: Rounding) -> usize {
        let rounded = match rounding {
            Rounding::PreferFloor => (place - 0.5).ceil(),
            Rounding::PreferCeil => (place + 0.5).floor(),
            Rounding::Ceil => place.ceil(),
            Rounding::ByScale if self.scale < 1.0 => place.ceil(),
            Rounding::Floor | Rounding::ByScale => place.floor(),
        };
        (rounded.max(0.0) as usize).min(self.from - 1)
    }

    /// The elements that make the one at a place, with their weights, which sum to 1.
    pub(crate) fn weights<T: Real>(
        &self,
        place: f32,
        mode: Mode,
        antialias: bool,
        exclude_outside: bool,
    ) -> Vec<(usize, T)> {
        // Where the image becomes smaller and is to be smooth, more neighbours have a part.
        let spread = if antialias { self.scale.min(1.0) } else { 1.0 };
        let (reach, kernel): (f32, &dyn Fn(f64) -> f64) = match mode {
            Mode::Cubic(factor) => (2.0, &move |distance| cubic(distance, factor.into())),
            Mode::Linear | Mode::Nearest(_) => (1.0, &|distance| (1.0 - distance).max(0.0)),
        };
        let floor = place.floor();
        let ratio = f64::from(place - floor);
        // Neighbours beyond the edges all are the edge: as many as this need no list.
        let first = ((-reach / spread).floor() + 1.0).max(-(self.from as f32) - 4.0 - floor.abs());
        let last = (1.0 - first) as i64;
        let (floor, size) = (floor as i64, self.from as i64);
        let mut taps: Vec<(usize, f64)> = Vec::new();
        for offset in first as i64..=last {
            let index = floor.saturating_add(offset);
            if exclude_outside && !(0..size).contains(&index) {
                continue;
            }
            let weight = kernel(((offset as f64 - ratio) * f64::from(spread)).abs());
            let index = index.clamp(0, size - 1) as usize;
            match taps.last_mut() {
                Some((before, sum)) if *before == index => *sum += weight,
                _ => taps.push((index, weight)),
            }
        }
        let total: f64 = taps.iter().map(|(_, weight)| weight).sum();
        taps.into_iter().map(|(index, weight)| (index, T::from_f64(weight / total))).collect()
    }
}

/// The cubic convolution kernel (Keys 1981).
pub(crate) fn cubic(distance: f64, factor: f64) -> f64 {
    if distance <= 1.0 {
        ((factor + 2.0) * distance - (factor + 3.0)) * distance * distance + 1.0
    } else if distance < 2.0 {
        factor * (((distance - 5.0) * distance + 8.0) * distance - 4.0)
    } else {
        0.0
    }
}
