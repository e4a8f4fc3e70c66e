//! Compiles the .proto files with protox, so that no protoc is needed.

use std::{error::Error, path::Path};

const SERVICES: [&str; 5] = [
    "adytum/session/v1/session.proto",
    "adytum/broker/v1/broker.proto",
    "adytum/broker/v1/succession.proto",
    "tensorflow_serving/apis/prediction_service.proto",
    "tensorflow_serving/apis/model_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("proto");
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(SERVICES.map(|file| root.join(file)), [root])?;
    tonic_prost_build::configure()
        .client_mod_attribute(".", "#[cfg(feature = \"services\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"services\")]")
        // A tensor's bytes are shared with the message buffer, not copied.
        .bytes(".tensorflow.TensorProto.tensor_content")
        // Answers are byte-identical for equal content.
        .btree_map(".")
        // Secret values must not print.
        .skip_debug([
            "adytum.broker.v1.Secret",
            "adytum.broker.v1.PutSecret",
            "adytum.broker.v1.SupplyShareRequest",
            "adytum.broker.v1.TakeOverResponse",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
