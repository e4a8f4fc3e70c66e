//! Operators that work on each element by itself.

use super::{View, clamp, fusions::is_arithmetic_mistaken, node, single};
use crate::{
    island::{IslandNode, Kind, Operand, Target, Translation},
    operators::Attribute,
    tensor::{ElementType, Tensor, ValueType},
};

pub(super) fn translate(view: &View<'_>) -> Option<Translation> {
    match view.operator() {
        "Acos" | "Acosh" | "Asin" | "Asinh" | "Atan" | "Atanh" | "Ceil" | "Cos" | "Cosh" | "Erf" | "Exp"
        | "Floor" | "HardSwish" | "Log" | "Reciprocal" | "Round" | "Sigmoid" | "Sin" | "Sinh"
        | "Softsign" | "Sqrt" | "Tan" | "Tanh" => float(view, &[]),
        "Abs" => absolute(view),
        "Neg" => negative(view),
        "Elu" => float(view, &["alpha"]),
        "HardSigmoid" => float(view, &["alpha", "beta"]),
        "LeakyRelu" => float(view, &["alpha"]),
        "Swish" => float(view, &["alpha"]),
        "Gelu" => float(view, &["approximate"]),
        "Relu" => relu(view),
        "Clip" => clip(view),
        "PRelu" => prelu(view),
        "Add" | "Sub" | "Mul" => arithmetic(view),
        "Div" => divide(view),
        "Pow" => power(view),
        "Sum" | "Mean" | "Max" | "Min" => variadic(view),
        "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" => compare(view),
        "And" | "Or" | "Xor" | "Not" => logical(view),
        "Where" => choose(view),
        "IsNaN" => is_nan(view),
        "Cast" => cast(view),
        "Identity" => identity(view),
        "Dropout" => dropout(view),
        _ => None,
    }
}

/// Operators on floats whose attributes rten reads with ONNX's defaults.
fn float(view: &View<'_>, attributes: &[&'static str]) -> Option<Translation> {
    if !view.is_float(0) || view.input_count() != 1 || !view.has_only(attributes) {
        return None;
    }
    let attributes = attributes
        .iter()
        .filter_map(|name| {
            let (_, value) = view.node.attributes.iter().find(|(known, _)| known == name)?;
            Some((*name, value.clone()))
        })
        .collect();
    single(node(view.operator(), view.operands(1), attributes), view.value_type(0)?)
}

/// rten's `Abs` overflows at the smallest number of 32 bits.
fn absolute(view: &View<'_>) -> Option<Translation> {
    if view.is_integer(0) {
        let (low, _) = view.input(0)?.bounds(view.sizes)?;
        if low > i128::from(i32::MIN) {
            return single(node("Abs", view.operands(1), Vec::new()), view.value_type(0)?);
        }
        return None;
    }
    float(view, &[])
}

fn negative(view: &View<'_>) -> Option<Translation> {
    if view.is_integer(0) {
        let (low, _) = view.input(0)?.bounds(view.sizes)?;
        if low > i128::from(i32::MIN) {
            return single(node("Neg", view.operands(1), Vec::new()), view.value_type(0)?);
        }
        return None;
    }
    float(view, &[])
}

/// rten's `Relu` makes 0 of NaN. `Elu` with alpha 0 does not, and is as fast: below 0 it is
/// 0 times a number above -1.
fn relu(view: &View<'_>) -> Option<Translation> {
    if !view.is_float(0) || !view.has_only(&[]) {
        return None;
    }
    single(node("Elu", view.operands(1), vec![("alpha", Attribute::Float(0.0))]), view.value_type(0)?)
}

