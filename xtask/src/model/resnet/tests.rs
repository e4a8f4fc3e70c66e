use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::*;
use crate::model::messages::{DimensionValue, FLOAT, GraphProto, ModelProto, ValueInfoProto};

fn encoded(architecture: &Architecture, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    graph(architecture, seed).write(&mut bytes).unwrap();
    bytes
}

fn dimensions(value: &ValueInfoProto) -> Vec<String> {
    let tensor = value.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref()).unwrap();
    assert_eq!(tensor.elem_type, FLOAT);
    let shape = tensor.shape.as_ref().unwrap();
    shape
        .dim
        .iter()
        .map(|dimension| match dimension.value.as_ref().unwrap() {
            DimensionValue::DimValue(size) => size.to_string(),
            DimensionValue::DimParam(name) => name.clone(),
        })
        .collect()
}

fn count(graph: &GraphProto, operator: &str) -> usize {
    graph.node.iter().filter(|node| node.op_type == operator).count()
}

/// Every value is made before it is used, and nothing is made in vain.
fn assert_connected(graph: &GraphProto) {
    let mut known: BTreeSet<&str> = graph.input.iter().map(|value| value.name.as_str()).collect();
    for tensor in &graph.initializer {
        assert!(known.insert(&tensor.name), "{} twice", tensor.name);
    }
    let mut used: BTreeSet<&str> = graph.output.iter().map(|value| value.name.as_str()).collect();
    for node in &graph.node {
        for input in &node.input {
            assert!(known.contains(input.as_str()), "{} reads {input}", node.name);
            used.insert(input);
        }
        for output in &node.output {
            assert!(known.insert(output), "{output} twice");
        }
    }
    assert_eq!(known, used);
}

#[test]
fn the_reduced_model_parses_as_onnx() {
    let bytes = encoded(&Architecture::REDUCED, 7);
    let model = ModelProto::decode(bytes.as_slice()).unwrap();
    // The hand-written lengths leave nothing over and nothing out.
    assert_eq!(model.encode_to_vec(), bytes);
    assert_eq!(model.ir_version, 8);
    assert_eq!(model.opset_import.len(), 1);
    assert_eq!(model.opset_import[0].version, 17);

    let graph = model.graph.unwrap();
    assert_connected(&graph);
    assert_eq!(graph.input.len(), 1);
    assert_eq!(graph.input[0].name, "input_1");
    assert_eq!(dimensions(&graph.input[0]), ["batch", "32", "32", "3"]);
    assert_eq!(graph.output.len(), 1);
    assert_eq!(dimensions(&graph.output[0]), ["batch", "10"]);
    for tensor in &graph.initializer {
        let elements: i64 = tensor.dims.iter().product();
        assert_eq!(tensor.raw_data.len() as i64, 4 * elements, "{}", tensor.name);
        for bytes in tensor.raw_data.chunks(4) {
            let value = f32::from_le_bytes(bytes.try_into().unwrap());
            assert!(value.is_finite() && value.abs() < 6.0, "{}: {value}", tensor.name);
        }
    }
}

#[test]
fn every_convolution_states_its_strides() {
    // An engine we use doesn't load a Conv without them.
    let model = ModelProto::decode(encoded(&Architecture::REDUCED, 7).as_slice()).unwrap();
    for node in model.graph.unwrap().node.iter().filter(|node| node.op_type == "Conv") {
        let attributes: BTreeMap<_, _> =
            node.attribute.iter().map(|attribute| (attribute.name.as_str(), attribute)).collect();
        assert_eq!(attributes["strides"].ints.len(), 2, "{}", node.name);
        assert_eq!(attributes["pads"].ints.len(), 4, "{}", node.name);
    }
}

#[test]
fn weights_follow_from_the_seed_and_differ_among_tensors() {
    assert_eq!(encoded(&Architecture::REDUCED, 7), encoded(&Architecture::REDUCED, 7));
    assert_ne!(encoded(&Architecture::REDUCED, 7), encoded(&Architecture::REDUCED, 8));

    let model = ModelProto::decode(encoded(&Architecture::REDUCED, 7).as_slice()).unwrap();
    let kernels: BTreeSet<Vec<u8>> = model
        .graph
        .unwrap()
        .initializer
        .into_iter()
        .filter(|tensor| tensor.name.ends_with("/kernel"))
        .map(|tensor| tensor.raw_data[..16].to_vec())
        .collect();
    // Stem, three blocks of three, two projections, head.
    assert_eq!(kernels.len(), 1 + 9 + 2 + 1);
}

#[test]
fn resnet_50_has_its_published_shape() {
    let graph = graph(&Architecture::RESNET_50, 0);
    // Without the 102 MB of weights: their headers say enough.
    let mut sink = Counting(0);
    graph.write(&mut sink).unwrap();
    assert!((102_000_000..103_000_000).contains(&sink.0), "{} bytes", sink.0);

    let layout = graph.layout();
    assert_connected(&layout);
    assert_eq!(dimensions(&layout.input[0]), ["batch", "224", "224", "3"]);
    assert_eq!(layout.output[0].name, "activation_49");
    assert_eq!(dimensions(&layout.output[0]), ["batch", "1000"]);
    assert_eq!(count(&layout, "Conv"), 53);
    assert_eq!(count(&layout, "Relu"), 49);
    assert_eq!(count(&layout, "Add"), 16);
    let parameters: i64 = layout.initializer.iter().map(|tensor| tensor.dims.iter().product::<i64>()).sum();
    // 25 557 032 of torchvision's resnet50 less the 26 560 scales that folding
    // batch normalisation takes away.
    assert_eq!(parameters, 25_530_472);
}

struct Counting(u64);

impl std::io::Write for Counting {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.0 += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
