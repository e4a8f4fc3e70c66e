//! The other flags of `tensorflow_model_server`: those that do here what they do there,
//! and those that are accepted and mean nothing here.
//!
//! Source: `tensorflow_serving/model_servers/main.cc` and `server.h`, for names and
//! defaults.

use std::{num::NonZeroUsize, time::Duration};

use clap::{Args, value_parser};

use super::{
    FlagError,
    values::{
        ChannelArguments, OptionalPath, Polling, parse_boolean, parse_channel_arguments, parse_micros,
        parse_path, parse_polling,
    },
};

/// TensorFlow Serving's other flags.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "TensorFlow Serving", rename_all = "snake_case")]
pub struct TensorFlowFlags {
    /// Path of a Unix socket for gRPC, in addition to the port
    #[arg(long, value_name = "PATH", default_value = "", value_parser = parse_path)]
    pub grpc_socket_path: OptionalPath,

    /// Port of the REST API; 0: none
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub rest_api_port: u16,

    /// Time for a request of the REST API in milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 30_000, value_parser = value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub rest_api_timeout_in_ms: u32,

    /// Answer browsers of other sites on the REST API (CORS)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_boolean)]
    pub rest_api_enable_cors_support: bool,

    /// Merge requests for the same model and signature into batches, where the model's
    /// answers allow it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_boolean)]
    pub enable_batching: bool,

    /// BatchingParameters as protobuf text
    #[arg(long, value_name = "FILE", default_value = "", value_parser = parse_path)]
    pub batching_parameters_file: OptionalPath,

    /// ModelServerConfig as protobuf text, with several models. Then model_name and
    /// model_base_path mean nothing
    #[arg(long, value_name = "FILE", default_value = "", value_parser = parse_path)]
    pub model_config_file: OptionalPath,

    /// How often model_config_file is read, in seconds; 0: once
    #[arg(long, value_name = "SECONDS", default_value = "0", allow_negative_numbers = true, value_parser = parse_polling)]
    pub model_config_file_poll_wait_seconds: Polling,

    /// Let labels that are new name versions that are not available yet
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_boolean)]
    pub allow_version_labels_for_unavailable_models: bool,

    /// How often a model that can't be read is tried again
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = value_parser!(u32).range(0..=i64::from(i32::MAX)))]
    pub max_num_load_retries: u32,

    /// Microseconds between such tries
    #[arg(long, value_name = "MICROSECONDS", default_value = "60000000", allow_negative_numbers = true, value_parser = parse_micros)]
    pub load_retry_interval_micros: Duration,

    /// How often the models' directories are looked at, in seconds; 0: once
    #[arg(long, value_name = "SECONDS", default_value = "1", allow_negative_numbers = true, value_parser = parse_polling)]
    pub file_system_poll_wait_seconds: Polling,

    /// Run a model's own warm-up requests (assets.extra/tf_serving_warmup_requests)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = parse_boolean)]
    pub enable_model_warmup: bool,

    /// How often each of them is run
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = value_parser!(u32).range(0..=1000))]
    pub num_request_iterations_for_warmup: u32,

    /// MonitoringConfig as protobuf text
    #[arg(long, value_name = "FILE", default_value = "", value_parser = parse_path)]
    pub monitoring_config_file: OptionalPath,

    /// Cores to run models on; 0: all that this process may use
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub tensorflow_intra_op_parallelism: usize,

    /// The same, if tensorflow_intra_op_parallelism is not given
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub tensorflow_session_parallelism: usize,

    /// Threads that serve connections; 0: one a core
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub grpc_max_threads: usize,

    /// Settings of the gRPC server: grpc.max_connection_age_ms,
    /// grpc.max_receive_message_length, grpc.max_concurrent_streams
    #[arg(long, value_name = "NAME=VALUE,...", default_value = "", value_parser = parse_channel_arguments)]
    pub grpc_channel_arguments: ChannelArguments,

    /// Refuse Classify and Regress on signatures with another method
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_boolean)]
    pub enable_signature_method_name_check: bool,

    /// Put the values of Predict's answers into tensor_content
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_boolean)]
    pub enable_serialization_as_tensor_content: bool,

    /// The tags of the graph in a SavedModel: only "serve" is read
    #[arg(long, value_name = "TAGS", default_value = "serve")]
    pub saved_model_tags: String,

    /// Refused if true: ALTS exists on Google's machines only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_boolean)]
    pub use_alts_credentials: bool,

    #[command(flatten)]
    ignored: IgnoredFlags,
}

