//! The sample picture of the client's image: a cat, drawn here, so that nothing
//! is fetched and no photograph is copied.

use std::{fs::File, io::BufWriter, path::PathBuf};

use anyhow::Context;
use image::{Rgb, RgbImage, codecs::jpeg::JpegEncoder};

/// The side of the picture in pixels; the model's input is 224.
const SIDE: u32 = 448;
const QUALITY: u8 = 90;

const WALL: [f32; 3] = [196.0, 214.0, 222.0];
const FUR: [f32; 3] = [222.0, 148.0, 72.0];
const STRIPE: [f32; 3] = [168.0, 96.0, 40.0];
const INNER_EAR: [f32; 3] = [236.0, 178.0, 170.0];
const EYE: [f32; 3] = [126.0, 178.0, 84.0];
const DARK: [f32; 3] = [34.0, 28.0, 26.0];
const MUZZLE: [f32; 3] = [246.0, 232.0, 214.0];
const NOSE: [f32; 3] = [214.0, 118.0, 118.0];

/// Draw the sample picture.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The JPEG file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let context = || format!("can't write {}", arguments.out.display());
    let file = BufWriter::new(File::create(&arguments.out).with_context(context)?);
    JpegEncoder::new_with_quality(file, QUALITY).encode_image(&cat()).with_context(context)
}

fn cat() -> RgbImage {
    let scale = 2.0 / SIDE as f32;
    RgbImage::from_fn(SIDE, SIDE, |column, row| {
        let (x, y) = (column as f32 * scale - 1.0, row as f32 * scale - 1.0);
        // Light comes from above.
        let light = 1.0 - 0.12 * (y + 1.0);
        Rgb(colour(x, y).map(|channel| (channel * light).clamp(0.0, 255.0) as u8))
    })
}

/// The colour at a point; both coordinates from -1 to 1, y downwards, and the
/// face symmetric in x. The parts in front come first.
fn colour(x: f32, y: f32) -> [f32; 3] {
    let side = x.abs();
    let is_whisker = (0.2..0.85).contains(&side)
        && [-0.10_f32, 0.0, 0.10].iter().any(|slope| (y - 0.34 - slope * (side - 0.2)).abs() < 0.008);
    if is_whisker || ellipse(side - 0.3, y + 0.08, 0.045, 0.11) {
        return DARK;
    }
    if ellipse(side - 0.3, y + 0.08, 0.15, 0.12) {
        return EYE;
    }
    if triangle(x, y, [(-0.09, 0.20), (0.09, 0.20), (0.0, 0.30)]) {
        return NOSE;
    }
    if ellipse(side - 0.11, y - 0.36, 0.15, 0.12) {
        return MUZZLE;
    }
    if ellipse(x, y - 0.06, 0.68, 0.58) {
        let is_stripe = y < -0.2 && [0.0, 0.17, 0.34].iter().any(|at| (side - at).abs() < 0.03);
        return if is_stripe { STRIPE } else { FUR };
    }
    if triangle(side, y, [(0.28, -0.46), (0.55, -0.26), (0.54, -0.74)]) {
        return INNER_EAR;
    }
    if triangle(side, y, [(0.18, -0.42), (0.66, -0.12), (0.60, -0.90)]) {
        return FUR;
    }
    if ellipse(x, y - 1.1, 0.8, 0.6) {
        return STRIPE;
    }
    WALL
}

fn ellipse(x: f32, y: f32, half_width: f32, half_height: f32) -> bool {
    (x / half_width).powi(2) + (y / half_height).powi(2) < 1.0
}

fn triangle(x: f32, y: f32, [a, b, c]: [(f32, f32); 3]) -> bool {
    let side = |(from_x, from_y): (f32, f32), (to_x, to_y): (f32, f32)| {
        (x - to_x) * (from_y - to_y) - (from_x - to_x) * (y - to_y) >= 0.0
    };
    let sides = [side(a, b), side(b, c), side(c, a)];
    sides.iter().all(|inside| *inside) || sides.iter().all(|inside| !*inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_has_a_face_with_two_eyes() {
        let picture = cat();
        let at = |x: f32, y: f32| {
            let pixel = |coordinate: f32| ((coordinate + 1.0) / 2.0 * SIDE as f32) as u32;
            picture.get_pixel(pixel(x), pixel(y)).0
        };
        let (left, right) = (at(-0.4, -0.08), at(0.4, -0.08));
        assert!(left[1] > left[0] && right[1] > right[0], "green eyes: {left:?} {right:?}");
        let forehead = at(0.08, -0.3);
        assert!(forehead[0] > forehead[2] + 60, "orange fur: {forehead:?}");
        let corner = at(-0.95, -0.95);
        assert!(corner[2] > corner[0], "a blue wall: {corner:?}");
    }
}
