//! The command line: TensorFlow Serving's flags (`tensorflow_model_server`)
//! where the server has what they mean, and its own.

mod observation;
pub mod table;
mod tensorflow;
mod values;

#[cfg(test)]
mod tests;

use std::{net::IpAddr, num::NonZeroUsize, path::Path, time::Duration};

use adytum_init::{
    arguments::{AttestationArguments, parse_duration, parse_seconds},
    logging::LogArguments,
};
use clap::Parser;

pub use observation::{ObservationFlags, OptionalEndpoint, TraceAttribute, TraceEndpoint};
pub use tensorflow::{Note, TensorFlowFlags};
pub use values::{CertificateDigest, ChannelArguments, OptionalPath, Polling};
use values::{parse_boolean, parse_digest, parse_path};

use crate::{engine_choice::EngineFlags, loading::WhenShort, scheduler::Patience, tls::TlsVersion};

/// Flags that change nothing that clients or owners rely on: the host may set
/// them as it likes, without a rule in the measured configuration.
pub const HOST_FLAGS: [&str; 21] = [
    "log-format",
    "listen_address",
    "attested_sessions",
    "attested_sessions_per_second",
    "health_port",
    "drain_delay",
    "drain_timeout",
    "max_connection_age",
    "request_memory_bytes",
    "max_queued_requests",
    "overload_wait_milliseconds",
    "max_connections",
    "run_memory_bytes",
    "model_memory_bytes",
    "when_memory_is_short",
    "file_system_poll_wait_seconds",
    "model_config_file_poll_wait_seconds",
    "max_num_load_retries",
    "load_retry_interval_micros",
    "num_load_threads",
    "num_unload_threads",
];

/// The model server: TensorFlow Serving's API over sealed ONNX models.
#[derive(Clone, Debug, Parser)]
#[command(name = "adytum-serving", version, rename_all = "snake_case", args_override_self = true)]
pub struct Flags {
    /// TCP port of the gRPC server; 0 lets the system choose
    #[arg(long, default_value_t = 8500)]
    pub port: u16,

    /// Address of this machine at which its ports are open, that of --health_port among them; by
    /// default all
    #[arg(long, value_name = "ADDRESS")]
    pub listen_address: Option<IpAddr>,

    /// Name under which the model is served
    #[arg(long, default_value = "default")]
    pub model_name: String,

    /// Directory with the model's versions: BASE/NUMBER/model.onnx.age and
    /// model.seal, or BASE/NUMBER/model.onnx or saved_model.pb
    #[arg(long, value_name = "DIRECTORY", default_value = "", value_parser = parse_path)]
    pub model_base_path: OptionalPath,

    /// Directory that all models must be in. Without it, models can't be named while
    /// the server runs; relative paths in model_config_file are relative to it
    #[arg(long, value_name = "DIRECTORY", default_value = "", value_parser = parse_path)]
    pub model_root: OptionalPath,

    /// TensorFlow Serving's SSLConfig as protobuf text. A secret of the measured
    /// configuration with this path is used from memory, without a file.
    /// Without the flag there is no TLS
    #[arg(long, value_name = "FILE", default_value = "", value_parser = parse_path)]
    pub ssl_config_file: OptionalPath,

    /// The lowest version of TLS that clients may speak: 1.2 for meshes and clients
    /// that have no TLS 1.3
    #[arg(long, value_name = "VERSION", value_enum, default_value = "1.3")]
    pub minimum_tls_version: TlsVersion,

