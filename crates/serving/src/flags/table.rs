//! Every flag, who may set it, and what it does: the table in docs/flags.md.

use clap::CommandFactory as _;

use super::{Flags, HOST_FLAGS};

/// TensorFlow Serving's flags, of which each is accepted here.
pub const TENSORFLOW_SERVING: [&str; 48] = [
    "port",
    "grpc_socket_path",
    "rest_api_port",
    "rest_api_num_threads",
    "rest_api_timeout_in_ms",
    "rest_api_enable_cors_support",
    "enable_batching",
    "allow_version_labels_for_unavailable_models",
    "batching_parameters_file",
    "enable_per_model_batching_parameters",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "model_name",
    "model_base_path",
    "num_load_threads",
    "num_unload_threads",
    "max_num_load_retries",
    "load_retry_interval_micros",
    "file_system_poll_wait_seconds",
    "flush_filesystem_caches",
    "tensorflow_session_parallelism",
    "tensorflow_session_config_file",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
    "use_alts_credentials",
    "ssl_config_file",
    "platform_config_file",
    "per_process_gpu_memory_fraction",
    "saved_model_tags",
    "grpc_channel_arguments",
    "grpc_max_threads",
    "enable_model_warmup",
    "num_request_iterations_for_warmup",
    "version",
    "monitoring_config_file",
    "remove_unused_fields_from_bundle_metagraph",
    "prefer_tflite_model",
    "num_tflite_pools",
    "num_tflite_interpreters_per_pool",
    "enable_signature_method_name_check",
    "xla_cpu_compilation_enabled",
    "xla_gpu_compilation_enabled",
    "enable_profiler",
    "thread_pool_factory_config_file",
    "mixed_precision",
    "skip_initialize_tpu",
    "enable_grpc_healthcheck_service",
    "enable_serialization_as_tensor_content",
];

/// The table of all flags as Markdown.
pub fn markdown() -> String {
    let mut command = Flags::command();
    command.build();
    let mut rows: Vec<(bool, String)> = Vec::new();
    let attestation = adytum_init_flags();
    for argument in command.get_arguments() {
        let Some(name) = argument.get_long() else { continue };
        if name == "help" {
            continue;
        }
        let help = argument.get_help().map(|help| help.to_string()).unwrap_or_default();
        let help = help.replace('|', "\\|").replace('\n', " ");
        let known = TENSORFLOW_SERVING.contains(&name);
        let set_by = if HOST_FLAGS.contains(&name) || attestation.iter().any(|other| other == name) {
            "host"
        } else {
            "measured"
        };
        let defaults: Vec<_> =
            argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        let default = defaults.join(",");
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        let source = if known { "TensorFlow Serving" } else { "Adytum" };
        rows.push((!known, format!("| `--{name}` | {source} | {set_by} | {default} | {help} |\n")));
    }
    rows.sort();
    let head = "| flag | of | set by | default | meaning |\n|---|---|---|---|---|\n";
    rows.into_iter().fold(head.to_owned(), |table, (_, row)| table + &row)
}

/// The names of the flags that say how to attest, which init takes out by itself.
fn adytum_init_flags() -> Vec<String> {
    let command = adytum_init::arguments::AttestationArguments::augment_args(clap::Command::new("flags"));
    command.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
}

use clap::Args as _;
