//! The command line: TensorFlow Serving's flags (`tensorflow_model_server`)
//! where the server has what they mean, and its own.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use adytum_init::{
    arguments::{AttestationArguments, parse_duration, parse_seconds},
    logging::LogArguments,
};
use clap::{Args, Parser};

/// Flags that change nothing that clients or owners rely on: the host may set
/// them as it likes, without a rule in the measured configuration.
pub const HOST_FLAGS: [&str; 9] = [
    "log-format",
    "health_port",
    "drain_delay",
    "drain_timeout",
    "max_connection_age",
    "request_memory_bytes",
    "max_queued_requests",
    "max_connections",
    "run_memory_bytes",
];

/// The model server: TensorFlow Serving's API over sealed ONNX models.
#[derive(Clone, Debug, Parser)]
#[command(name = "adytum-serving", version, rename_all = "snake_case")]
pub struct Flags {
    /// TCP port of the gRPC server; 0 lets the system choose
    #[arg(long, default_value_t = 8500)]
    pub port: u16,

    /// Name under which the model is served
    #[arg(long, default_value = "default")]
    pub model_name: String,

    /// Directory with the model's versions: BASE/NUMBER/model.onnx.age and
    /// model.seal, or BASE/NUMBER/model.onnx
    #[arg(long, value_name = "DIRECTORY")]
    pub model_base_path: PathBuf,

    /// TensorFlow Serving's SSLConfig as protobuf text. A secret of the measured
    /// configuration with this path is used from memory, without a file.
    /// Without the flag there is no TLS
    #[arg(long, value_name = "FILE")]
    pub ssl_config_file: Option<PathBuf>,

    /// Serve models that are not sealed. With a measured configuration that must
    /// allow it
    #[arg(long)]
    pub allow_plain_models: bool,

    /// The largest request in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1..=1 << 31))]
    pub max_message_bytes: u64,

    /// Memory for all requests together in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub request_memory_bytes: u64,

    /// Requests that may wait for a core; more are refused at once
    #[arg(long, value_name = "NUMBER", default_value = "1024")]
    pub max_queued_requests: NonZeroUsize,

    /// Connections that may be open at once; for one more, the longest idle one of the
    /// address with the most ends
    #[arg(long, value_name = "NUMBER", default_value = "4096")]
    pub max_connections: NonZeroUsize,

    /// Port for probes, plain HTTP, status only: /healthz and /readyz. 0: none
    #[arg(long, value_name = "PORT", default_value_t = 0, env = "ADYTUM_HEALTH_PORT")]
    pub health_port: u16,

    /// A connection ends gracefully at this age in seconds, a tenth more or less,
    /// so that clients open new ones, to other replicas too. 0: never
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = parse_seconds)]
    pub max_connection_age: Duration,

    /// How long connections and requests are still accepted after SIGTERM, in
    /// seconds, while probes say already that this replica is not ready
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = parse_seconds)]
    pub drain_delay: Duration,

    /// How long requests may take to end after that, as in 30s
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub drain_timeout: Duration,

    /// The largest model in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 30)]
    pub max_model_bytes: u64,

    /// Memory that the values of one run may take, in bytes; a request that needs more
    /// is refused
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    pub max_run_bytes: usize,

    /// Memory that the values of all runs in progress may take together, in bytes; a run
    /// for which not enough is free is refused, to be tried again
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    pub run_memory_bytes: usize,

    #[command(flatten)]
    pub compatibility: CompatibilityFlags,

    #[command(flatten)]
    pub attestation: AttestationArguments,

    #[command(flatten)]
    pub log: LogArguments,
}

/// TensorFlow Serving's other common flags.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "TensorFlow Serving", rename_all = "snake_case")]
pub struct CompatibilityFlags {
    /// Cores to run models on [default: all that this process may use]
    #[arg(long, value_name = "NUMBER")]
    pub tensorflow_intra_op_parallelism: Option<usize>,

    /// Threads that serve connections [default: one a core]
    #[arg(long, value_name = "NUMBER")]
    pub grpc_max_threads: Option<usize>,

    /// Port of the REST API, which is not offered yet: only 0 is accepted
    #[arg(long, value_name = "PORT")]
    pub rest_api_port: Option<u16>,

    /// How often a model that can't be read is tried again
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub max_num_load_retries: u32,

    /// Microseconds between such tries
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 60_000_000)]
    pub load_retry_interval_micros: u64,

    /// Ignored: the model directory is read once
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub file_system_poll_wait_seconds: Option<i64>,

    /// Ignored: requests are not merged into batches
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_batching: Option<bool>,

    /// Ignored, with enable_batching
    #[arg(long, value_name = "FILE")]
    pub batching_parameters_file: Option<PathBuf>,

    /// Ignored: a model is always warmed up
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_model_warmup: Option<bool>,

    /// Ignored: a request runs on one core or on all
    #[arg(long, value_name = "NUMBER")]
    pub tensorflow_inter_op_parallelism: Option<usize>,

    /// Ignored: sessions don't share threads with anything
    #[arg(long, value_name = "NUMBER")]
    pub tensorflow_session_parallelism: Option<usize>,

    /// Ignored: memory is given back in any case
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub flush_filesystem_caches: Option<bool>,
}

