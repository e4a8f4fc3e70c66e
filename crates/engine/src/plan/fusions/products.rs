//! Products with constant matrices, and what follows them: bias, factors, a function, a sum.

use std::collections::HashSet;

use adytum_kernels::{
    Level,
    activation::Activation,
    bfloat::Form,
    products::{Matrix, Order},
};

use super::{
    super::{Facts, PlanError, Planner, placement::Placed},
    Fusion,
    activation::activation,
    constant_and_other,
    links::{Links, fused_product, plain, turned},
};
use crate::{
    fused::product::{PackedProduct, Residual, Shape},
    onnx::model::{Node, ValueId},
    outside::Outside,
    precision::Precision,
    tensor::ElementType,
};

/// Numbers of a matrix from which on it is worth an operator of its own.
const SMALLEST: usize = 1024;

/// Numbers of a matrix that is packed however small the model is: 16 MB.
const LARGEST: usize = 4 << 20;

/// A factor and a summand for each column.
type Line = (Vec<f32>, Vec<f32>);

/// A product in the making.
struct Draft {
    rows: ValueId,
    weights: ValueId,
    depth: usize,
    columns: usize,
    order: Order,
    factors: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
    activation: Activation,
    residual: Option<ValueId>,
    /// The shape that the result is brought to, and whether 0 is a size there.
    shape: Option<(ValueId, bool)>,
    members: Vec<usize>,
    /// The value that was computed so far.
    value: ValueId,
}

impl Draft {
    /// Adds a number to each column.
    fn add(&mut self, numbers: Vec<f32>) {
        self.bias = Some(match self.bias.take() {
            None => numbers,
            Some(bias) => bias.iter().zip(&numbers).map(|(a, b)| a + b).collect(),
        });
    }

    /// Multiplies each column by a number.
    fn multiply(&mut self, numbers: Vec<f32>) {
        if let Some(bias) = &mut self.bias {
            bias.iter_mut().zip(&numbers).for_each(|(bias, factor)| *bias *= factor);
        }
        self.factors = Some(match self.factors.take() {
            None => numbers,
            Some(factors) => factors.iter().zip(&numbers).map(|(a, b)| a * b).collect(),
        });
    }
}

