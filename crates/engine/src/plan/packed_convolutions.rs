//! `ConvInteger` with constant weights: they are put in the order of the kernels at load, and given back.

use super::{
    Facts, PlanError, Planner,
    placement::{Placed, Placement},
    regions::Sight,
};
use crate::{
    onnx::model::Node,
    outside::Outside,
    region::{
        byte_convolution::pack_weights, integer_convolution::IntegerConvolution, recognize::recognize_integer,
    },
};
use adytum_kernels::{
    Level,
    integer::{Instructions, Reading},
};

impl Planner<'_> {
    /// Packs the constant weights of convolutions of bytes that no region has.
    pub(super) fn pack_convolutions(
        &mut self,
        mut placed: Vec<Placed>,
        facts: &Facts,
    ) -> Result<Vec<Placed>, PlanError> {
        for entry in &mut placed {
            let node = &entry.node;
            if !node.domain.is_empty() || node.operator != "ConvInteger" {
                continue;
            }
            let Some(operator) = self.packed_convolution(node, facts)? else { continue };
            let node = &mut entry.node;
            for index in [1, 3] {
                if let Some(value) = node.inputs.get(index).copied().flatten() {
                    self.constants.release(value, 1);
                }
            }
            node.inputs = [0, 2].map(|index| node.inputs.get(index).copied().flatten()).to_vec();
            entry.placement = Placement::Own(Box::new(operator));
            self.plan.explain(entry.line, Outside::Packed);
        }
        Ok(placed)
    }

    fn packed_convolution(
        &mut self,
        node: &Node,
        facts: &Facts,
    ) -> Result<Option<IntegerConvolution>, PlanError> {
        let mut sight = Sight { facts, store: &mut self.constants, files: self.files };
        let Some((convolution, inputs)) = recognize_integer(node, &mut sight) else { return Ok(None) };
        let Some(tensor) = self.constants.tensor(convolution.weights, self.files)? else { return Ok(None) };
        let instructions = Instructions::of(Level::best());
        let packed = pack_weights(&convolution, &tensor, instructions, Reading::Blocks);
        let outputs = convolution.shape[0];
        let settings = convolution.settings;
        Ok(packed.map(|weights| IntegerConvolution { weights, settings, instructions, inputs, outputs }))
    }
}
