//! Products with constant matrices of 4- and 8-bit numbers in blocks: the matrix is put in the order of the kernels at
//! load, and given back.

use super::{
    Facts, PlanError, Planner,
    placement::{Placed, Placement},
};
use crate::{
    fused::blocks::{BlockProduct, Matrix},
    onnx::model::Node,
    operators::widen::{is_half, widen},
    outside::Outside,
    tensor::{ElementType, Tensor},
};
use adytum_kernels::{
    Level,
    blocked::{self, Source, Zeros},
    integer::{Instructions, nibbles},
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
    /// Packs the constant matrices of MatMulNBits. Matrices of other kinds stay with their operators.
    pub(super) fn pack_blocks(
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
            let Some(operator) = self.block_product(&entry.node, facts)? else { continue };
            for value in entry.node.inputs.iter().skip(1).flatten() {
                self.constants.release(*value, 1);
            }
            entry.node.inputs.truncate(1);
            entry.placement = Placement::Own(Box::new(operator));
            self.plan.explain(entry.line, Outside::Packed);
        }
        Ok(placed)
    }

    fn block_product(&mut self, node: &Node, facts: &Facts) -> Result<Option<BlockProduct>, PlanError> {
        let integer = |name: &str| node.attributes.integer(name).ok().flatten();
        let size = |name: &str| integer(name).and_then(|size| usize::try_from(size).ok());
        let (Some(depth), Some(columns), Some(block)) = (size("K"), size("N"), size("block_size")) else {
            return Ok(None);
        };
        let bits = size("bits").unwrap_or(4);
        let input = |index: usize| node.inputs.get(index).copied().flatten();
        let element_type = input(0).and_then(|value| facts.get(&value)?.element_type());
        let Some(element_type) = element_type
            .filter(|found| *found == ElementType::Float || is_half(*found))
            .filter(|_| input(GROUPS).is_none())
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
        let optional = |tensor: &Option<Tensor>| match tensor.as_ref().map(real) {
            Some(None) => None,
            Some(Some(values)) => Some(Some(values)),
            None => Some(None),
        };
        let (Some(numbers), Some(scales), Some(bias)) =
            (numbers.values::<u8>(), real(scales), optional(bias))
        else {
            return Ok(None);
        };
        let packed_zeros = zeros.as_ref().and_then(Tensor::values::<u8>);
        let plain_zeros = if packed_zeros.is_some() { None } else { optional(zeros).flatten() };
        let zeros = match (zeros, packed_zeros, plain_zeros.as_deref()) {
            (None, ..) => Zeros::Middle,
            (_, Some(zeros), _) => Zeros::Packed(zeros),
            (_, _, Some(zeros)) => Zeros::Plain(zeros),
            _ => return Ok(None),
        };
        let source = Source { numbers, bits, scales: &scales, zeros, depth, columns, block };
        let (arena, bias) = (&mut self.arena, bias.as_deref());
        let mut matrix = None;
        if integer("accuracy_level") == Some(INT8) {
            let instructions = Instructions::of(Level::best());
            matrix = nibbles::Matrix::new(instructions, arena, &source, bias).map(Matrix::Int8);
        }
        let matrix =
            matrix.or_else(|| blocked::Matrix::new(Level::best(), arena, &source, bias).map(Matrix::Floats));
        Ok(matrix.map(|matrix| BlockProduct { matrix, element_type }))
    }
}
