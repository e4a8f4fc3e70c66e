//! Compiles the .proto files with protox, so that no protoc is needed.

use std::{env, error::Error, fs, path::Path};

use prost::Message;

const SERVICES: [&str; 8] = [
    "adytum/session/v1/session.proto",
    "adytum/broker/v1/broker.proto",
    "adytum/broker/v1/succession.proto",
    "tensorflow_serving/apis/prediction_service.proto",
    "tensorflow_serving/apis/model_service.proto",
    "inference/grpc_service.proto",
    "occlum/ratls.proto",
    "kubetee/aecs.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("proto");
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(SERVICES.map(|file| root.join(file)), [root])?;
    // What server reflection answers from.
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    fs::write(Path::new(&out).join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .client_mod_attribute(".", "#[cfg(feature = \"services\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"services\")]")
        // A tensor's bytes are shared with the message buffer, not copied.
        .bytes(".tensorflow.TensorProto.tensor_content")
        .bytes(".inference.ModelInferResponse.raw_output_contents")
        // Answers are byte-identical for equal content.
        .btree_map(".")
        // Secret values must not print.
        .skip_debug([
            "adytum.broker.v1.Secret",
            "adytum.broker.v1.PutSecret",
            "adytum.broker.v1.SupplyShareRequest",
            "adytum.broker.v1.TakeOverResponse",
            "ratls.SecretReply",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
