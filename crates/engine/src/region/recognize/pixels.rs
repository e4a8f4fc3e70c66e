//! Operators that put pixels elsewhere: images of another size, and pixels around images.

use super::{Form, Piece, Reader};
use crate::{
    operators::{
        movement::pad::{Mode as Edge, Places, places},
        vision::taps::{Coordinates, Dimension, Mode, Rounding},
    },
    outside::Outside,
};
use adytum_kernels::resampling::Tap;

/// The sizes of images that are resized.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sizes {
    /// Factors of rows and columns.
    Scales([f32; 2]),
    /// Rows and columns.
    Fixed([usize; 2]),
}

/// How images get another size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Resizing {
    sizes: Sizes,
    coordinates: Coordinates,
    mode: Mode,
}

/// Where the pixels of an image of another size come from.
#[derive(Debug)]
pub(crate) enum Sources {
    /// From one row and one column each; `None` for one that is filled.
    Picked([Places; 2]),
    /// From two rows and two columns each.
    Between([Vec<Tap>; 2]),
}

impl Resizing {
    /// The sources of the rows and columns, for images of this size; `None` for images without pixels, or sizes that are
    /// too large.
    pub(crate) fn sources(&self, size: [usize; 2]) -> Option<Sources> {
        let dimension = |axis: usize| {
            let from = size[axis];
            let dimension = match self.sizes {
                Sizes::Scales(scales) => {
                    let exact = from as f32 * scales[axis];
                    let to = exact.floor() as usize;
                    Dimension { from, to, scale: scales[axis], exact, part: (0.0, 1.0) }
                }
                Sizes::Fixed(sizes) => {
                    let (to, exact) = (sizes[axis], sizes[axis] as f32);
                    Dimension { from, to, scale: exact / from as f32, exact, part: (0.0, 1.0) }
                }
            };
            (from > 0 && dimension.exact < 1e6).then_some(dimension)
        };
        let both = [dimension(0)?, dimension(1)?];
        Some(match self.mode {
            Mode::Nearest(rounding) => Sources::Picked(both.map(|dimension| {
                let is_same = dimension.from == dimension.to;
                let source = |index| {
                    let place = dimension.place(index, self.coordinates);
                    Some(if is_same { index } else { dimension.nearest(place, rounding) })
                };
                (0..dimension.to).map(source).collect()
            })),
            Mode::Linear | Mode::Cubic(_) => Sources::Between(both.map(|dimension| {
                let is_same = dimension.from == dimension.to && dimension.scale == 1.0;
                let tap = |index| {
                    let place = dimension.place(index, self.coordinates);
                    let weights = dimension.weights::<f32>(place, Mode::Linear, false, false);
                    match weights.as_slice() {
                        _ if is_same => Tap { places: [index; 2], weights: [1.0, 0.0] },
                        [(one, first), (two, second), ..] if *second != 0.0 => {
                            Tap { places: [*one, *two], weights: [*first, *second] }
                        }
                        // A weight of 0 must not bring in what is not finite.
                        [(one, first), ..] => Tap { places: [*one; 2], weights: [*first, 0.0] },
                        [] => Tap { places: [0; 2], weights: [0.0; 2] },
                    }
                };
                (0..dimension.to).map(tap).collect()
            })),
        })
    }
}

/// The rows and columns around images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Surround {
    /// Rows above, columns before, rows below, columns behind; fewer than none are cut off.
    pads: [i64; 4],
    edge: Edge,
    /// What constant pixels are.
    pub(crate) fill: f32,
}

impl Surround {
    /// The sources of the rows and columns, for images of this size; `None` if it can't be padded so.
    pub(crate) fn sources(&self, size: [usize; 2]) -> Option<[Places; 2]> {
        let along = |axis: usize| {
            let (before, after) = (self.pads[axis], self.pads[axis + 2]);
            let to = i64::try_from(size[axis]).ok()?.checked_add(before)?.checked_add(after)?;
            let to = usize::try_from(to).ok().filter(|to| *to < 1 << 20)?;
            places(size[axis], to, before, after, self.edge).ok()
        };
        Some([along(0)?, along(1)?])
    }
}