/// Flags that are accepted and mean nothing here.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "TensorFlow Serving, without effect", rename_all = "snake_case")]
struct IgnoredFlags {
    /// Ignored: grpc_max_threads counts the threads of both APIs
    #[arg(long, value_name = "NUMBER", value_parser = value_parser!(u32).range(0..=i64::from(i32::MAX)))]
    rest_api_num_threads: Option<u32>,
    /// Ignored: all models are batched by one set of parameters
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    enable_per_model_batching_parameters: Option<bool>,
    /// Ignored: models are loaded one after the other, on a thread of their own
    #[arg(long, value_name = "NUMBER")]
    num_load_threads: Option<u32>,
    /// Ignored: models are unloaded on the thread that loads them
    #[arg(long, value_name = "NUMBER")]
    num_unload_threads: Option<u32>,
    /// Ignored: memory is given back in any case
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    flush_filesystem_caches: Option<bool>,
    /// Ignored: there is no TensorFlow session
    #[arg(long, value_name = "FILE")]
    tensorflow_session_config_file: Option<String>,
    /// Ignored: a request runs on one core or on all
    #[arg(long, value_name = "NUMBER")]
    tensorflow_inter_op_parallelism: Option<usize>,
    /// Ignored: there is one platform
    #[arg(long, value_name = "FILE")]
    platform_config_file: Option<String>,
    /// Ignored: models run on the processor
    #[arg(long, value_name = "FRACTION")]
    per_process_gpu_memory_fraction: Option<f32>,
    /// Ignored: no part of a SavedModel is kept that is not needed
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    remove_unused_fields_from_bundle_metagraph: Option<bool>,
    /// Ignored: TensorFlow Lite models are not read
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    prefer_tflite_model: Option<bool>,
    /// Ignored, with prefer_tflite_model
    #[arg(long, value_name = "NUMBER")]
    num_tflite_pools: Option<u32>,
    /// Ignored, with prefer_tflite_model
    #[arg(long, value_name = "NUMBER")]
    num_tflite_interpreters_per_pool: Option<u32>,
    /// Ignored: there is no XLA
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    xla_cpu_compilation_enabled: Option<bool>,
    /// Ignored: there is no XLA
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    xla_gpu_compilation_enabled: Option<bool>,
    /// Ignored: a profiler would show what clients send
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    enable_profiler: Option<bool>,
    /// Ignored: the scheduler has its own threads
    #[arg(long, value_name = "FILE")]
    thread_pool_factory_config_file: Option<String>,
    /// Ignored: models run in the types that they declare
    #[arg(long, value_name = "MODE")]
    mixed_precision: Option<String>,
    /// Ignored: there is no TPU
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    skip_initialize_tpu: Option<bool>,
    /// Ignored: the health service is always there
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    enable_grpc_healthcheck_service: Option<bool>,
}

/// Why a flag has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The name of the flag, without `--`.
    pub flag: String,
    /// The reason for which it has no effect here.
    pub reason: &'static str,
}

impl TensorFlowFlags {
    /// Refuses what would be missed, and gives what is ignored.
    pub fn check(&self) -> Result<Vec<Note>, FlagError> {
        if self.use_alts_credentials {
            return Err(FlagError::Alts);
        }
        if !self.saved_model_tags.split(',').all(|tag| matches!(tag, "" | "serve")) {
            return Err(FlagError::Tags { tags: self.saved_model_tags.clone() });
        }
        Ok(self.notes())
    }

