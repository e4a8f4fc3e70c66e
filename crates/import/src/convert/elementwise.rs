//! Operators that compute each element for itself.

use super::call::{Call, Refusal, unsupported};
use crate::{
    graph::{Attributes, Operator, ValueId},
    tensor::ElementType,
};

/// Operators that ONNX has under another name, or the same.
fn counterpart(operator: &str) -> Option<Operator> {
    Some(match operator {
        "Abs" => Operator::Abs,
        "Acos" => Operator::Acos,
        "Acosh" => Operator::Acosh,
        "Asin" => Operator::Asin,
        "Asinh" => Operator::Asinh,
        "Atan" => Operator::Atan,
        "Atanh" => Operator::Atanh,
        "Add" | "AddV2" => Operator::Add,
        "Ceil" => Operator::Ceil,
        "Cos" => Operator::Cos,
        "Cosh" => Operator::Cosh,
        "Elu" => Operator::Elu,
        "Erf" => Operator::Erf,
        "Exp" => Operator::Exp,
        "Floor" => Operator::Floor,
        "Greater" => Operator::Greater,
        "GreaterEqual" => Operator::GreaterOrEqual,
        "Inv" | "Reciprocal" => Operator::Reciprocal,
        "IsInf" => Operator::IsInf,
        "IsNan" => Operator::IsNaN,
        "Less" => Operator::Less,
        "LessEqual" => Operator::LessOrEqual,
        "Log" => Operator::Log,
        "LogicalAnd" => Operator::And,
        "LogicalNot" => Operator::Not,
        "LogicalOr" => Operator::Or,
        "Maximum" => Operator::Max,
        "Minimum" => Operator::Min,
        "Mul" => Operator::Mul,
        "Neg" => Operator::Neg,
        "Pow" => Operator::Pow,
        "Relu" => Operator::Relu,
        "Rint" | "Round" => Operator::Round,
        "SelectV2" => Operator::Where,
        "Selu" => Operator::Selu,
        "Sigmoid" => Operator::Sigmoid,
        "Sign" => Operator::Sign,
        "Sin" => Operator::Sin,
        "Sinh" => Operator::Sinh,
        "Softplus" => Operator::Softplus,
        "Softsign" => Operator::Softsign,
        "Sqrt" => Operator::Sqrt,
        "Sub" => Operator::Sub,
        "Tan" => Operator::Tan,
        "Tanh" => Operator::Tanh,
        "TruncateDiv" => Operator::Div,
        _ => return None,
    })
}

/// The copies of TensorFlow: they matter to gradients, placement or debugging only.
fn is_copy(operator: &str) -> bool {
    matches!(
        operator,
        "Identity"
            | "StopGradient"
            | "PreventGradient"
            | "Snapshot"
            | "CheckNumerics"
            | "EnsureShape"
            | "DebugGradientIdentity"
            | "DebugGradientRefIdentity"
    )
}

/// Converts an operator of this family; `None` if it is of another.
pub(crate) fn convert(call: &mut Call<'_, '_>) -> Option<Result<ValueId, Refusal>> {
    let operator = call.operator().to_owned();
    if is_copy(&operator) {
        return Some(call.tensor(0));
    }
    if let Some(counterpart) = counterpart(&operator) {
        return Some(call.all().and_then(|inputs| direct(call, counterpart, &inputs)));
    }
    Some(match operator.as_str() {
        "AddN" => add_all(call),
        "BiasAdd" => bias(call),
        "Cast" => cast(call),
        "ClipByValue" => clip(call),
        "Div" | "RealDiv" => divide(call),
        "DivNoNan" => divide_or_zero(call),
        "Equal" => equal(call),
        "NotEqual" => equal(call).and_then(|equal| call.apply(Operator::Not, &[equal])),
        "Erfc" => erfc(call),
        "Expm1" => exponential_minus_one(call),
        "FloorDiv" => floor_divide(call),
        "FloorMod" => floor_modulo(call),
        "IsFinite" => finite(call),
        "LeakyRelu" => leaky(call),
        "Log1p" => logarithm_plus_one(call),
        "LogSoftmax" => last_axis(call, Operator::LogSoftmax),
        "OnesLike" => constant_like(call, 1.0),
        "Relu6" => call.tensor(0).and_then(|input| between(call, input, 0.0, 6.0)),
        "Rsqrt" => inverse_root(call),
        "Select" => select(call),
        "Softmax" => last_axis(call, Operator::Softmax),
        "Square" => call.tensor(0).and_then(|input| call.apply(Operator::Mul, &[input, input])),
        "SquaredDifference" => squared_difference(call),
        "ZerosLike" => constant_like(call, 0.0),
        _ => return None,
    })
}

