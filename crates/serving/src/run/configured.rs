//! The content of the flags and of the files that they name.

use std::{fs, io, path::Path, time::Duration};

use super::error::ServeError;
use crate::{
    batching::BatchingParameters,
    flags::{Flags, ModelsFlag},
    limits::RunMemory,
    loading::{
        Intervals, LoadOptions, MemoryBudget, ModelConfig, ModelServerConfig, WarmUpOptions,
        available_memory, check_root, load_configuration,
    },
    models::Resources,
    monitoring::MonitoringConfig,
    rest::RestOptions,
    server::ServerOptions,
};

/// The largest file of parameters in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// The tasks of the server.
pub(super) struct Configured {
    /// The models to serve, from the flags or their file.
    pub(super) models: ModelServerConfig,
    /// How they are loaded.
    pub(super) options: LoadOptions,
    /// How often files are looked at.
    pub(super) intervals: Intervals,
    /// The limits of connections.
    pub(super) server: ServerOptions,
    /// The largest request in bytes.
    pub(super) message_bytes: u64,
    /// The path of the metrics, if they are shown.
    pub(super) metrics_path: Option<String>,
    /// How requests are merged into batches, if they are.
    pub(super) batching: Option<BatchingParameters>,
}

impl Configured {
    /// Reads the files that the flags name.
    pub(super) fn read(flags: &Flags, allow_plain: bool) -> Result<Self, ServeError> {
        let tensorflow = &flags.tensorflow;
        let root = flags.model_root.as_deref();
        let mut intervals = Intervals {
            directories: tensorflow.file_system_poll_wait_seconds.interval(),
            configuration: None,
        };
        let models = match flags.models()? {
            ModelsFlag::File(file) => {
                let interval = tensorflow.model_config_file_poll_wait_seconds.interval();
                intervals.configuration = Some((file.to_owned(), interval));
                load_configuration(file, root)?
            }
            ModelsFlag::One { name, base } => {
                let models = ModelServerConfig::new(vec![ModelConfig::latest(name, base)])?;
                if let Some(root) = root {
                    check_root(&models, root)?;
                }
                models
            }
        };
        let monitoring = match &tensorflow.monitoring_config_file {
            Some(file) => MonitoringConfig::parse(&read("monitoring_config_file", file)?)?,
            None => MonitoringConfig::default(),
        };
        let batching = match (&tensorflow.batching_parameters_file, tensorflow.enable_batching) {
            (_, false) => None,
            (None, true) => Some(BatchingParameters::default()),
            (Some(file), true) => Some(BatchingParameters::parse(&read("batching_parameters_file", file)?)?),
        };
        let channel = &tensorflow.grpc_channel_arguments;
        let age = channel.connection_age.unwrap_or(flags.max_connection_age);
        let usual = ServerOptions::new(tensorflow.serving_threads());
        Ok(Self {
            models,
            options: load_options(flags, allow_plain),
            intervals,
            server: ServerOptions {
                connection_limit: flags.max_connections.get(),
                connection_age: Some(age).filter(|age| !age.is_zero()),
                stream_limit: channel.streams.unwrap_or(usual.stream_limit),
                rest: RestOptions {
                    timeout: Duration::from_millis(tensorflow.rest_api_timeout_in_ms.into()),
                    any_origin: tensorflow.rest_api_enable_cors_support,
                    metrics_path: monitoring.prometheus.clone(),
                },
                ..usual
            },
            message_bytes: channel.message_length.unwrap_or(flags.max_message_bytes),
            metrics_path: monitoring.prometheus,
            batching,
        })
    }
}

fn load_options(flags: &Flags, allow_plain: bool) -> LoadOptions {
    let tensorflow = &flags.tensorflow;
    LoadOptions {
        allow_plain,
        size_limit: flags.max_model_bytes,
        resources: Resources {
            cores: tensorflow.cores(),
            run_memory: RunMemory::new(flags.run_memory_bytes, flags.max_run_bytes),
        },
        root: flags.model_root.clone(),
        retries: tensorflow.max_num_load_retries,
        retry_pause: tensorflow.load_retry_interval_micros.max(Duration::from_millis(1)),
        labels_of_unavailable: tensorflow.allow_version_labels_for_unavailable_models,
        budget: model_memory(flags),
        warm_up: WarmUpOptions {
            records: tensorflow.enable_model_warmup,
            iterations: tensorflow.num_request_iterations_for_warmup.max(1),
        },
        batching: tensorflow.enable_batching,
    }
}

/// The memory for models: the given one, else all memory less that of requests and of a
/// run, and at least half of it. One model alone may have all that there is.
fn model_memory(flags: &Flags) -> MemoryBudget {
    let when_short = flags.when_memory_is_short;
    if flags.model_memory_bytes > 0 {
        let limit = Some(flags.model_memory_bytes);
        return MemoryBudget { limit, alone: limit, when_short };
    }
    let reserved = flags.request_memory_bytes.saturating_add(flags.run_memory_bytes as u64);
    let alone = available_memory();
    let limit = alone.map(|available| available.saturating_sub(reserved).max(available / 2));
    MemoryBudget { limit, alone, when_short }
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, ServeError> {
    let failed = |source| ServeError::File { flag, path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > LARGEST_FILE {
        return Err(failed(io::Error::other(format!("{length} bytes are more than any such file has"))));
    }
    fs::read(path).map_err(failed)
}