/// rten's `Clip` makes a bound of NaN.
fn clip(view: &View<'_>) -> Option<Translation> {
    if view.is_integer(0) {
        let bound = |index: usize| match view.input(index) {
            None => Some(None),
            Some(_) => view.integers(index).and_then(|values| values.first().copied()).map(Some),
        };
        let (low, high) = (bound(1)?, bound(2)?);
        let scalar = |value: Option<i64>| value.map(|value| Operand::Constant(Tensor::scalar(clamp(value))));
        let inputs = vec![view.operand(0), scalar(low), scalar(high)];
        return single(node("Clip", inputs, Vec::new()), view.value_type(0)?);
    }
    if !view.is_float(0) {
        return None;
    }
    let bound = |name: &str, index: usize| -> Option<Option<f32>> {
        if view.node.attributes.contains(name) {
            return view.node.attributes.float(name).ok();
        }
        match view.input(index) {
            None => Some(None),
            Some(fact) => {
                let constant = fact.constant.as_ref()?;
                let value = match constant.element_type() {
                    ElementType::Float => *constant.values::<f32>()?.first()?,
                    ElementType::Half => constant.values::<half::f16>()?.first()?.to_f32(),
                    _ => return None,
                };
                Some(Some(value))
            }
        }
    };
    let (low, high) = (bound("min", 1)?, bound("max", 2)?);
    let value_type = view.value_type(0)?;
    match (low, high) {
        // The largest numbers of the type are no bounds.
        (Some(low), None) if low == 0.0 => relu_of(view, value_type),
        (Some(low), Some(high)) if low == 0.0 && high >= f32::MAX => relu_of(view, value_type),
        // HardSigmoid clamps to 0 and 1, and keeps NaN.
        (Some(low), Some(high)) if low == 0.0 && (1e-6..=1e6).contains(&high) => {
            let scaled = IslandNode {
                outputs: vec![Target::Inner(0)],
                ..node(
                    "HardSigmoid",
                    view.operands(1),
                    vec![("alpha", Attribute::Float(1.0 / high)), ("beta", Attribute::Float(0.0))],
                )
            };
            let back = node(
                "Mul",
                vec![Some(Operand::Inner(0)), Some(Operand::Constant(Tensor::scalar(high)))],
                Vec::new(),
            );
            Some(Translation { nodes: vec![scaled, back], types: vec![value_type], heavy: false })
        }
        _ if low.is_some_and(f32::is_nan) || high.is_some_and(f32::is_nan) => None,
        _ => {
            let scalar = |value: Option<f32>, default: f32| {
                Some(Operand::Constant(Tensor::scalar(value.unwrap_or(default))))
            };
            let inner =
                |index: u32, node: IslandNode| IslandNode { outputs: vec![Target::Inner(index)], ..node };
            let bounds = vec![view.operand(0), scalar(low, f32::NEG_INFINITY), scalar(high, f32::INFINITY)];
            let nodes = vec![
                inner(0, node("IsNaN", view.operands(1), Vec::new())),
                inner(1, node("Clip", bounds, Vec::new())),
                node(
                    "Where",
                    vec![Some(Operand::Inner(0)), view.operand(0), Some(Operand::Inner(1))],
                    Vec::new(),
                ),
            ];
            Some(Translation { nodes, types: vec![value_type], heavy: false })
        }
    }
}

fn relu_of(view: &View<'_>, value_type: ValueType) -> Option<Translation> {
    single(node("Elu", view.operands(1), vec![("alpha", Attribute::Float(0.0))]), value_type)
}

fn prelu(view: &View<'_>) -> Option<Translation> {
    (view.is_float(0) && view.is_float(1) && view.node.opset >= 7)
        .then(|| single(node("PRelu", view.operands(2), Vec::new()), view.value_type(0)?))?
}

/// Whether an operator of whole numbers neither leaves 32 bits nor the type: what it gives
/// provably fits.
fn result_fits(
    view: &View<'_>,
    combine: impl Fn((i128, i128), (i128, i128)) -> Option<(i128, i128)>,
) -> bool {
    let bounds = |index: usize| view.input(index).and_then(|fact| fact.bounds(view.sizes));
    let (Some(left), Some(right)) = (bounds(0), bounds(1)) else { return false };
    combine(left, right)
        .is_some_and(|(low, high)| low >= i128::from(i32::MIN) && high <= i128::from(i32::MAX))
}

