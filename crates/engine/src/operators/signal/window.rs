//! HannWindow, HammingWindow, BlackmanWindow, MelWeightMatrix.

use std::f64::consts::TAU;

use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        arguments::{single, tensor_of, unfit},
        axes::size_of_input,
        cast::{as_doubles, convert},
        registry::Builder,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "HannWindow", window),
    ("", "HammingWindow", window),
    ("", "BlackmanWindow", window),
    ("", "MelWeightMatrix", mel_weights),
];

fn output_type(definition: &Definition<'_>) -> Result<ElementType, Refusal> {
    let number = definition.attributes.integer("output_datatype")?.unwrap_or(1);
    i32::try_from(number)
        .ok()
        .and_then(ElementType::from_onnx)
        .filter(|found| !matches!(found, ElementType::Text | ElementType::Bool))
        .ok_or_else(|| Refusal::new(format!("the type with the number {number} is not computed here")))
}

fn window(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = output_type(definition)?;
    if !matches!(definition.tensor_type(0)?, ElementType::Int32 | ElementType::Int64) {
        return Err(definition.unsupported_type(0));
    }
    let periodic = definition.attributes.flag("periodic", true)?;
    // A window is a sum of cosines of multiples of the angle.
    let cosines: &[f64] = match definition.operator {
        "HannWindow" => &[0.5, -0.5],
        // The coefficients of ONNX: 25/46 and 21/46.
        "HammingWindow" => &[25.0 / 46.0, -21.0 / 46.0],
        _ => &[0.42, -0.5, 0.08],
    };
    single(definition, element_type, move |arguments, context| {
        let Some(size) = arguments.integer(0)? else { return unfit("the size of the window is missing") };
        let size = size_of_input(size, "the size of the window")?;
        let count = context.reserve(ElementType::Double, &[size])?;
        let period = if periodic { size } else { size.saturating_sub(1) } as f64;
        let values: Vec<f64> = (0..count)
            .map(|index| {
                if period == 0.0 {
                    return 1.0;
                }
                let angle = TAU * index as f64 / period;
                cosines
                    .iter()
                    .enumerate()
                    .map(|(factor, weight)| weight * (factor as f64 * angle).cos())
                    .sum()
            })
            .collect();
        convert(Tensor::vector(values), element_type, context)
    })
}

fn mel_weights(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = output_type(definition)?;
    for index in 0..5 {
        let found = definition.tensor_type(index)?;
        if matches!(found, ElementType::Text | ElementType::Bool) {
            return Err(definition.unsupported_type(index));
        }
    }
    single(definition, element_type, move |arguments, context| {
        convert(mel_matrix(&arguments, context)?, element_type, context)
    })
}

/// Triangles on the mel scale, one for each column, over the bins of a spectrum.
fn mel_matrix(arguments: &Arguments, context: &Context<'_>) -> Result<Tensor, OperatorError> {
    let number = |index: usize, what: &str| match as_doubles(arguments.tensor(index)?)?.as_slice() {
        [value] if value.is_finite() && *value >= 0.0 && *value < 1e15 => Ok(*value),
        values => unfit(format!("{what} is {values:?}; expected one number from 0")),
    };
    let (bands, length) = (number(0, "num_mel_bins")? as usize, number(1, "dft_length")? as usize);
    let rate = number(2, "sample_rate")?;
    let (lower, upper) = (number(3, "lower_edge_hertz")?, number(4, "upper_edge_hertz")?);
    let bins = length / 2 + 1;
    let count = context.reserve(ElementType::Double, &[bins, bands])?;
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let (lowest, highest) = (mel(lower), mel(upper));
    let step = (highest - lowest) / (bands as f64 + 2.0);
    let edges: Vec<usize> = (0..if count > 0 { bands + 2 } else { 0 })
        .map(|band| {
            let hertz = 700.0 * (10_f64.powf((band as f64 * step + lowest) / 2595.0) - 1.0);
            ((length as f64 + 1.0) * hertz / rate).floor().max(0.0) as usize
        })
        .collect();
    if let Some(edge) = edges.iter().find(|edge| **edge > bins) {
        return unfit(format!("the band at bin {edge} is beyond the spectrum's {bins} bins"));
    }
    let mut weights = vec![0.0; count];
    for (band, edges) in edges.windows(3).enumerate() {
        let (left, centre, right) = (edges[0], edges[1], edges[2]);
        let mut set = |bin: usize, weight: f64| {
            if bin < bins {
                weights[bin * bands + band] = weight;
            }
        };
        if left == centre {
            set(centre, 1.0);
        }
        for bin in left..=centre {
            if centre > left {
                set(bin, (bin - left) as f64 / (centre - left) as f64);
            }
        }
        for bin in centre..right {
            set(bin, (right - bin) as f64 / (right - centre) as f64);
        }
    }
    tensor_of([bins, bands], weights)
}
