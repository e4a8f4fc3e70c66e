//! The binary's main job: from flags to a server that was drained.

mod error;
mod secrets;

use std::{
    future::pending,
    io,
    net::{Ipv4Addr, TcpListener},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use adytum_api::names::SecretName;
use adytum_init::{
    InitError, Program, Released,
    configuration::MeasuredConfiguration,
    health::{DrainReason, Health, HealthPort},
    renewal::{LeaseEnd, Renewal},
    tee, unlock,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

pub use self::error::ServeError;
use crate::{
    flags::{FlagError, Flags, HOST_FLAGS},
    limits::RequestMemory,
    loading::{ModelSource, load_highest},
    memory,
    models::Models,
    scheduler::Scheduler,
    server::{Drained, Server, ServerOptions},
    service::{Inference, Services},
    tls::{TlsError, TlsSwitch},
};
use adytum_engine::static_engine::StaticEngine;

/// Reads the measured configuration: the one given, else one of the usual
/// places, else none.
pub fn measured_configuration(flags: &Flags) -> Result<Option<MeasuredConfiguration>, ServeError> {
    let given = flags.attestation.configuration.as_deref();
    let path = tee::configuration_path(&flags.attestation).map_err(InitError::from)?;
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
    let ended = runtime.block_on(serve(flags, configuration, allow_plain, listener, announce));
    // A model that is still being loaded is not waited for: nobody was served yet.
    runtime.shutdown_background();
    ended
}

async fn serve(
    flags: &Flags,
    configuration: Option<&MeasuredConfiguration>,
    allow_plain: bool,
    listener: TcpListener,
    announce: impl FnOnce(&str),
) -> Result<(), ServeError> {
    let system = |operation| move |source| ServeError::System { operation, source };
    let mut ending = Ending::handle().map_err(system("handling signals"))?;
    let health = Health::default();
    let _port = HealthPort::open(flags.health_port, health.clone()).await.map_err(InitError::from)?;

    let unlocked = match configuration {
        None => None,
        Some(configuration) => tokio::select! {
            unlocked = unlock(&flags.attestation, configuration, Program::This) => Some(unlocked?),
            signal = ending.signal() => {
                tracing::info!(signal, "stopped before there were keys");
                return Ok(());
            }
        },
    };
    let (released, renewal, _evidence_port) = match unlocked {
        Some(it) => (Some(it.released), Some(it.renewal), it.evidence_port),
        None => (None, None, None),
    };
    let ssl_secret = configuration.map(|all| secrets::ssl_secret(flags, all)).transpose()?.flatten();
    let tls = secrets::tls(flags, ssl_secret, released.as_ref())?.map(TlsSwitch::new);
    let source = secrets::source(flags, allow_plain, released)?;
    let mut lease = pin!(keep(renewal, ssl_secret, tls.clone()));

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
        connection_age: Some(flags.max_connection_age).filter(|age| !age.is_zero()),
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
        signal = ending.signal() => {
            tracing::info!(signal, "stopped before there was a model");
            return Ok(());
        }
        end = &mut lease => return Err(InitError::from(end).into()),
    }
    server.set_serving(true).await;
    health.set_ready();
    announce(&format!("Running gRPC ModelServer at 0.0.0.0:{} ...", server.address().port()));

    let end = tokio::select! {
        signal = ending.signal() => {
            tracing::info!(signal, delay = ?flags.drain_delay, timeout = ?flags.drain_timeout, "draining");
            health.drain(DrainReason::Stopped);
            server.set_serving(false).await;
            // Clients need time to learn that this replica is not ready. Until
            // then it serves them. A second signal means now.
            tokio::select! {
                () = sleep(flags.drain_delay) => {}
                signal = ending.signal() => tracing::info!(signal, "again: no more requests are accepted"),
                _ = &mut lease => {}
            }
            None
        }
        end = &mut lease => Some(end),
    };
    if let Some(end) = &end {
        tracing::error!(code = end.code(), timeout = ?flags.drain_timeout, "draining: {end}");
        health.drain(end.drain_reason());
    }
    drain(server, flags.drain_timeout).await;
    end.map_or(Ok(()), |end| Err(InitError::from(end).into()))
}

/// Renews what was released for as long as the broker grants it, and puts what
/// changes in place. Without a broker this never ends.
async fn keep(renewal: Option<Renewal>, ssl_secret: Option<&SecretName>, tls: Option<TlsSwitch>) -> LeaseEnd {
    let Some(renewal) = renewal else { return pending().await };
    let apply = |changed: &Released| {
        let secret = ssl_secret.and_then(|name| changed.secrets.get(name));
        if let (Some(tls), Some(secret)) = (&tls, secret) {
            tls.replace(Arc::new(secrets::server_configuration(secret)?));
            tracing::info!(version = secret.version(), "new connections get the new certificate");
        }
        // A new key for models counts when the next one is loaded.
        Ok::<_, TlsError>(())
    };
    renewal.run(apply).await
}

async fn drain(server: Server, timeout: Duration) {
    match server.drain(timeout).await {
        Drained::Completely => tracing::info!("drained"),
        Drained::TimedOut { connections } => {
            tracing::warn!(connections, "time is up; connections that are still open are cut");
        }
    }
}

/// The signals that ask the server to end.
struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    fn handle() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one's name.
    async fn signal(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Loads the model on a thread of its own, so that health is answered and
/// signals are heard meanwhile.
async fn load(source: ModelSource, models: &Models, retries: u32, pause: Duration) -> Result<(), ServeError> {
    let source = Arc::new(source);
    for attempt in 0.. {
        let (source, models) = (Arc::clone(&source), models.clone());
        let loaded = tokio::task::spawn_blocking(move || load_highest(&source, &StaticEngine, &models)).await;
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