fn arithmetic(view: &View<'_>) -> Option<Translation> {
    // Before opset 7 broadcasting was an attribute.
    if view.node.opset < 7 || view.input_count() != 2 || is_arithmetic_mistaken(view) {
        return None;
    }
    let floats = view.is_float(0) && view.is_float(1);
    let integers = view.is_integer(0) && view.is_integer(1);
    let fits = || {
        // 32-bit numbers wrap in rten as they do in ONNX Runtime.
        view.element_type(0) == Some(ElementType::Int32)
            || result_fits(view, |left, right| match view.operator() {
                "Add" => Some((left.0.checked_add(right.0)?, left.1.checked_add(right.1)?)),
                "Sub" => Some((left.0.checked_sub(right.1)?, left.1.checked_sub(right.0)?)),
                _ => {
                    let products = [
                        left.0.checked_mul(right.0)?,
                        left.0.checked_mul(right.1)?,
                        left.1.checked_mul(right.0)?,
                        left.1.checked_mul(right.1)?,
                    ];
                    Some((products.iter().copied().min()?, products.iter().copied().max()?))
                }
            })
            || contents_fit(view)
    };
    if !floats && !(integers && fits()) {
        return None;
    }
    single(node(view.operator(), view.operands(2), Vec::new()), view.value_type(0)?)
}

/// Whether small tensors of sizes give results that fit, element by element.
fn contents_fit(view: &View<'_>) -> bool {
    let contents = |index: usize| view.input(index).and_then(|fact| fact.contents.as_ref());
    let (Some(left), Some(right)) = (contents(0), contents(1)) else { return false };
    if left.len() != right.len() && left.len() != 1 && right.len() != 1 {
        return false;
    }
    (0..left.len().max(right.len())).all(|index| {
        let at = |values: &[crate::facts::size::Size]| {
            values.get(if values.len() == 1 { 0 } else { index }).cloned().unwrap_or_default()
        };
        let (left, right) = (at(left), at(right));
        let result = match view.operator() {
            "Add" => left.plus(&right),
            "Sub" => left.minus(&right),
            _ => left.times(&right),
        };
        result.is_some_and(|result| {
            let (low, high) = view.sizes.bounds(&result);
            low >= i128::from(i32::MIN) && high <= i128::from(i32::MAX)
        })
    })
}

/// Whole numbers divided by 0 are an error in both; by -1 the smallest overflows.
fn divide(view: &View<'_>) -> Option<Translation> {
    if view.node.opset < 7 || is_arithmetic_mistaken(view) {
        return None;
    }
    let floats = view.is_float(0) && view.is_float(1);
    let integers = view.is_integer(0)
        && view.is_integer(1)
        && view.integers(1).is_some_and(|values| values.iter().all(|value| *value > 0));
    if !floats && !integers {
        return None;
    }
    single(node("Div", view.operands(2), Vec::new()), view.value_type(0)?)
}

fn power(view: &View<'_>) -> Option<Translation> {
    let floats = view.is_float(0) && view.is_float(1) && view.node.opset >= 7;
    floats.then(|| single(node("Pow", view.operands(2), Vec::new()), view.value_type(0)?))?
}

fn variadic(view: &View<'_>) -> Option<Translation> {
    let count = view.input_count();
    let all = |test: &dyn Fn(usize) -> bool| count > 0 && (0..count).all(test);
    let floats = all(&|index| view.is_float(index));
    let integers = all(&|index| view.is_integer(index)) && matches!(view.operator(), "Max" | "Min");
    // Before opset 8 there was no broadcasting, which is a special case of it.
    if !floats && !integers {
        return None;
    }
    single(node(view.operator(), view.operands(count), Vec::new()), view.value_type(0)?)
}