/// A flag that the server can't honour.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlagError {
    /// The flags ask for the REST API, which the server does not offer yet.
    ///
    /// Do: leave `--rest_api_port` out, and use gRPC.
    #[error("--rest_api_port={port}: the REST API is not offered yet; leave the flag out and use gRPC")]
    RestApi { port: u16 },
    /// The flags allow neither sealed models nor plain ones.
    ///
    /// Do: give `--configuration` for sealed models, or `--allow_plain_models` for plain
    /// ones.
    #[error(
        "there is no measured configuration, so no key for sealed models; give --configuration, or serve plain \
         models with --allow_plain_models"
    )]
    NothingAllowed,
    /// The flags allow plain models, and the measured configuration forbids them.
    ///
    /// Do: leave `--allow_plain_models` out, or measure a configuration with
    /// `allow_plain_models = true`.
    #[error(
        "--allow_plain_models: the measured configuration does not allow plain models; leave the flag out, or \
         measure a configuration with allow_plain_models = true"
    )]
    PlainForbidden,
}

impl FlagError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::RestApi { .. } => "rest-api-not-offered",
            Self::NothingAllowed => "no-models-allowed",
            Self::PlainForbidden => "plain-models-forbidden",
        }
    }
}

impl CompatibilityFlags {
    /// Refuses what would be missed, and gives the names of what is ignored.
    pub fn check(&self) -> Result<Vec<&'static str>, FlagError> {
        if let Some(port) = self.rest_api_port.filter(|port| *port != 0) {
            return Err(FlagError::RestApi { port });
        }
        let given = [
            ("file_system_poll_wait_seconds", self.file_system_poll_wait_seconds.is_some()),
            ("enable_batching", self.enable_batching == Some(true)),
            ("batching_parameters_file", self.batching_parameters_file.is_some()),
            ("enable_model_warmup", self.enable_model_warmup == Some(false)),
            ("tensorflow_inter_op_parallelism", self.tensorflow_inter_op_parallelism.is_some()),
            ("tensorflow_session_parallelism", self.tensorflow_session_parallelism.is_some()),
            ("flush_filesystem_caches", self.flush_filesystem_caches.is_some()),
        ];
        Ok(given.into_iter().filter_map(|(name, given)| given.then_some(name)).collect())
    }

    /// Cores to run models on.
    pub fn cores(&self) -> NonZeroUsize {
        let available = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.tensorflow_intra_op_parallelism.and_then(NonZeroUsize::new).unwrap_or(available)
    }

    /// Threads that serve connections.
    pub fn serving_threads(&self) -> NonZeroUsize {
        let available = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.grpc_max_threads.and_then(NonZeroUsize::new).map_or(available, |most| most.min(available))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Flags, clap::Error> {
        Flags::try_parse_from(["adytum-serving", "--model_base_path=/models/resnet"].iter().chain(arguments))
    }

    #[test]
    fn the_reference_command_line_parses() {
        let flags =
            parse(&["--model_name=resnet", "--port=9001", "--ssl_config_file", "/etc/tf_ssl.cfg"]).unwrap();
        assert_eq!((flags.model_name.as_str(), flags.port), ("resnet", 9001));
        assert_eq!(flags.ssl_config_file, Some(PathBuf::from("/etc/tf_ssl.cfg")));
        assert!(!flags.allow_plain_models);
        assert_eq!(flags.compatibility.check(), Ok(Vec::new()));
    }

    #[test]
    fn common_flags_are_accepted_ignored_or_refused() {
        let flags =
            parse(&["--enable_batching", "--file_system_poll_wait_seconds=-1", "--rest_api_port=0"]).unwrap();
        assert_eq!(
            flags.compatibility.check().unwrap(),
            ["file_system_poll_wait_seconds", "enable_batching"]
        );
        let flags = parse(&["--enable_batching=false", "--rest_api_port", "8501"]).unwrap();
        assert_eq!(flags.compatibility.check(), Err(FlagError::RestApi { port: 8501 }));
        assert!(parse(&["--monitoring_config_file=x"]).is_err(), "unknown flags are refused");
        assert!(parse(&["--port=70000"]).is_err());
        assert!(parse(&["--max_message_bytes=0"]).is_err());
    }

    #[test]
    fn threads_stay_within_the_machine() {
        let flags = parse(&["--grpc_max_threads=100000", "--tensorflow_intra_op_parallelism=3"]).unwrap();
        assert_eq!(flags.compatibility.cores().get(), 3);
        assert!(flags.compatibility.serving_threads() <= std::thread::available_parallelism().unwrap());
    }

    #[test]
    fn host_flags_exist() {
        let command = <Flags as clap::CommandFactory>::command();
        for flag in HOST_FLAGS {
            assert!(command.get_arguments().any(|argument| argument.get_long() == Some(flag)), "{flag}");
        }
    }
}
