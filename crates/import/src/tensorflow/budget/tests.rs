use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::tensorflow::messages::{Graph, MetaGraph, Node, SavedModel};

fn model(nodes: usize) -> Vec<u8> {
    let graph = Graph { nodes: vec![Node::default(); nodes], library: None };
    let meta = MetaGraph { graph: Some(graph), ..Default::default() };
    SavedModel { meta_graphs: vec![meta] }.encode_to_vec()
}

#[test]
fn nodes_of_two_bytes_are_counted() {
    let bytes = model(1000);
    assert!(bytes.len() < 2100);
    assert!(check(&bytes, 1002).is_ok());
    let error = check(&bytes, 1000).unwrap_err();
    assert_eq!(error.code(), "saved-model-too-large");
}

#[test]
fn what_is_cut_off_is_refused() {
    let bytes = model(10);
    assert_eq!(check(&bytes[..bytes.len() - 1], 100).unwrap_err().code(), "saved-model-malformed");
    assert!(check(b"a text file\n", 100).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_counted_or_refused(bytes: Vec<u8>) {
        let _ = check(&bytes, 1000);
    }
}