fn direct(call: &mut Call<'_, '_>, operator: Operator, inputs: &[ValueId]) -> Result<ValueId, Refusal> {
    let expected = match operator.family() {
        crate::graph::Family::Unary => 1,
        _ if operator == Operator::Where => 3,
        _ => 2,
    };
    if inputs.len() != expected {
        return unsupported(format!("it has {} inputs instead of {expected}", inputs.len()));
    }
    // ONNX knows a sum of numbers only.
    if operator == Operator::Add && inputs.iter().any(|id| call.kind(*id) == ElementType::String) {
        return unsupported("strings are joined");
    }
    call.apply(operator, inputs)
}

fn add_all(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let inputs = call.all()?;
    let Some((first, rest)) = inputs.split_first() else { return unsupported("it has no input") };
    let mut sum = *first;
    for input in rest {
        sum = call.apply(Operator::Add, &[sum, *input])?;
    }
    Ok(sum)
}

fn bias(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (input, mut bias) = (call.tensor(0)?, call.tensor(1)?);
    if call.text("data_format").starts_with(b"NC") {
        let rank = call.rank(input)?;
        let axes: Vec<i64> = (1..rank as i64 - 1).collect();
        bias = call.unsqueeze(bias, &axes)?;
    }
    call.apply(Operator::Add, &[input, bias])
}

fn cast(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let to = call.type_attribute("DstT")?;
    if call.kind(input) == ElementType::String || to == ElementType::String {
        return unsupported("strings are not cast");
    }
    call.cast(input, to)
}

fn between(call: &mut Call<'_, '_>, input: ValueId, low: f64, high: f64) -> Result<ValueId, Refusal> {
    let kind = call.kind(input);
    let bounds = [input, call.scalar(kind, low)?, call.scalar(kind, high)?];
    call.apply(Operator::Clip, &bounds)
}

fn clip(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (input, low, high) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let least = call.apply(Operator::Min, &[input, high])?;
    call.apply(Operator::Max, &[least, low])
}

fn divide(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let inputs = [call.tensor(0)?, call.tensor(1)?];
    call.apply(Operator::Div, &inputs)
}

fn divide_or_zero(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    let zero = call.scalar(call.kind(a), 0.0)?;
    let quotient = call.apply(Operator::Div, &[a, b])?;
    let is_zero = call.apply(Operator::Equal, &[b, zero])?;
    call.apply(Operator::Where, &[is_zero, zero, quotient])
}

fn equal(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    if call.kind(a) != ElementType::String {
        return call.apply(Operator::Equal, &[a, b]);
    }
    // ONNX compares strings from operator set 19 on. One constant is enough for a table.
    super::tables::equal_strings(call, a, b)
}

fn erfc(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let one = call.scalar(call.kind(input), 1.0)?;
    let erf = call.apply(Operator::Erf, &[input])?;
    call.apply(Operator::Sub, &[one, erf])
}

/// exp(x) - 1 without the loss of digits near 0 (Kahan): with u = exp(x) it is
/// (u - 1) x / log(u), which is x where u is 1, and u - 1 where that is -1 or
/// infinite.
fn exponential_minus_one(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let x = call.tensor(0)?;
    let kind = call.kind(x);
    let (one, minus_one, largest) =
        (call.scalar(kind, 1.0)?, call.scalar(kind, -1.0)?, call.scalar(kind, 50.0)?);
    let u = call.apply(Operator::Exp, &[x])?;
    let plain = call.apply(Operator::Sub, &[u, one])?;
    let product = call.apply(Operator::Mul, &[plain, x])?;
    let logarithm = call.apply(Operator::Log, &[u])?;
    let exact = call.apply(Operator::Div, &[product, logarithm])?;
    let is_one = call.apply(Operator::Equal, &[u, one])?;
    let small = call.apply(Operator::Where, &[is_one, x, exact])?;
    let at_end = call.apply(Operator::Equal, &[plain, minus_one])?;
    let large = call.apply(Operator::Greater, &[x, largest])?;
    let at_an_end = call.apply(Operator::Or, &[at_end, large])?;
    call.apply(Operator::Where, &[at_an_end, plain, small])
}

