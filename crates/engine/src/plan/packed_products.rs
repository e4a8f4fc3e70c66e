//! Products with constant matrices of bytes: the matrix is put in the order of the kernels at load, and given
//! back.

use super::{
    Facts, PlanError, Planner,
    describe::Worker,
    placement::{Placed, Placement},
};
use crate::{
    onnx::model::{Node, ValueId},
    operators::quantization::packed::{Form, Left, PackedProduct, turned},
    outside::Outside,
    tensor::{ElementType, Elements, Tensor},
};
use adytum_kernels::{
    Level,
    integer::{Instructions, product::Matrix},
};

/// Where a product has its constants among its inputs, and what it takes at a run.
struct Places {
    matrix: usize,
    zero_point: usize,
    scale: Option<usize>,
    bias: Option<usize>,
    left_zero_point: Option<usize>,
    at_run: &'static [usize],
}

fn places(node: &Node) -> Option<(Places, Option<Left>)> {
    Some(match (node.domain.as_str(), node.operator.as_str()) {
        ("", "MatMulInteger") => (
            Places {
                matrix: 1,
                zero_point: 3,
                scale: None,
                bias: None,
                left_zero_point: Some(2),
                at_run: &[0, 2],
            },
            None,
        ),
        ("com.microsoft", "MatMulIntegerToFloat") => (
            Places {
                matrix: 1,
                zero_point: 5,
                scale: Some(3),
                bias: Some(6),
                left_zero_point: Some(4),
                at_run: &[0, 2, 4],
            },
            Some(Left::Bytes),
        ),
        ("com.microsoft", "DynamicQuantizeMatMul") => (
            Places {
                matrix: 1,
                zero_point: 3,
                scale: Some(2),
                bias: Some(4),
                left_zero_point: None,
                at_run: &[0],
            },
            Some(Left::Floats),
        ),
        _ => return None,
    })
}

impl Planner<'_> {
    /// Packs the constant matrices of products.
    pub(super) fn pack_products(
        &mut self,
        mut placed: Vec<Placed>,
        facts: &Facts,
    ) -> Result<Vec<Placed>, PlanError> {
        for entry in &mut placed {
            // What rten computes stays with what is around it: taken out of an island, a product costs more
            // than it saves.
            let Some((places, left)) =
                places(&entry.node).filter(|_| matches!(entry.placement, Placement::Own(_)))
            else {
                continue;
            };
            let Some(operator) = self.packed_product(&entry.node, &places, left, facts)? else { continue };
            let node = &mut entry.node;
            let at_run: Vec<Option<ValueId>> =
                places.at_run.iter().map(|index| node.inputs.get(*index).copied().flatten()).collect();
            for (index, value) in node.inputs.iter().enumerate() {
                if let (Some(value), false) = (value, places.at_run.contains(&index)) {
                    self.constants.release(*value, 1);
                }
            }
            node.inputs = at_run;
            entry.placement = Placement::Own(Box::new(operator));
            self.plan.explain(entry.line, Outside::Packed);
            if let Some(line) = self.plan.lines.get_mut(entry.line) {
                line.worker = Worker::Own;
            }
        }
        Ok(placed)
    }

    fn packed_product(
        &mut self,
        node: &Node,
        places: &Places,
        left: Option<Left>,
        facts: &Facts,
    ) -> Result<Option<PackedProduct>, PlanError> {
        let input = |index: usize| node.inputs.get(index).copied().flatten();
        let Some(matrix) = input(places.matrix) else { return Ok(None) };
        let shape = self.constants.fact(matrix).and_then(|fact| fact.known_shape());
        let Some(&[rows, columns]) = shape.as_deref() else { return Ok(None) };
        // Of vectors, the shape of the product is another; zero points of single rows are rare.
        let has_rows = input(0).and_then(|value| facts.get(&value)?.rank()).is_some_and(|rank| rank >= 2);
        let is_single = places.left_zero_point.and_then(input).is_none_or(|value| {
            let fact = facts.get(&value).cloned().or_else(|| self.constants.fact(value));
            fact.and_then(|fact| fact.known_shape()).is_some_and(|shape| matches!(shape.as_slice(), [] | [1]))
        });
        if !has_rows || !is_single || rows == 0 || columns == 0 {
            return Ok(None);
        }
        let mut constant = |index: Option<usize>| -> Result<Option<Option<Tensor>>, PlanError> {
            let Some(value) = index.and_then(input) else { return Ok(Some(None)) };
            Ok(self.constants.tensor(value, self.files)?.map(Some))
        };
        let (Some(zero_points), Some(scales), Some(bias)) =
            (constant(Some(places.zero_point))?, constant(places.scale)?, constant(places.bias)?)
        else {
            return Ok(None);
        };
        let fits = |count: usize| count == 1 || count == columns;
        let zero_points = match &zero_points {
            None => vec![0],
            Some(tensor) => match numbers(tensor) {
                Some(numbers) if fits(numbers.len()) => numbers,
                _ => return Ok(None),
            },
        };
        let form = match left {
            None => Form::Sums,
            Some(left) => {
                let Some(scales) = scales.as_ref().and_then(|scales| scales.values::<f32>()) else {
                    return Ok(None);
                };
                let bias = match &bias {
                    None => None,
                    Some(tensor) if tensor.shape() == [columns] => {
                        let Some(values) = tensor.values::<f32>() else { return Ok(None) };
                        Some(values.to_vec())
                    }
                    Some(_) => return Ok(None),
                };
                if !fits(scales.len()) {
                    return Ok(None);
                }
                Form::Floats { scales: scales.to_vec(), bias, left }
            }
        };
        let is_byte = self
            .constants
            .fact(matrix)
            .and_then(|fact| fact.element_type())
            .is_some_and(|found| matches!(found, ElementType::Int8 | ElementType::Uint8));
        if !is_byte {
            return Ok(None);
        }
        let Some(tensor) = self.constants.tensor(matrix, self.files)? else { return Ok(None) };
        let Some(values) = numbers(&tensor) else { return Ok(None) };
        let values = turned(&values, columns, &zero_points);
        let packed = Matrix::new(Instructions::of(Level::best()), &values, columns, rows);
        Ok(packed.map(|packed| PackedProduct::new(packed, form)))
    }
}

/// The numbers of a tensor of bytes.
fn numbers(tensor: &Tensor) -> Option<Vec<i16>> {
    match tensor.elements() {
        Elements::Int8(values) => Some(values.iter().map(|value| i16::from(*value)).collect()),
        Elements::Uint8(values) => Some(values.iter().map(|value| i16::from(*value)).collect()),
        _ => None,
    }
}