    fn notes(&self) -> Vec<Note> {
        let ignored = &self.ignored;
        let text = |flag: &Option<String>| flag.as_ref().is_some_and(|text| !text.is_empty());
        let number = |flag: Option<u32>| flag.is_some_and(|number| number != 0);
        let notes = [
            (
                "rest_api_num_threads",
                ignored.rest_api_num_threads.is_some(),
                "REST and gRPC share their threads; grpc_max_threads counts them",
            ),
            (
                "enable_per_model_batching_parameters",
                ignored.enable_per_model_batching_parameters == Some(true),
                "all models are batched by the parameters of batching_parameters_file",
            ),
            (
                "batching_parameters_file",
                self.batching_parameters_file.is_some() && !self.enable_batching,
                "it needs enable_batching",
            ),
            (
                "num_load_threads",
                number(ignored.num_load_threads),
                "models are loaded one after the other on a thread of their own, each on all cores",
            ),
            (
                "num_unload_threads",
                number(ignored.num_unload_threads),
                "models are unloaded on the thread that loads them, which serves no requests",
            ),
            (
                "flush_filesystem_caches",
                ignored.flush_filesystem_caches.is_some(),
                "the system may drop a model's file from its caches at any time",
            ),
            (
                "tensorflow_session_config_file",
                text(&ignored.tensorflow_session_config_file),
                "there is no TensorFlow session",
            ),
            (
                "tensorflow_inter_op_parallelism",
                ignored.tensorflow_inter_op_parallelism.is_some_and(|number| number != 0),
                "a request runs on one core or on all",
            ),
            ("platform_config_file", text(&ignored.platform_config_file), "there is one platform"),
            (
                "per_process_gpu_memory_fraction",
                ignored.per_process_gpu_memory_fraction.is_some_and(|fraction| fraction != 0.0),
                "models run on the processor",
            ),
            (
                "remove_unused_fields_from_bundle_metagraph",
                ignored.remove_unused_fields_from_bundle_metagraph == Some(false),
                "no part of a SavedModel is kept that is not needed",
            ),
            (
                "prefer_tflite_model",
                ignored.prefer_tflite_model == Some(true),
                "TensorFlow Lite models are not read; the SavedModel is",
            ),
            ("num_tflite_pools", ignored.num_tflite_pools.is_some(), "TensorFlow Lite models are not read"),
            (
                "num_tflite_interpreters_per_pool",
                ignored.num_tflite_interpreters_per_pool.is_some(),
                "TensorFlow Lite models are not read",
            ),
            (
                "xla_cpu_compilation_enabled",
                ignored.xla_cpu_compilation_enabled == Some(true),
                "there is no XLA",
            ),
            (
                "xla_gpu_compilation_enabled",
                ignored.xla_gpu_compilation_enabled == Some(true),
                "there is no XLA",
            ),
            (
                "enable_profiler",
                ignored.enable_profiler == Some(true),
                "a profiler would show what clients send",
            ),
            (
                "thread_pool_factory_config_file",
                text(&ignored.thread_pool_factory_config_file),
                "the scheduler has its own threads",
            ),
            ("mixed_precision", text(&ignored.mixed_precision), "models run in the types that they declare"),
            ("skip_initialize_tpu", ignored.skip_initialize_tpu.is_some(), "there is no TPU"),
            (
                "enable_grpc_healthcheck_service",
                ignored.enable_grpc_healthcheck_service == Some(false),
                "the health service is always there",
            ),
        ];
        let given = notes.into_iter().filter(|(_, given, _)| *given);
        let mut notes: Vec<Note> =
            given.map(|(flag, _, reason)| Note { flag: flag.to_owned(), reason }).collect();
        notes.extend(self.grpc_channel_arguments.others.iter().map(|name| Note {
            flag: format!("grpc_channel_arguments={name}"),
            reason: "the gRPC server has no such setting",
        }));
        notes
    }

    /// Cores to run models on.
    pub fn cores(&self) -> NonZeroUsize {
        let given = NonZeroUsize::new(self.tensorflow_intra_op_parallelism)
            .or_else(|| NonZeroUsize::new(self.tensorflow_session_parallelism));
        given.unwrap_or_else(available_cores)
    }

    /// Threads that serve connections.
    pub fn serving_threads(&self) -> NonZeroUsize {
        let available = available_cores();
        NonZeroUsize::new(self.grpc_max_threads).map_or(available, |most| most.min(available))
    }
}

fn available_cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