/// log(1 + x) without the loss of digits near 0: with u = 1 + x it is
/// log(u) x / (u - 1), and x where u is 1.
fn logarithm_plus_one(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let x = call.tensor(0)?;
    let kind = call.kind(x);
    let (one, largest) = (call.scalar(kind, 1.0)?, call.scalar(kind, 1e3)?);
    let u = call.apply(Operator::Add, &[x, one])?;
    let logarithm = call.apply(Operator::Log, &[u])?;
    let less = call.apply(Operator::Sub, &[u, one])?;
    let ratio = call.apply(Operator::Div, &[x, less])?;
    let exact = call.apply(Operator::Mul, &[logarithm, ratio])?;
    let is_one = call.apply(Operator::Equal, &[u, one])?;
    let small = call.apply(Operator::Where, &[is_one, x, exact])?;
    let large = call.apply(Operator::Greater, &[x, largest])?;
    call.apply(Operator::Where, &[large, logarithm, small])
}

/// ONNX's division of integers truncates; without the remainder there is nothing to round.
fn floor_divide(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    if call.kind(a).is_float() {
        let quotient = call.apply(Operator::Div, &[a, b])?;
        return call.apply(Operator::Floor, &[quotient]);
    }
    let rest = call.apply(Operator::Mod, &[a, b])?;
    let whole = call.apply(Operator::Sub, &[a, rest])?;
    call.apply(Operator::Div, &[whole, b])
}

fn floor_modulo(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    if !call.kind(a).is_float() {
        return call.apply(Operator::Mod, &[a, b]);
    }
    // The remainder of the truncated quotient has the dividend's sign: one divisor more where the signs differ.
    let rest = call.emit(Operator::Mod, &[a, b], Attributes::none().with("fmod", 1))?;
    let zero = call.scalar(call.kind(a), 0.0)?;
    let negative_rest = call.apply(Operator::Less, &[rest, zero])?;
    let negative_divisor = call.apply(Operator::Less, &[b, zero])?;
    let differ = call.apply(Operator::Xor, &[negative_rest, negative_divisor])?;
    let exact = call.apply(Operator::Equal, &[rest, zero])?;
    let inexact = call.apply(Operator::Not, &[exact])?;
    let correct = call.apply(Operator::And, &[differ, inexact])?;
    let corrected = call.apply(Operator::Add, &[rest, b])?;
    call.apply(Operator::Where, &[correct, corrected, rest])
}

fn finite(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let infinite = call.apply(Operator::IsInf, &[input])?;
    let none = call.apply(Operator::IsNaN, &[input])?;
    let either = call.apply(Operator::Or, &[infinite, none])?;
    call.apply(Operator::Not, &[either])
}

fn leaky(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let alpha = call.node.float("alpha").unwrap_or(0.2);
    let input = call.tensor(0)?;
    call.emit(Operator::LeakyRelu, &[input], Attributes::none().with("alpha", alpha))
}

fn last_axis(call: &mut Call<'_, '_>, operator: Operator) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    call.emit(operator, &[input], Attributes::none().with("axis", -1))
}

fn constant_like(call: &mut Call<'_, '_>, value: f64) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let scalar = call.scalar(call.kind(input), value)?;
    call.filled_like(scalar, input)
}

fn inverse_root(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let root = call.apply(Operator::Sqrt, &[input])?;
    call.apply(Operator::Reciprocal, &[root])
}

/// TensorFlow 1's choice: a vector chooses whole entries of the first axis.
fn select(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (mut condition, yes, no) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let (chooser, rank) = (call.rank(condition)?, call.rank(yes)?);
    if chooser == 1 && rank > 1 {
        let axes: Vec<i64> = (1..rank as i64).collect();
        condition = call.unsqueeze(condition, &axes)?;
    }
    call.apply(Operator::Where, &[condition, yes, no])
}

fn squared_difference(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let inputs = [call.tensor(0)?, call.tensor(1)?];
    let difference = call.apply(Operator::Sub, &inputs)?;
    call.apply(Operator::Mul, &[difference, difference])
}