fn compare(view: &View<'_>) -> Option<Translation> {
    if view.node.opset < 7 {
        return None;
    }
    let floats = view.is_float(0) && view.is_float(1);
    let integers = view.kind(0) == Some(Kind::Int32) && view.kind(1) == Some(Kind::Int32);
    (floats || integers).then(|| {
        single(node(view.operator(), view.operands(2), Vec::new()), ValueType::Tensor(ElementType::Bool))
    })?
}

fn logical(view: &View<'_>) -> Option<Translation> {
    let count = if view.operator() == "Not" { 1 } else { 2 };
    if view.node.opset < 7 && count == 2 || !(0..count).all(|index| view.is_bool(index)) {
        return None;
    }
    single(node(view.operator(), view.operands(count), Vec::new()), ValueType::Tensor(ElementType::Bool))
}

fn choose(view: &View<'_>) -> Option<Translation> {
    let kind = view.kind(1)?;
    if !view.is_bool(0) || !matches!(kind, Kind::Float | Kind::Int32) || view.kind(2) != Some(kind) {
        return None;
    }
    single(node("Where", view.operands(3), Vec::new()), view.value_type(1)?)
}

fn is_nan(view: &View<'_>) -> Option<Translation> {
    view.is_float(0)
        .then(|| single(node("IsNaN", view.operands(1), Vec::new()), ValueType::Tensor(ElementType::Bool)))?
}

fn cast(view: &View<'_>) -> Option<Translation> {
    let to = view.type_attribute("to")?;
    let from = view.kind(0)?;
    let name = |kind: Kind| Attribute::Integer(kind.to_onnx().cast_signed());
    let value_type = ValueType::Tensor(to);
    match (from, to) {
        // Narrow floats are kept as wide ones inside an island; they are rounded where they leave it.
        (Kind::Float, ElementType::Float | ElementType::Half | ElementType::Bfloat16) => {
            single(node("Identity", view.operands(1), Vec::new()), value_type)
        }
        (Kind::Int32, ElementType::Float | ElementType::Half | ElementType::Bfloat16) => {
            single(node("Cast", view.operands(1), vec![("to", name(Kind::Float))]), value_type)
        }
        (Kind::Int32, ElementType::Int32 | ElementType::Int64) => {
            single(node("Identity", view.operands(1), Vec::new()), value_type)
        }
        (Kind::Int32, ElementType::Bool) if view.is_bool(0) => {
            single(node("Identity", view.operands(1), Vec::new()), value_type)
        }
        (Kind::Int32, ElementType::Bool) => {
            let zero = Some(Operand::Constant(Tensor::scalar(0_i32)));
            let equal = IslandNode {
                outputs: vec![Target::Inner(0)],
                ..node("Equal", vec![view.operand(0), zero], Vec::new())
            };
            let not = node("Not", vec![Some(Operand::Inner(0))], Vec::new());
            Some(Translation { nodes: vec![equal, not], types: vec![value_type], heavy: false })
        }
        (Kind::Int8 | Kind::Uint8, ElementType::Float | ElementType::Half) => {
            single(node("Cast", view.operands(1), vec![("to", name(Kind::Float))]), value_type)
        }
        (Kind::Int8 | Kind::Uint8, ElementType::Int32 | ElementType::Int64) => {
            single(node("Cast", view.operands(1), vec![("to", name(Kind::Int32))]), value_type)
        }
        _ => None,
    }
}

fn identity(view: &View<'_>) -> Option<Translation> {
    view.kind(0)?;
    single(node("Identity", view.operands(1), Vec::new()), view.value_type(0)?)
}

/// At inference nothing is dropped. Before opset 7 an attribute said what it is.
fn dropout(view: &View<'_>) -> Option<Translation> {
    let training = view.input(2).is_some_and(|fact| {
        fact.constant.as_ref().and_then(|value| value.values::<bool>()).and_then(|values| values.first())
            != Some(&false)
    });
    if training || view.node.opset < 7 || view.output_count() > 1 || !view.is_float(0) {
        return None;
    }
    single(node("Identity", view.operands(1), Vec::new()), view.value_type(0)?)
}
