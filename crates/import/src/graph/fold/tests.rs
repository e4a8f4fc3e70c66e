//! Expected values are NumPy's and those of ONNX's documentation.

use super::*;

fn numbers(dimensions: &[usize], values: &[i64]) -> Tensor {
    let values = Numbers::Integers(values.to_vec());
    Tensor::from_numbers(ElementType::Int64, dimensions.to_vec(), values).unwrap()
}

fn floats(dimensions: &[usize], values: &[f32]) -> Tensor {
    let values = Numbers::Singles(values.to_vec());
    Tensor::from_numbers(ElementType::Float32, dimensions.to_vec(), values).unwrap()
}

fn run(operator: Operator, attributes: Attributes, inputs: &[&Tensor]) -> Option<Tensor> {
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(|input| Some(*input)).collect();
    fold(operator, &attributes, &inputs, 1000)
}

fn plain(operator: Operator, inputs: &[&Tensor]) -> Option<Tensor> {
    run(operator, Attributes::none(), inputs)
}

#[test]
fn arithmetic_broadcasts() {
    let (a, b) = (numbers(&[2, 1], &[10, 20]), numbers(&[3], &[1, 2, 3]));
    assert_eq!(plain(Operator::Add, &[&a, &b]), Some(numbers(&[2, 3], &[11, 12, 13, 21, 22, 23])));
    assert_eq!(plain(Operator::Sub, &[&b, &a]), Some(numbers(&[2, 3], &[-9, -8, -7, -19, -18, -17])));
    let less = plain(Operator::Less, &[&b, &a]).unwrap();
    assert_eq!((less.kind(), less.integers()), (ElementType::Bool, Some(vec![1; 6])));
}

#[test]
fn integers_divide_as_onnx_does_and_never_by_zero() {
    let (a, b) = (numbers(&[4], &[7, -7, 7, -7]), numbers(&[4], &[2, 2, -2, -2]));
    assert_eq!(plain(Operator::Div, &[&a, &b]), Some(numbers(&[4], &[3, -3, -3, 3])));
    assert_eq!(plain(Operator::Mod, &[&a, &b]), Some(numbers(&[4], &[1, 1, -1, -1])));
    assert_eq!(plain(Operator::Div, &[&a, &numbers(&[], &[0])]), None);
    let least = numbers(&[1], &[i64::MIN]);
    assert_eq!(plain(Operator::Div, &[&least, &numbers(&[], &[-1])]), None);
}

#[test]
fn narrow_integers_wrap() {
    let byte =
        |value| Tensor::from_numbers(ElementType::UInt8, vec![1], Numbers::Integers(vec![value])).unwrap();
    assert_eq!(plain(Operator::Add, &[&byte(250), &byte(10)]), Some(byte(4)));
}

#[test]
fn slices_go_both_ways() {
    let x = numbers(&[2, 4], &[0, 1, 2, 3, 4, 5, 6, 7]);
    let slice = |start: i64, end: i64, step: i64| {
        let part =
            [Tensor::vector(&[start]), Tensor::vector(&[end]), Tensor::vector(&[1]), Tensor::vector(&[step])];
        plain(Operator::Slice, &[&x, &part[0], &part[1], &part[2], &part[3]])
    };
    assert_eq!(slice(1, i64::MAX, 2), Some(numbers(&[2, 2], &[1, 3, 5, 7])));
    assert_eq!(slice(-1, i64::MIN + 1, -1), Some(numbers(&[2, 4], &[3, 2, 1, 0, 7, 6, 5, 4])));
    assert_eq!(slice(-1, 0, -2), Some(numbers(&[2, 2], &[3, 1, 7, 5])));
    assert_eq!(slice(3, 1, 1), Some(numbers(&[2, 0], &[])));
    assert_eq!(slice(0, 4, 0), None);
}

#[test]
fn transposes_gathers_and_concatenates() {
    let x = numbers(&[2, 3], &[0, 1, 2, 3, 4, 5]);
    let perm = |values: &[i64]| Attributes::none().with("perm", values.to_vec());
    assert_eq!(run(Operator::Transpose, perm(&[1, 0]), &[&x]), Some(numbers(&[3, 2], &[0, 3, 1, 4, 2, 5])));
    assert_eq!(run(Operator::Transpose, perm(&[0, 0]), &[&x]), None);
    assert_eq!(run(Operator::Transpose, perm(&[0]), &[&x]), None);
    let axis = Attributes::none().with("axis", 1);
    let index = numbers(&[2], &[-1, 0]);
    assert_eq!(run(Operator::Gather, axis.clone(), &[&x, &index]), Some(numbers(&[2, 2], &[2, 0, 5, 3])));
    assert_eq!(run(Operator::Gather, axis.clone(), &[&x, &numbers(&[1], &[3])]), None);
    let joined = numbers(&[2, 6], &[0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]);
    assert_eq!(run(Operator::Concat, axis, &[&x, &x]), Some(joined));
}

#[test]
fn results_beyond_the_limit_are_left() {
    let shape = Tensor::vector(&[1 << 40]);
    assert_eq!(plain(Operator::Expand, &[&numbers(&[], &[1]), &shape]), None);
    assert_eq!(plain(Operator::Tile, &[&numbers(&[1], &[1]), &shape]), None);
    assert_eq!(plain(Operator::Tile, &[&numbers(&[0], &[]), &shape]), None);
    let bounds = [numbers(&[], &[0]), numbers(&[], &[i64::MAX]), numbers(&[], &[1])];
    assert_eq!(plain(Operator::Range, &[&bounds[0], &bounds[1], &bounds[2]]), None);
}

#[test]
fn a_choice_takes_from_both_sides() {
    let condition =
        Tensor::from_numbers(ElementType::Bool, vec![2, 1], Numbers::Integers(vec![1, 0])).unwrap();
    let (yes, no) = (floats(&[2], &[1.0, 2.0]), floats(&[], &[9.0]));
    let chosen = plain(Operator::Where, &[&condition, &yes, &no]);
    assert_eq!(chosen, Some(floats(&[2, 2], &[1.0, 2.0, 9.0, 9.0])));
}

#[test]
fn reductions_keep_or_drop_axes() {
    let x = numbers(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let along = |keep: i64| Attributes::none().with("axes", vec![-1]).with("keepdims", keep);
    assert_eq!(run(Operator::ReduceProd, along(0), &[&x]), Some(numbers(&[2], &[6, 120])));
    assert_eq!(run(Operator::ReduceMax, along(1), &[&x]), Some(numbers(&[2, 1], &[3, 6])));
    assert_eq!(plain(Operator::ReduceSum, &[&x, &Tensor::vector(&[0])]), Some(numbers(&[1, 3], &[5, 7, 9])));
}

#[test]
fn reshapes_infer_one_size() {
    let x = numbers(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let to = |sizes: &[i64]| plain(Operator::Reshape, &[&x, &Tensor::vector(sizes)]);
    assert_eq!(to(&[3, -1]).map(|t| t.dimensions().to_vec()), Some(vec![3, 2]));
    assert_eq!(to(&[0, -1]).map(|t| t.dimensions().to_vec()), Some(vec![2, 3]));
    assert_eq!(to(&[-1, -1]), None);
    assert_eq!(to(&[4, -1]), None);
}