    /// Serve without TLS although there is a measured configuration. Without one that
    /// needs no flag
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_boolean)]
    pub allow_plaintext: bool,

    /// With a measured configuration, answer attested sessions on the ports for clients too:
    /// clients that ask for one verify this replica before they send anything
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = parse_boolean)]
    pub attested_sessions: bool,

    /// Attested sessions that one address may open a second on average, twice as many at
    /// once; all addresses together ten times as many. Each takes a quote. 0: no limit
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    pub attested_sessions_per_second: u32,

    /// Serve models that are not sealed. With a measured configuration that must
    /// allow it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_boolean)]
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

    /// During an overload a request waits at most this long in milliseconds, or as long as 128
    /// runs like it take, if that is longer; others are refused at once. 0: no limit
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    pub overload_wait_milliseconds: u64,

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

    /// Memory for all models in bytes; 0: what the machine or the cgroup has, less
    /// request_memory_bytes and run_memory_bytes
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub model_memory_bytes: u64,

    /// If a new version does not fit next to the old one: refuse it, or release the
    /// old one first
    #[arg(long, value_name = "POLICY", value_enum, default_value = "refuse")]
    pub when_memory_is_short: WhenShort,

    /// SHA-256 (hexadecimal) of the client certificates that may change which models are
    /// served (HandleReloadConfigRequest), separated by commas
    #[arg(long, value_name = "DIGEST,...", value_delimiter = ',', value_parser = parse_digest)]
    pub model_manager_certificates: Vec<CertificateDigest>,

    #[command(flatten)]
    pub observation: ObservationFlags,

    #[command(flatten)]
    pub tensorflow: TensorFlowFlags,

    #[command(flatten)]
    pub engine: EngineFlags,

    #[command(flatten)]
    pub attestation: AttestationArguments,

    #[command(flatten)]
    pub log: LogArguments,
}

/// Where the flags say which models are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelsFlag<'a> {
    /// In a file (`--model_config_file`).
    File(&'a Path),
    /// One model (`--model_name`, `--model_base_path`).
    One { name: &'a str, base: &'a Path },
}

impl Flags {
    /// How long requests wait during an overload.
    pub fn patience(&self) -> Patience {
        let milliseconds = self.overload_wait_milliseconds;
        Patience((milliseconds > 0).then(|| Duration::from_millis(milliseconds)))
    }

    /// Which models are served.
    pub fn models(&self) -> Result<ModelsFlag<'_>, FlagError> {
        if let Some(file) = &self.tensorflow.model_config_file {
            return Ok(ModelsFlag::File(file));
        }
        let base = self.model_base_path.as_deref().ok_or(FlagError::NoModel)?;
        Ok(ModelsFlag::One { name: &self.model_name, base })
    }
}

/// A flag that the server can't honour.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlagError {
    /// The flags name no model.
    ///
    /// Do: give `--model_base_path`, or `--model_config_file` for several models.
    #[error("no model is named; give --model_base_path, or --model_config_file for several models")]
    NoModel,
    /// The flags ask for Google's ALTS, which exists on Google's machines only.
    ///
    /// Do: leave the flag out, and give `--ssl_config_file` for TLS.
    #[error(
        "--use_alts_credentials: ALTS is not offered; leave the flag out, and give --ssl_config_file for TLS"
    )]
    Alts,
    /// The flags ask for a graph of SavedModels that the server does not read.
    ///
    /// Do: leave `--saved_model_tags` out; the graph with the tag `serve` is read.
    #[error("--saved_model_tags={tags}: only the graph with the tag \"serve\" is read; leave the flag out")]
    Tags { tags: String },
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
    /// There is a measured configuration and no TLS, and the measured flags do not allow
    /// that: requests would cross the network in the clear.
    ///
    /// Do: give `--ssl_config_file`; or, where something else protects the connections,
    /// `--allow_plaintext`, and list it in the measured configuration.
    #[error(
        "there is a measured configuration and no --ssl_config_file: clients would be served without TLS; give \
         --ssl_config_file, or --allow_plaintext and list it in the measured configuration"
    )]
    PlaintextForbidden,
}

impl FlagError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoModel => "no-model-named",
            Self::Alts => "alts-not-offered",
            Self::Tags { .. } => "saved-model-tags",
            Self::NothingAllowed => "no-models-allowed",
            Self::PlaintextForbidden => "plaintext-forbidden",
            Self::PlainForbidden => "plain-models-forbidden",
        }
    }
}
