//! The binary's main job: from flags to a server that was drained.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use adytum_init::{
    InitError, Program, Released,
    configuration::{MeasuredConfiguration, SecretDestination},
    unlock,
};
use adytum_sealed::keys::{ModelIdentity, ModelKeyError};
use rustls::ServerConfig;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::{
    engine::RtenEngine,
    flags::{FlagError, Flags, HOST_FLAGS},
    limits::RequestMemory,
    loading::{LoadingError, ModelSource, load_highest},
    memory,
    models::Models,
    scheduler::Scheduler,
    server::{Drained, Server, ServerOptions},
    service::{Inference, Services},
    tls::{self, TlsError, ssl_config::SslConfig},
};

/// The secret that opens sealed models.
const MODEL_KEY: &str = "model_key";

/// The longest `SSLConfig`, in bytes.
const LONGEST_SSL_CONFIG: u64 = 1 << 20;

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A flag.
    #[error(transparent)]
    Flag(#[from] FlagError),
    /// The measured configuration, or what it asks for.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The port.
    #[error("port {port}: {source}; choose another with --port")]
    Listen {
        /// The port.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// The `SSLConfig` file.
    #[error("--ssl_config_file {}: {source}", path.display())]
    SslConfigFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A secret without a use.
    #[error(
        "the measured configuration puts the secret {name} at {destination}, but this server takes secrets in \
         memory and as --ssl_config_file only"
    )]
    Destination {
        /// The secret.
        name: String,
        /// Where it should go.
        destination: String,
    },
    /// The `SSLConfig`'s content.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The model's key.
    #[error("the secret {MODEL_KEY}: {0}")]
    ModelKey(#[source] ModelKeyError),
    /// The model.
    #[error(transparent)]
    Loading(#[from] LoadingError),
    /// The system.
    #[error("{operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl ServeError {
    /// A stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::Flag(error) => error.code(),
            Self::Init(error) => error.code(),
            Self::Listen { .. } => "listen",
            Self::SslConfigFile { .. } => "ssl-config-unreadable",
            Self::Destination { .. } => "secret-destination",
            Self::Tls(error) => error.code(),
            Self::ModelKey(error) => error.code(),
            Self::Loading(error) => error.code(),
            Self::System { .. } => "system-failed",
        }
    }

    /// What the process ends with (sysexits.h, as init does).
    pub fn exit_code(&self) -> u8 {
        use adytum_init::error::exit_code;
        match self {
            Self::Init(error) => error.exit_code(),
            Self::Flag(_) | Self::Destination { .. } => exit_code::CONFIGURATION,
            _ => 1,
        }
    }
}

/// Reads the measured configuration: the one given, else one of the usual
/// places, else none.
pub fn measured_configuration(flags: &Flags) -> Result<Option<MeasuredConfiguration>, ServeError> {
    let given = flags.attestation.configuration.as_deref();
    let path = MeasuredConfiguration::path(given);
    if given.is_none() && !path.exists() {
        return Ok(None);
    }
    Ok(Some(MeasuredConfiguration::load(&path).map_err(InitError::from)?))
}

/// Holds the process to its configuration. Must come before threads; see
/// [`adytum_init::confine_this_process`].
pub fn confine(configuration: &MeasuredConfiguration) -> Result<(), ServeError> {
    Ok(adytum_init::confine_this_process(configuration, &HOST_FLAGS)?)
}

/// Serves until SIGTERM or SIGINT, then drains. `announce` gets the line that
/// says that the server is ready.
pub fn run(
    flags: &Flags,
    configuration: Option<&MeasuredConfiguration>,
    announce: impl FnOnce(&str),
) -> Result<(), ServeError> {
    memory::limit_retention(flags.compatibility.cores().get());
    for name in flags.compatibility.check()? {
        tracing::warn!("--{name} is accepted but has no effect here");
    }
    let allow_plain = match configuration {
        None if flags.allow_plain_models => true,
        None => return Err(FlagError::NothingAllowed.into()),
        Some(configuration) if flags.allow_plain_models && !configuration.allow_plain_models() => {
            return Err(FlagError::PlainForbidden.into());
        }
        Some(configuration) => configuration.allow_plain_models(),
    };
    // The port is taken first, so that a wrong one is known at once.
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, flags.port))
        .map_err(|source| ServeError::Listen { port: flags.port, source })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ServeError::System { operation: "starting a runtime", source })?;
    runtime.block_on(serve(flags, configuration, allow_plain, listener, announce))
}

