//! Protobuf's text format, and the messages that the model server reads in it.

#![no_main]

use std::path::Path;

use adytum_serving::{
    batching::BatchingParameters, loading::ModelServerConfig, monitoring::MonitoringConfig,
    text_format::parse,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let read = parse("Message", text);
    if let Ok(configuration) = ModelServerConfig::parse(text, Some(Path::new("/models"))) {
        assert!(read.is_ok());
        for model in &configuration.models {
            assert!(model.base.is_absolute() && !model.name.is_empty());
        }
    }
    if let Ok(parameters) = BatchingParameters::parse(text) {
        assert!(parameters.allowed_batch_sizes.is_sorted());
    }
    let _ = MonitoringConfig::parse(text);
});