impl Planner<'_> {
    pub(super) fn fuse_products(
        &mut self,
        placed: Vec<Placed>,
        facts: &Facts,
        wanted: &HashSet<ValueId>,
    ) -> Result<Vec<Placed>, PlanError> {
        let mut placed: Vec<Option<Placed>> = placed.into_iter().map(Some).collect();
        let links = Links::new(&placed, wanted);
        let first = self.plan.fusions.len();
        // From the end, as matrices mostly are in the file: its memory is given back from there.
        for index in (0..placed.len()).rev() {
            let mut draft = match self.product(&placed, index, facts)? {
                Ok(draft) => draft,
                Err(outside) => {
                    if let Some(outside) = outside {
                        self.explain(&placed, index, outside);
                    }
                    continue;
                }
            };
            self.extend(&placed, &links, facts, &mut draft)?;
            self.pack(&mut placed, draft)?;
        }
        self.plan.reverse_fusions(first);
        Ok(self.sweep(placed, wanted))
    }

    /// The product of a node, if its matrix is a constant that nobody else takes. The inner error is why not, if it is a
    /// product at all.
    fn product(
        &mut self,
        placed: &[Option<Placed>],
        index: usize,
        facts: &Facts,
    ) -> Result<Result<Draft, Option<Outside>>, PlanError> {
        let node = plain(placed, index).or_else(|| fused_product(placed, index));
        let Some(node) =
            node.filter(|node| matches!(node.operator.as_str(), "MatMul" | "FusedMatMul" | "Gemm"))
        else {
            return Ok(Err(None));
        };
        let no = |outside| Ok(Err(Some(outside)));
        let [Some(rows), Some(weights), rest @ ..] = node.inputs.as_slice() else { return Ok(Err(None)) };
        let (rows, weights) = (*rows, *weights);
        let Some(Some(value)) = node.outputs.first().copied() else { return Ok(Err(None)) };
        let is_float = |value| {
            self.fact(facts, value).is_some_and(|fact| fact.element_type() == Some(ElementType::Float))
        };
        if self.constants.contains(rows) || !is_float(rows) {
            return no(Outside::Rows(0));
        }
        if !self.constants.contains(weights) || !is_float(weights) {
            return no(Outside::Constant(1));
        }
        if !self.constants.is_own_float(weights) {
            return no(Outside::Shared(1));
        }
        let shape = self.constants.fact(weights).and_then(|fact| fact.known_shape());
        let Some(&[first, second]) = shape.as_deref() else { return no(Outside::Constant(1)) };
        let order = match node.operator.as_str() {
            "MatMul" => Order::Rows,
            "FusedMatMul" => match turned(node) {
                Some([false, true]) => Order::Columns,
                Some([false, false]) => Order::Rows,
                _ => return no(Outside::Attribute("transA, transBatchA or transBatchB")),
            },
            _ => match gemm_order(node) {
                Some(order) => order,
                None => return no(Outside::Attribute("alpha, beta or transA")),
            },
        };
        let (depth, columns) = if order == Order::Rows { (first, second) } else { (second, first) };
        // While a matrix is packed it is held twice, which one that is most of a model must not be.
        let most = self.plan.parameters / 2;
        match depth.checked_mul(columns) {
            Some(count) if count < SMALLEST => return no(Outside::Small),
            Some(count) if count <= most.max(LARGEST) => {}
            _ => return no(Outside::Large),
        }
        let bias = match rest.first().copied().flatten() {
            None => None,
            Some(bias) => match self.row(Some(bias), columns)? {
                Some(bias) => Some(bias),
                None => return no(Outside::Constant(2)),
            },
        };
        let alpha =
            if node.operator == "FusedMatMul" { node.attributes.float("alpha").ok().flatten() } else { None };
        Ok(Ok(Draft {
            rows,
            weights,
            depth,
            columns,
            order,
            factors: alpha.filter(|alpha| *alpha != 1.0).map(|alpha| vec![alpha; columns]),
            bias,
            activation: Activation::Identity,
            residual: None,
            shape: None,
            members: vec![index],
            value,
        }))
    }

    /// Takes the nodes behind a product that it can compute, too.
    fn extend(
        &mut self,
        placed: &[Option<Placed>],
        links: &Links,
        facts: &Facts,
        draft: &mut Draft,
    ) -> Result<(), PlanError> {
        while draft.residual.is_none() {
            if draft.activation == Activation::Identity
                && let Some((activation, output, user)) = activation(placed, links, draft.value)
            {
                (draft.activation, draft.value) = (activation, output);
                draft.members.push(user);
                continue;
            }
            let Some(user) = links.only_user(draft.value) else { break };
            let Some(node) = plain(placed, user) else { break };
            let [Some(output)] = node.outputs.as_slice() else { break };
            if !self.follow(node, facts, draft)? {
                break;
            }
            draft.value = *output;
            draft.members.push(user);
        }
        Ok(())
    }

    /// Whether a product can compute the only node that takes it, too.
    fn follow(&mut self, node: &Node, facts: &Facts, draft: &mut Draft) -> Result<bool, PlanError> {
        let columns = draft.columns;
        let is_before = draft.activation == Activation::Identity;
        match node.operator.as_str() {
            "Reshape" if draft.shape.is_none() => {
                let [Some(value), Some(shape)] = node.inputs.as_slice() else { return Ok(false) };
                let last = node.outputs.first().copied().flatten().and_then(|output| {
                    let fact = self.fact(facts, output)?;
                    fact.dimension(fact.rank()?.checked_sub(1)?)
                });
                let is_same = last.and_then(|last| usize::try_from(last).ok()) == Some(columns);
                let Ok(zero_is_a_size) = node.attributes.flag("allowzero", false) else { return Ok(false) };
                if *value != draft.value || !is_same {
                    return Ok(false);
                }
                draft.shape = Some((*shape, zero_is_a_size));
                Ok(true)
            }
            "BatchNormalization" if is_before => {
                let Some((factors, summands)) = self.line_of(node, facts, draft)? else { return Ok(false) };
                draft.multiply(factors);
                draft.add(summands);
                Ok(true)
            }
            "Add" | "Mul" => {
                if let Some((constant, _)) = constant_and_other(node, |value| self.constants.contains(value))
                {
                    if !is_before {
                        return Ok(false);
                    }
                    let numbers = match self.number(Some(constant))? {
                        // More dimensions than the product has would make more of its own.
                        Some(number) if self.is_lower(constant, draft.value, facts) => {
                            Some(vec![number; columns])
                        }
                        _ => self.row(Some(constant), columns)?,
                    };
                    let Some(numbers) = numbers.filter(|_| self.is_lower(constant, draft.value, facts))
                    else {
                        return Ok(false);
                    };
                    if node.operator == "Add" {
                        draft.add(numbers);
                    } else {
                        draft.multiply(numbers);
                    }
                    return Ok(true);
                }
                let other = match node.inputs.as_slice() {
                    [Some(left), Some(right)] if *left == draft.value && left != right => *right,
                    [Some(left), Some(right)] if *right == draft.value && left != right => *left,
                    _ => return Ok(false),
                };
                // Whether it has the product's whole shape is often known at a run only.
                let is_row = self.row_length(facts, other) == Some(columns);
                if node.operator != "Add" || !is_row || !self.is_lower(other, draft.value, facts) {
                    return Ok(false);
                }
                draft.residual = Some(other);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The factors and the summands of a normalization of the columns of a product with two dimensions.
    fn line_of(&mut self, node: &Node, facts: &Facts, draft: &Draft) -> Result<Option<Line>, PlanError> {
        let attributes = &node.attributes;
        let is_plain = matches!(attributes.integer("training_mode"), Ok(None | Some(0)))
            && !attributes.contains("spatial")
            && node.opset >= 7
            && node.outputs.len() == 1
            && node.inputs.first() == Some(&Some(draft.value))
            && self.fact(facts, draft.value).and_then(|fact| fact.rank()) == Some(2);
        let Ok(epsilon) = attributes.float("epsilon") else { return Ok(None) };
        let epsilon = f64::from(epsilon.unwrap_or(1e-5));
        let mut numbers = Vec::new();
        for index in 1..5 {
            let input = node.inputs.get(index).copied().flatten();
            match self.row(input.filter(|_| is_plain), draft.columns)? {
                Some(row) => numbers.push(row),
                None => return Ok(None),
            }
        }
        let [scale, bias, mean, variance] = numbers.as_slice() else { return Ok(None) };
        let line = (0..draft.columns).map(|column| {
            let at = |row: &[f32]| row.get(column).copied().map_or(f64::NAN, f64::from);
            let factor = at(scale) / (at(variance) + epsilon).sqrt();
            (factor as f32, (at(bias) - at(mean) * factor) as f32)
        });
        Ok(Some(line.unzip()))
    }

    /// Whether a value has no more dimensions than another one.
    fn is_lower(&self, constant: ValueId, value: ValueId, facts: &Facts) -> bool {
        let rank = |value| self.fact(facts, value).and_then(|fact| fact.rank());
        rank(constant).zip(rank(value)).is_some_and(|(constant, value)| constant <= value)
    }

    fn pack(&mut self, placed: &mut [Option<Placed>], draft: Draft) -> Result<(), PlanError> {
        let Some((root, inner)) = draft.members.split_last() else { return Ok(()) };
        let form = match self.precision {
            Precision::Float32 => Form::Single,
            Precision::BFloat16 => Form::of_pairs(Level::best()),
        };
        let matrix =
            self.constants.take_floats(draft.weights, self.files, &mut self.arena, |values, arena| {
                Matrix::pack(
                    (Level::best(), form),
                    values,
                    [draft.depth, draft.columns],
                    draft.order,
                    draft.factors.as_deref(),
                    draft.bias.as_deref(),
                    arena,
                )
            })?;
        // The node that had it gives it back once more.
        self.constants.keep(draft.weights);
        let matrix = matrix.flatten().ok_or_else(|| PlanError::Engine {
            reason: format!("there is no memory for a matrix of {} by {}", draft.depth, draft.columns),
        })?;
        self.plan.narrow += usize::from(form.is_narrow());
        let (residual, shape) = (draft.residual, draft.shape);
        let product = PackedProduct {
            matrix,
            activation: draft.activation,
            residual: residual.map_or(Residual::Nothing, |_| Residual::Tensor),
            shape: shape.map_or(Shape::OfRows, |(_, zero_is_a_size)| Shape::Wanted { zero_is_a_size }),
        };
        let description = product.describe();
        let inputs = vec![Some(draft.rows), residual, shape.map(|(shape, _)| shape)];
        let fusion = Fusion { operator: Box::new(product), inputs, description };
        self.replace(placed, *root, &draft.members, fusion);
        for member in inner {
            if let Some(entry) = placed.get_mut(*member).and_then(Option::take) {
                self.constants.forget(&entry.node);
            }
        }
        Ok(())
    }
}

/// How the matrix of a Gemm is read, if that is no more than a product and a sum.
fn gemm_order(node: &Node) -> Option<Order> {
    let attributes = &node.attributes;
    let is_one = |name| matches!(attributes.float(name), Ok(None | Some(1.0)));
    let flag = |name| attributes.flag(name, false).ok();
    if !is_one("alpha") || !is_one("beta") || flag("transA")? {
        return None;
    }
    Some(if flag("transB")? { Order::Columns } else { Order::Rows })
}
