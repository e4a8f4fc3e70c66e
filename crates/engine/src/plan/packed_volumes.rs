//! Convolutions of volumes with constant weights: they are put in the order of the kernels at load, and given back.

use super::{
    Facts, PlanError, Planner,
    placement::{Placed, Placement},
};
use crate::{
    fused::volume::VolumeConvolution,
    onnx::model::{Node, ValueId},
    operators::windows::geometry::{Padding, Settings},
    region::pack::slice_filters,
    tensor::ElementType,
};
use adytum_kernels::{BLOCK, Level};

/// A convolution that was found.
struct Found {
    weights: ValueId,
    shape: [usize; 5],
    groups: usize,
    bias: Vec<f32>,
    settings: Settings,
}

impl Planner<'_> {
    /// Packs the constant weights of convolutions of volumes.
    pub(super) fn pack_volumes(
        &mut self,
        mut placed: Vec<Placed>,
        facts: &Facts,
    ) -> Result<Vec<Placed>, PlanError> {
        // Backwards: the memory of a file is given back from its end.
        for entry in placed.iter_mut().rev() {
            let Some(found) = self.volume(&entry.node, facts)? else { continue };
            let Found { weights, shape, groups, bias, settings } = found;
            let arena = &mut self.arena;
            let slices = self.constants.take_floats(weights, self.files, arena, |numbers, arena| {
                slice_filters(numbers, shape, groups, Level::best(), arena)
            })?;
            let slices = slices.flatten().ok_or_else(|| PlanError::Engine {
                reason: format!("there is no memory for the weights {shape:?} of a convolution"),
            })?;
            let channels = [shape[1] * groups, shape[0]];
            let operator = VolumeConvolution { slices, bias, settings, channels };
            entry.placement = Placement::Own(Box::new(operator));
            if let Some(bias) = entry.node.inputs.get(2).copied().flatten() {
                self.constants.release(bias, 1);
            }
            entry.node.inputs.truncate(1);
        }
        Ok(placed)
    }

    /// The convolution of a node, if kernels compute it.
    fn volume(&mut self, node: &Node, facts: &Facts) -> Result<Option<Found>, PlanError> {
        let [Some(input), Some(weights), rest @ ..] = node.inputs.as_slice() else { return Ok(None) };
        let is_volume = node.domain.is_empty()
            && node.operator == "Conv"
            && self.constants.is_own_float(*weights)
            && !self.constants.contains(*input)
            && self.fact(facts, *input).is_some_and(|fact| fact.element_type() == Some(ElementType::Float));
        let shape = self.constants.fact(*weights).and_then(|fact| fact.known_shape());
        let (true, Some(&[outputs, inputs, depth, rows, columns])) = (is_volume, shape.as_deref()) else {
            return Ok(None);
        };
        let groups = node.attributes.integer("group").ok().flatten().unwrap_or(1);
        let (Ok(groups), Ok(settings)) = (usize::try_from(groups), Settings::of(&node.attributes)) else {
            return Ok(None);
        };
        let shape = [outputs, inputs, depth, rows, columns];
        let fits = !shape.contains(&0)
            && groups > 0
            && outputs.is_multiple_of(groups)
            && settings.kernel.as_ref().is_none_or(|kernel| *kernel == shape[2..])
            && matches!(settings.padding, Padding::Explicit(_) | Padding::Valid)
            && !settings.ceil
            && crate::region::recognize::together(groups, [inputs, outputs / groups]).is_some();
        if !fits {
            return Ok(None);
        }
        let mut bias = vec![0.0; outputs.next_multiple_of(BLOCK)];
        if let Some(Some(value)) = rest.first() {
            let tensor = if self.constants.contains(*value) {
                self.constants.tensor(*value, self.files)?
            } else {
                None
            };
            match tensor.as_ref().and_then(|tensor| tensor.values::<f32>()) {
                Some(values) if values.len() == outputs => {
                    bias.iter_mut().zip(values).for_each(|(to, value)| *to = *value);
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(Found { weights: *weights, shape, groups, bias, settings }))
    }
}
