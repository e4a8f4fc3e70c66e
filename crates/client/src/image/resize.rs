//! Bicubic resampling to the last bit as Pillow does it for 8-bit images, so
//! that a model gets from us exactly what it gets from the reference client.
//!
//! Separable convolution, first along rows, then along columns, each pass
//! rounded to 8 bits. When an image shrinks, the kernel widens with it, so that
//! every source pixel counts. Weights are 22-bit fixed-point numbers. (Pillow 13
//! takes the columns first where that is cheaper, mostly when an image grows
//! across and shrinks down; what it computes is otherwise the same.)

/// Catmull-Rom: Keys' cubic convolution kernel with a = -0.5 (R. Keys, "Cubic
/// convolution interpolation for digital image processing", 1981).
fn kernel(distance: f64) -> f64 {
    const A: f64 = -0.5;
    let x = distance.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Half the kernel's width.
const SUPPORT: f64 = 2.0;
/// Bits after the point: 32 less 8 of a pixel less 2 for sums beyond 1.
const PRECISION: u32 = 22;

/// The source pixels that make one target pixel.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

/// The windows of one axis.
fn windows(from: usize, to: usize) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = SUPPORT * stretch;
    (0..to)
        .map(|target| {
            let centre = (target as f64 + 0.5) * scale;
            // Casts of floats truncate and saturate: negative becomes 0.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let weights: Vec<f64> =
                (first..end).map(|source| kernel((source as f64 - centre + 0.5) * (1.0 / stretch))).collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |weight: f64| {
                let scaled = weight / sum * f64::from(1 << PRECISION);
                (scaled + if scaled < 0.0 { -0.5 } else { 0.5 }) as i32
            };
            Window { first, weights: weights.into_iter().map(fixed).collect() }
        })
        .collect()
}

/// One target value: `source` gives the n-th pixel of the window.
fn sample(window: &Window, source: impl Fn(usize) -> u8) -> u8 {
    let start = 1_i64 << (PRECISION - 1);
    let sum = window
        .weights
        .iter()
        .enumerate()
        .fold(start, |sum, (n, &weight)| sum + i64::from(weight) * i64::from(source(window.first + n)));
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Resizes interleaved `pixels` from `(width, height)` to `(width, height)`.
/// An axis that keeps its size is left alone.
pub(super) fn resize(
    mut pixels: Vec<u8>,
    channels: usize,
    from: (usize, usize),
    to: (usize, usize),
) -> Vec<u8> {
    let ((from_width, from_height), (to_width, to_height)) = (from, to);
    if from_width != to_width {
        let windows = windows(from_width, to_width);
        let mut rows = Vec::with_capacity(to_width * from_height * channels);
        for row in pixels.chunks_exact(from_width * channels) {
            for window in &windows {
                rows.extend(
                    (0..channels).map(|channel| sample(window, |column| row[column * channels + channel])),
                );
            }
        }
        pixels = rows;
    }
    if from_height != to_height {
        let stride = to_width * channels;
        let mut columns = Vec::with_capacity(stride * to_height);
        for window in &windows(from_height, to_height) {
            columns.extend((0..stride).map(|column| sample(window, |row| pixels[row * stride + column])));
        }
        pixels = columns;
    }
    pixels
}

#[cfg(test)]
mod tests;
