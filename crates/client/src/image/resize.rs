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

/// Resizes an image whose rows come one after the other. An axis that keeps its size is
/// left alone.
pub(super) struct Resizer {
    channels: usize,
    to: (usize, usize),
    /// The windows across, unless the width stays.
    across: Option<Vec<Window>>,
    /// The windows down, unless the height stays.
    down: Option<Vec<Window>>,
    /// Rows that have their new width.
    rows: Vec<u8>,
}

impl Resizer {
    /// From `(width, height)` to `(width, height)`, with that number of interleaved channels.
    pub(super) fn new(channels: usize, from: (usize, usize), to: (usize, usize)) -> Self {
        Self {
            channels,
            to,
            across: (from.0 != to.0).then(|| windows(from.0, to.0)),
            down: (from.1 != to.1).then(|| windows(from.1, to.1)),
            rows: Vec::with_capacity(to.0 * from.1 * channels),
        }
    }

    /// Takes the next row.
    pub(super) fn push(&mut self, row: &[u8]) {
        let Some(windows) = &self.across else {
            self.rows.extend_from_slice(row);
            return;
        };
        let channels = self.channels;
        for window in windows {
            self.rows.extend(
                (0..channels).map(|channel| sample(window, |column| row[column * channels + channel])),
            );
        }
    }

    /// The image, once all rows were given.
    pub(super) fn finish(self) -> Vec<u8> {
        let Some(windows) = &self.down else { return self.rows };
        let stride = self.to.0 * self.channels;
        let mut columns = Vec::with_capacity(stride * self.to.1);
        for window in windows {
            columns.extend((0..stride).map(|column| sample(window, |row| self.rows[row * stride + column])));
        }
        columns
    }
}

#[cfg(test)]
mod tests;
