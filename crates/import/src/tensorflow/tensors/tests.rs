use super::*;
use crate::tensor::{Elements, Numbers};

fn literal(kind: i32, sizes: &[i64]) -> messages::Tensor {
    let dimensions = sizes.iter().map(|size| messages::Dimension { size: *size }).collect();
    let shape = messages::Shape { dimensions, unknown_rank: false };
    messages::Tensor { kind, shape: Some(shape), ..Default::default() }
}

#[test]
fn the_last_value_stands_for_the_rest() {
    let message = messages::Tensor { floats: vec![1.0, 2.5], ..literal(1, &[2, 2]) };
    let tensor = tensor(&message, 1 << 10).unwrap();
    assert_eq!(tensor.numbers(), Some(Numbers::Singles(vec![1.0, 2.5, 2.5, 2.5])));
}

#[test]
fn no_value_is_zero() {
    assert_eq!(tensor(&literal(9, &[3]), 1 << 10).unwrap().integers(), Some(vec![0, 0, 0]));
    let empty = tensor(&literal(7, &[2]), 1 << 10).unwrap();
    assert_eq!(empty.elements(), &Elements::Strings(vec![Bytes::new(), Bytes::new()].into()));
}

#[test]
fn one_value_for_a_huge_shape_is_refused() {
    let message = messages::Tensor { floats: vec![1.0], ..literal(1, &[1 << 30, 1 << 30]) };
    assert!(tensor(&message, 1 << 30).unwrap_err().contains("more than"));
    assert!(tensor(&literal(1, &[i64::MAX, i64::MAX]), u64::MAX).is_err());
}

#[test]
fn more_values_than_elements_and_negative_sizes_are_refused() {
    let message = messages::Tensor { floats: vec![1.0; 5], ..literal(1, &[4]) };
    assert!(tensor(&message, 1 << 10).is_err());
    assert!(tensor(&literal(1, &[-1]), 1 << 10).is_err());
    let message = messages::Tensor { content: Bytes::from_static(&[0; 7]), ..literal(1, &[2]) };
    assert!(tensor(&message, 1 << 10).is_err());
}

#[test]
fn halves_come_as_bits() {
    let message = messages::Tensor { halves: vec![0x3c00, 0xc000], ..literal(19, &[2]) };
    let tensor = tensor(&message, 1 << 10).unwrap();
    assert_eq!(tensor.elements(), &Elements::Fixed(Bytes::from_static(&[0x00, 0x3c, 0x00, 0xc0])));
}
