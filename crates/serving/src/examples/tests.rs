//! Tests of examples, encoded by the generated code.

use adytum_api::tensorflow::{
    BytesList, Example, Features, FloatList, Int64List,
    feature::Kind,
    serving::{ExampleList, ExampleListWithContext, Input, input},
};
use adytum_engine::tensor::{Tensor, Text};
use adytum_import::signature::{self, FeatureList, FeatureValues};
use proptest::prelude::*;
use prost::Message;

use super::*;

const LIMIT: usize = 1 << 20;

fn example(features: &[(&str, Kind)]) -> Example {
    let feature = features
        .iter()
        .map(|(name, kind)| {
            ((*name).to_owned(), adytum_api::tensorflow::Feature { kind: Some(kind.clone()) })
        })
        .collect();
    Example { features: Some(Features { feature }) }
}

fn floats(values: &[f32]) -> Kind {
    Kind::FloatList(FloatList { value: values.to_vec() })
}

fn integers(values: &[i64]) -> Kind {
    Kind::Int64List(Int64List { value: values.to_vec() })
}

fn texts(values: &[&str]) -> Kind {
    Kind::BytesList(BytesList { value: values.iter().map(|text| text.as_bytes().to_vec()).collect() })
}

fn feature(
    name: &str,
    list: FeatureList,
    shape: &[Option<u64>],
    default: Option<FeatureValues>,
) -> signature::Feature {
    signature::Feature {
        name: name.to_owned(),
        tensor: format!("{name}:0"),
        list,
        shape: shape.to_vec(),
        default,
    }
}

fn wanted(features: Vec<signature::Feature>) -> signature::Examples {
    signature::Examples { input: "inputs".to_owned(), features }
}

fn parse(input: &Input, wanted: &signature::Examples) -> Result<Vec<Tensor>, ExampleError> {
    let message = input.encode_to_vec();
    tensors(&Batch::of_input(&message, LIMIT)?, wanted, LIMIT)
}

fn list(examples: Vec<Example>) -> Input {
    Input { kind: Some(input::Kind::ExampleList(ExampleList { examples })) }
}

#[test]
fn features_of_every_kind_become_tensors() {
    let wanted = wanted(vec![
        feature("f", FeatureList::Float, &[Some(2)], None),
        feature("i", FeatureList::Int64, &[], Some(FeatureValues::Int64(vec![7]))),
        feature("t", FeatureList::Bytes, &[Some(1)], Some(FeatureValues::Bytes(vec![b"none".to_vec()]))),
    ]);
    let input = list(vec![
        example(&[
            ("f", floats(&[1.0, 2.0])),
            ("i", integers(&[-3])),
            ("t", texts(&["a"])),
            ("other", texts(&["b"])),
        ]),
        example(&[("f", floats(&[3.0, 4.0]))]),
    ]);
    let tensors = parse(&input, &wanted).unwrap();
    assert_eq!(tensors[0], Tensor::from_vec(vec![2, 2], vec![1.0_f32, 2.0, 3.0, 4.0]).unwrap());
    assert_eq!(tensors[1], Tensor::vector(vec![-3_i64, 7]));
    let texts = vec![Text::from_static(b"a"), Text::from_static(b"none")];
    assert_eq!(tensors[2], Tensor::from_vec(vec![2, 1], texts).unwrap());
}

#[test]
fn lengths_that_vary_are_padded() {
    let wanted = wanted(vec![feature(
        "ids",
        FeatureList::Int64,
        &[None, Some(2)],
        Some(FeatureValues::Int64(vec![-1])),
    )]);
    let input = list(vec![
        example(&[("ids", integers(&[1, 2]))]),
        example(&[]),
        example(&[("ids", integers(&[3, 4, 5, 6]))]),
    ]);
    let tensor = parse(&input, &wanted).unwrap().remove(0);
    assert_eq!(tensor.shape(), [3, 2, 2]);
    assert_eq!(tensor.values::<i64>().unwrap(), [1, 2, -1, -1, -1, -1, -1, -1, 3, 4, 5, 6]);
    let odd = parse(&list(vec![example(&[("ids", integers(&[1, 2, 3]))])]), &wanted).unwrap_err();
    assert_eq!(odd.code(), "example-feature-count");
}

#[test]
fn an_example_goes_before_its_context() {
    let wanted = wanted(vec![
        feature("x", FeatureList::Float, &[], None),
        feature("y", FeatureList::Float, &[], None),
    ]);
    let input = Input {
        kind: Some(input::Kind::ExampleListWithContext(ExampleListWithContext {
            context: Some(example(&[("x", floats(&[1.0])), ("y", floats(&[2.0]))])),
            examples: vec![example(&[("y", floats(&[3.0]))]), example(&[])],
        })),
    };
    let tensors = parse(&input, &wanted).unwrap();
    assert_eq!(tensors[0].values::<f32>().unwrap(), [1.0, 1.0]);
    assert_eq!(tensors[1].values::<f32>().unwrap(), [3.0, 2.0]);
    // The same from the texts that a graph would parse itself.
    let message = input.encode_to_vec();
    let texts = Batch::of_input(&message, LIMIT).unwrap().texts();
    assert_eq!(super::tensors(&Batch::of_texts(&texts), &wanted, LIMIT).unwrap(), tensors);
}

#[test]
fn wrong_features_are_refused_with_their_place() {
    let one = |list, shape: &[Option<u64>]| wanted(vec![feature("x", list, shape, None)]);
    let good = example(&[("x", floats(&[1.0]))]);
    let input = list(vec![good.clone(), example(&[])]);
    let missing = parse(&input, &one(FeatureList::Float, &[])).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "Index: 1. Feature: x (data type: float) is required but could not be found."
    );
    let wrong = parse(&list(vec![good.clone()]), &one(FeatureList::Int64, &[])).unwrap_err();
    assert_eq!(wrong.code(), "example-feature-type");
    let count = parse(&list(vec![good]), &one(FeatureList::Float, &[Some(3)])).unwrap_err();
    assert!(count.to_string().ends_with("values size: 1 but output shape: [3]"), "{count}");
    assert_eq!(parse(&list(Vec::new()), &one(FeatureList::Float, &[])).unwrap_err(), ExampleError::Empty);
    assert_eq!(parse(&Input { kind: None }, &one(FeatureList::Float, &[])).unwrap_err(), ExampleError::Empty);
}

#[test]
fn padding_is_charged_before_it_is_made() {
    let wanted = wanted(vec![feature("x", FeatureList::Float, &[None], Some(FeatureValues::Float(vec![0])))]);
    let mut examples = vec![example(&[]); 2000];
    examples.push(example(&[("x", floats(&vec![1.0; 2000]))]));
    assert_eq!(parse(&list(examples), &wanted).unwrap_err(), ExampleError::TooLarge { limit: LIMIT });
    let empty = list(vec![example(&[]); 100_000]);
    assert_eq!(parse(&empty, &wanted).unwrap_err(), ExampleError::TooLarge { limit: LIMIT });
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let wanted = wanted(vec![
            feature("", FeatureList::Float, &[None], None),
            feature("a", FeatureList::Int64, &[Some(1)], Some(FeatureValues::Int64(vec![1]))),
            feature("b", FeatureList::Bytes, &[None, Some(0)], None),
        ]);
        if let Ok(batch) = Batch::of_input(&bytes, LIMIT) {
            let _ = tensors(&batch, &wanted, LIMIT);
        }
        let texts = [Text::from(bytes)];
        let _ = tensors(&Batch::of_texts(&texts), &wanted, LIMIT);
    }
}