impl Reader<'_> {
    /// Images of another size, whose pixels are picked or lie between others.
    pub(super) fn resizing(&mut self) -> Result<Vec<Piece>, Outside> {
        self.image(0)?;
        let form = self.find_resizing().ok_or(Outside::Attribute("way of resizing"))?;
        self.of_image(0, Form::Resize(form))
    }

    fn find_resizing(&mut self) -> Option<Resizing> {
        let attributes = &self.node.attributes;
        let is_old = self.node.operator == "Upsample" || self.node.opset < 11;
        let is_off = |name: &str| matches!(attributes.integer(name), Ok(None | Some(0)));
        let is_plain = is_off("antialias")
            && is_off("exclude_outside")
            && !attributes.contains("axes")
            && !attributes.contains("scales")
            && matches!(attributes.text("keep_aspect_ratio_policy"), Ok(None | Some("stretch")));
        if is_old || !is_plain || self.is_of_lines() {
            return None;
        }
        let coordinates = attributes.text("coordinate_transformation_mode").ok()?.unwrap_or("half_pixel");
        let coordinates = Coordinates::parse(coordinates).ok()?;
        let rounding = attributes.text("nearest_mode").ok()?.unwrap_or("round_prefer_floor");
        let rounding = Rounding::parse(rounding).ok()?;
        let mode = match attributes.text("mode").ok()?.unwrap_or("nearest") {
            "nearest" => Mode::Nearest(rounding),
            "linear" => Mode::Linear,
            _ => return None,
        };
        if coordinates == Coordinates::CropAndResize {
            return None;
        }
        let (_, channels) = self.image(0).ok()?;
        let images = self.fact(0)?.shape?;
        let given = match self.input(3) {
            Some(sizes) => Some(self.known.fact(sizes)?.contents?).filter(|sizes| !sizes.is_empty()),
            None => None,
        };
        let sizes = match given {
            Some(sizes) => {
                let [batch, found, rows, columns] = sizes.as_slice() else { return None };
                if images.first() != Some(batch) || found.value() != i64::try_from(channels).ok() {
                    return None;
                }
                Sizes::Fixed([usize::try_from(rows.value()?).ok()?, usize::try_from(columns.value()?).ok()?])
            }
            None => match *self.floats(2).ok()?.values::<f32>()? {
                [1.0, 1.0, down, right] if [down, right].iter().all(|scale| *scale > 0.0 && *scale < 1e3) => {
                    Sizes::Scales([down, right])
                }
                _ => return None,
            },
        };
        Some(Resizing { sizes, coordinates, mode })
    }

    /// Pixels around images.
    pub(super) fn pad(&mut self) -> Result<Vec<Piece>, Outside> {
        self.image(0)?;
        let surround = self.surround().ok_or(Outside::Attribute("way of padding"))?;
        self.of_image(0, Form::Pad(surround))
    }

    fn surround(&mut self) -> Option<Surround> {
        let attributes = &self.node.attributes;
        let edge = Edge::parse(attributes.text("mode").ok()?.unwrap_or("constant"))?;
        let rank = if self.is_of_lines() { 3 } else { 4 };
        let given = match self.input(1) {
            Some(pads) => self.known.fact(pads)?.known_integers()?,
            None => attributes.integers("pads").ok()??.to_vec(),
        };
        let axes = match self.input(3) {
            Some(axes) => self.known.fact(axes)?.known_integers()?,
            None => (0..rank).collect(),
        };
        let fill = match self.input(2) {
            Some(_) => match self.floats(2).ok()?.values::<f32>()? {
                [fill] => *fill,
                _ => return None,
            },
            None => attributes.float("value").ok()?.unwrap_or(0.0),
        };
        if given.len() != 2 * axes.len() {
            return None;
        }
        let mut pads = [0; 4];
        for (place, axis) in axes.iter().enumerate() {
            let (before, after) = (*given.get(place)?, *given.get(place + axes.len())?);
            // The last dimension of lines is that of columns.
            match usize::try_from(self.axis(*axis) + 4 - rank).ok()? {
                axis @ (2 | 3) if rank == 4 || axis == 3 => (pads[axis - 2], pads[axis]) = (before, after),
                _ if (before, after) == (0, 0) => {}
                _ => return None,
            }
        }
        Some(Surround { pads, edge, fill })
    }
}