async fn serve(
    flags: &Flags,
    configuration: Option<&MeasuredConfiguration>,
    allow_plain: bool,
    listener: TcpListener,
    announce: impl FnOnce(&str),
) -> Result<(), ServeError> {
    let system = |operation| move |source| ServeError::System { operation, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(system("waiting for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("waiting for SIGINT"))?;
    let mut stopped = std::pin::pin!(async {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    });

    let released = match configuration {
        None => None,
        Some(configuration) => tokio::select! {
            released = unlock(&flags.attestation, configuration, Program::This) => Some(released?),
            signal = &mut stopped => {
                tracing::info!(signal, "stopped before there were keys");
                return Ok(());
            }
        },
    };
    let tls = tls(flags, configuration, released.as_ref())?;
    let source = source(flags, allow_plain, released)?;

    let cores = flags.compatibility.cores();
    let (scheduler, _running) = Scheduler::start(cores, flags.max_queued_requests.get())
        .map_err(system("starting the model's threads"))?;
    let models = Models::default();
    models.declare(&source.name);
    let limit = usize::try_from(flags.max_message_bytes).unwrap_or(usize::MAX);
    let memory = RequestMemory::new(usize::try_from(flags.request_memory_bytes).unwrap_or(usize::MAX), limit);
    let services = Services::new(Inference { models: models.clone(), scheduler, memory });
    let options = ServerOptions {
        connection_limit: flags.max_connections.get(),
        ..ServerOptions::new(flags.compatibility.serving_threads())
    };
    if tls.is_none() {
        tracing::warn!("no --ssl_config_file: clients are served without TLS");
    }
    let server = Server::start(listener, tls, services, options).map_err(system("starting to serve"))?;

    let retries = flags.compatibility.max_num_load_retries;
    let pause = Duration::from_micros(flags.compatibility.load_retry_interval_micros);
    tokio::select! {
        loaded = load(source, &models, retries, pause) => loaded?,
        signal = &mut stopped => {
            tracing::info!(signal, "stopped before there was a model");
            return Ok(());
        }
    }
    server.set_serving(true).await;
    announce(&format!("Running gRPC ModelServer at 0.0.0.0:{} ...", server.address().port()));

    let signal = stopped.await;
    tracing::info!(signal, timeout = ?flags.drain_timeout, "draining");
    match server.drain(flags.drain_timeout).await {
        Drained::Completely => tracing::info!("drained"),
        Drained::TimedOut { connections } => {
            tracing::warn!(connections, "time is up; connections that are still open are cut");
        }
    }
    Ok(())
}

/// Loads the model on a thread of its own, so that health is answered and
/// signals are heard meanwhile.
async fn load(source: ModelSource, models: &Models, retries: u32, pause: Duration) -> Result<(), ServeError> {
    let source = Arc::new(source);
    for attempt in 0.. {
        let (source, models) = (Arc::clone(&source), models.clone());
        let loaded = tokio::task::spawn_blocking(move || load_highest(&source, &RtenEngine, &models)).await;
        match loaded {
            Ok(Ok(_)) => {
                memory::give_back();
                break;
            }
            Ok(Err(error)) if attempt >= retries => return Err(error.into()),
            Ok(Err(error)) => tracing::warn!(code = error.code(), "{error}; trying again in {pause:?}"),
            Err(error) => {
                let source = io::Error::other(error);
                return Err(ServeError::System { operation: "loading the model", source });
            }
        }
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// The model's place, and what the broker released for it.
fn source(flags: &Flags, allow_plain: bool, released: Option<Released>) -> Result<ModelSource, ServeError> {
    let mut source = ModelSource {
        name: flags.model_name.clone(),
        base: flags.model_base_path.clone(),
        rule: None,
        identities: Vec::new(),
        allow_plain,
        size_limit: flags.max_model_bytes,
    };
    // Its secrets are wiped at this function's end.
    if let Some(released) = released {
        if let Some(key) = released.secrets.get(MODEL_KEY) {
            let text = std::str::from_utf8(key.as_bytes()).unwrap_or_default();
            source.identities.push(text.parse::<ModelIdentity>().map_err(ServeError::ModelKey)?);
        }
        source.rule = released.models.into_iter().find(|rule| rule.name.as_str() == flags.model_name);
    }
    Ok(source)
}

/// TLS from the secret whose path is `--ssl_config_file`, or else from that file.
fn tls(
    flags: &Flags,
    configuration: Option<&MeasuredConfiguration>,
    released: Option<&Released>,
) -> Result<Option<Arc<ServerConfig>>, ServeError> {
    let mut text = None;
    for (name, rule) in configuration.into_iter().flat_map(MeasuredConfiguration::secrets) {
        match &rule.destination {
            SecretDestination::Memory => {}
            SecretDestination::File(path) if flags.ssl_config_file.as_deref() == Some(path.as_path()) => {
                let secret = released.and_then(|released| released.secrets.get(name));
                text = secret.map(|secret| Zeroizing::new(secret.as_bytes().to_vec()));
            }
            other => {
                let destination = other.to_string();
                return Err(ServeError::Destination { name: name.to_string(), destination });
            }
        }
    }
    let text = match (text, &flags.ssl_config_file) {
        (Some(text), _) => text,
        (None, None) => return Ok(None),
        (None, Some(path)) => read_ssl_config(path)
            .map_err(|source| ServeError::SslConfigFile { path: path.clone(), source })?,
    };
    let ssl = SslConfig::parse(&text).map_err(TlsError::from)?;
    Ok(Some(Arc::new(tls::server_configuration(&ssl)?)))
}

fn read_ssl_config(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let length = fs::metadata(path)?.len();
    if length > LONGEST_SSL_CONFIG {
        return Err(io::Error::other(format!("{length} bytes are more than any SSLConfig has")));
    }
    fs::read(path).map(Zeroizing::new)
}
