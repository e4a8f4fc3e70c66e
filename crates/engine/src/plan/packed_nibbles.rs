//! Products with constant matrices of 4-bit numbers whose model allows int8: the matrix is put in the order of the
//! kernels at load, and given back.

use super::{
    Facts, PlanError, Planner,
    placement::{Placed, Placement},
};
use crate::{
    fused::nibbles::NibbleProduct,
    onnx::model::Node,
    operators::widen::{is_half, widen},
    outside::Outside,
    tensor::{ElementType, Tensor},
};
use adytum_kernels::{
    Level,
    integer::{Instructions, nibbles::Matrix},
    nibbles::{Nibbles, Zeros},
};

/// The `accuracy_level` that allows rows of int8.
const INT8: i64 = 4;

/// The places of the constants among the inputs of MatMulNBits.
const NUMBERS: usize = 1;
const SCALES: usize = 2;
const ZEROS: usize = 3;
const GROUPS: usize = 4;
const BIAS: usize = 5;

impl Planner<'_> {
    /// Packs the constant matrices of MatMulNBits. Matrices of other kinds stay with their operators, which compute in
    /// 32-bit floats.
    pub(super) fn pack_nibbles(
        &mut self,
        mut placed: Vec<Placed>,
        facts: &Facts,
    ) -> Result<Vec<Placed>, PlanError> {
        for entry in &mut placed {
            // The operator was built, so its attributes and types are right.
            let is_product = entry.node.domain == "com.microsoft"
                && entry.node.operator == "MatMulNBits"
                && matches!(entry.placement, Placement::Own(_));
            if !is_product {
                continue;
            }
            let Some(operator) = self.nibble_product(&entry.node, facts)? else { continue };
            for value in entry.node.inputs.iter().skip(1).flatten() {
                self.constants.release(*value, 1);
            }
            entry.node.inputs.truncate(1);
            entry.placement = Placement::Own(Box::new(operator));
            self.plan.explain(entry.line, Outside::Packed);
        }
        Ok(placed)
    }

    fn nibble_product(&mut self, node: &Node, facts: &Facts) -> Result<Option<NibbleProduct>, PlanError> {
        let integer = |name: &str| node.attributes.integer(name).ok().flatten();
        let size = |name: &str| integer(name).and_then(|size| usize::try_from(size).ok());
        let (Some(depth), Some(columns), Some(block)) = (size("K"), size("N"), size("block_size")) else {
            return Ok(None);
        };
        let input = |index: usize| node.inputs.get(index).copied().flatten();
        let is_known = integer("accuracy_level") == Some(INT8)
            && integer("bits").unwrap_or(4) == 4
            && Matrix::takes(block)
            && input(GROUPS).is_none();
        let element_type = input(0).and_then(|value| facts.get(&value)?.element_type());
        let Some(element_type) =
            element_type.filter(|found| *found == ElementType::Float || is_half(*found)).filter(|_| is_known)
        else {
            return Ok(None);
        };
        let mut constants: [Option<Tensor>; 4] = Default::default();
        for (constant, index) in constants.iter_mut().zip([NUMBERS, SCALES, ZEROS, BIAS]) {
            if let Some(value) = input(index) {
                match self.constants.tensor(value, self.files)? {
                    Some(tensor) => *constant = Some(tensor),
                    None => return Ok(None),
                }
            }
        }
        let [Some(numbers), Some(scales), zeros, bias] = &constants else { return Ok(None) };
        let real = |tensor: &Tensor| {
            widen(tensor).ok().and_then(|tensor| tensor.values::<f32>().map(<[f32]>::to_vec))
        };
        let zeros = match zeros.as_ref().map(Tensor::values::<u8>) {
            None => Zeros::Middle,
            Some(Some(zeros)) => Zeros::Packed(zeros),
            // Zeros that are floats: as ONNX Runtime does, in floats.
            Some(None) => return Ok(None),
        };
        let bias = match bias.as_ref().map(real) {
            None => None,
            Some(Some(bias)) => Some(bias),
            Some(None) => return Ok(None),
        };
        let (Some(numbers), Some(scales)) = (numbers.values::<u8>(), real(scales)) else { return Ok(None) };
        let source = Nibbles { numbers, scales: &scales, zeros, depth, columns, block };
        let instructions = Instructions::of(Level::best());
        let matrix = Matrix::new(instructions, &mut self.arena, &source, bias.as_deref());
        Ok(matrix.map(|matrix| NibbleProduct { matrix, element_type }))
    }
}
