//! A step that makes real numbers bytes, and computes a convolution of them. It gives the bits of
//! `DynamicQuantizeLinear`, `ConvInteger`, `Cast`, `Mul` and what was fused behind them.

use std::sync::{Mutex, PoisonError};

use super::{byte_convolution::Packed, step::Dynamics};
use crate::operators::{
    Context, OperatorError,
    quantization::dynamic::fitting,
    share::{share, share_parts, unfit},
};
use adytum_kernels::{
    buffer::Shared,
    convolution::{Images, Steps},
    integer::{
        self,
        convolution::Convolution,
        depthwise::Depthwise,
        dynamic::{quantise, range},
        finish::Reals,
        layout::fill_border,
        pool::Scale,
        target::Target,
    },
    planes::{Border, Planes},
};

/// A step with the sizes of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes<'a> {
    pub(super) input: Images<'a>,
    /// The channels of the input.
    pub(super) channels: usize,
    pub(super) residual: Option<Images<'a>>,
    pub(super) output: Planes,
    pub(super) steps: Steps,
    /// The border around the bytes.
    pub(super) border: Border,
    pub(super) cost: usize,
}

/// Computes a step. `memory` is for the bytes.
pub(super) fn run(
    dynamic: &Dynamics,
    sizes: &Sizes<'_>,
    buffer: Shared<'_>,
    memory: &mut [u8],
    context: &Context<'_>,
) -> Result<(), OperatorError> {
    let Sizes { input, channels, output, steps, .. } = *sizes;
    let missing = || OperatorError::Engine { reason: "no room for the bytes of a step".to_owned() };
    let elements = input.planes.len();
    let ends = Mutex::new([0.0_f32; 2]);
    share_parts(context, elements, |part| {
        let [low, high] = range(dynamic.instructions, input, channels, part)?;
        let mut ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
        *ends = [ends[0].min(low), ends[1].max(high)];
        Ok(())
    })?;
    let [low, high] = ends.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (scale, zero_point) = fitting(low, high);
    let planes = Planes { border: sizes.border, ..input.planes };
    let bytes = memory.get_mut(..planes.len()).ok_or_else(missing)?;
    fill_border(planes, zero_point, bytes).map_err(unfit)?;
    share(context, Shared::new(&mut *bytes), 4 * elements, |buffer, part| {
        quantise(dynamic.instructions, input, Scale { scale, zero_point }, planes, buffer, part)
    })?;
    let bytes = &*bytes;
    let scales: Vec<f32> = dynamic.scales.iter().map(|own| scale * own).collect();
    let reals = Reals {
        scales: &scales,
        line: dynamic.line.as_ref().map(|[factors, summands]| [factors.as_slice(), summands.as_slice()]),
        residual: sizes.residual,
        bounds: dynamic.bounds,
    };
    // The summands of a zero point of 1, as often as this one is.
    let times = i32::from(zero_point);
    let summands = |ones: &[i32]| -> Vec<i32> { ones.iter().map(|one| one.wrapping_mul(times)).collect() };
    match &dynamic.weights {
        Packed::Filters(filters) => {
            let bias = summands(filters.bias());
            let input = integer::Images { planes, values: bytes };
            let job = Convolution { filters, steps, input, bias: Some(&bias), output };
            share(context, buffer, sizes.cost, |output, part| job.run(&Target::Reals { output, reals }, part))
        }
        Packed::Windows(windows) => {
            let bias = summands(windows.bias());
            let input = integer::Images { planes, values: bytes };
            let job = Depthwise { windows, steps, input, bias: Some(&bias), output };
            share(context, buffer, sizes.cost, |output, part| job.run(&Target::Reals { output, reals }, part))
        }
    }
}
