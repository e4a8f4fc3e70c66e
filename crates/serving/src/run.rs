//! The binary's main job: from flags to a server that was drained.

mod attested;
mod configured;
mod error;
mod listeners;
mod readiness;
mod secrets;
mod signals;

use std::{
    future::pending,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use adytum_api::names::SecretName;
use adytum_governance::manifest::ManifestInForce;
use adytum_init::{
    InitError, Program, Released,
    configuration::MeasuredConfiguration,
    health::{DrainReason, Health, HealthPort, Page},
    platform::Platform,
    renewal::{LeaseEnd, Renewal},
    tee, unlock,
};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

pub use self::error::ServeError;
use self::{
    configured::Configured,
    listeners::Opened,
    secrets::KeyRing,
    signals::{Ending, Hangup},
};
use crate::{
    attested::AttestedPort,
    batching::Batcher,
    engine_choice::ChosenEngine,
    flags::{FlagError, Flags, HOST_FLAGS},
    limits::RequestMemory,
    loading::{self, Manager, Reloads, Watch},
    memory,
    models::Models,
    observation::{Observer, TraceOptions, Traces},
    scheduler::Scheduler,
    server::{Drained, Server},
    service::{AnswerOptions, Inference, Management, Services},
    tls::{TlsSwitch, TlsVersion},
};

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
    announce: impl FnMut(&str),
) -> Result<(), ServeError> {
    memory::limit_retention(flags.tensorflow.cores().get());
    for note in flags.tensorflow.check()? {
        tracing::warn!("--{} has no effect here: {}", note.flag, note.reason);
    }
    let allow_plain = match configuration {
        None if flags.allow_plain_models => true,
        None => return Err(FlagError::NothingAllowed.into()),
        Some(configuration) if flags.allow_plain_models && !configuration.allow_plain_models() => {
            return Err(FlagError::PlainForbidden.into());
        }
        Some(configuration) => configuration.allow_plain_models(),
    };
    configuration.map_or(Ok(()), MeasuredConfiguration::require_model_rules).map_err(InitError::from)?;
    let engine = match configuration {
        None => {
            flags.engine.forbid_telemetry()?;
            flags.engine.choose(None, Platform::Simulation)
        }
        Some(_) => {
            let platform = tee::platform(&flags.attestation).map_err(InitError::from)?;
            flags.engine.choose(configuration, platform)
        }
    }?;
    // A host can leave a flag out. Without TLS it would read what clients send.
    if configuration.is_some() && flags.ssl_config_file.is_none() && !flags.allow_plaintext {
        return Err(FlagError::PlaintextForbidden.into());
    }
    let configured = Configured::read(flags, allow_plain)?;
    // The port is taken first, so that a wrong one is known at once.
    let socket = flags.tensorflow.grpc_socket_path.as_deref();
    let opened = Opened::open(flags.listen_address, flags.port, flags.tensorflow.rest_api_port, socket)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ServeError::System { operation: "starting a runtime", source })?;
    let ended = runtime.block_on(serve(flags, configuration, engine, configured, opened, announce));
    // A model that is still being loaded is not waited for: nobody was served yet.
    runtime.shutdown_background();
    ended
}

async fn serve(
    flags: &Flags,
    configuration: Option<&MeasuredConfiguration>,
    engine: ChosenEngine,
    configured: Configured,
    opened: Opened,
    mut announce: impl FnMut(&str),
) -> Result<(), ServeError> {
    let system = |operation| move |source| ServeError::System { operation, source };
    let mut ending = Ending::handle().map_err(system("handling signals"))?;
    let mut hangup = Hangup::handle().map_err(system("handling signals"))?;
    let health = Health::default();
    let models = Models::default();
    let page = configured.metrics_path.clone().map(|path| {
        let models = models.clone();
        Page { path, text: Arc::new(move || models.render_metrics()) }
    });
    let port = HealthPort::open_with(flags.listen_address, flags.health_port, health.clone(), page).await;
    let _port = port.map_err(InitError::from)?;

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
    let (manifest, manifest_in_force) = watch::channel(None);
    let (released, renewal, tee, _evidence_port) = match unlocked {
        Some(it) => (Some(it.released), Some(it.renewal), Some(it.tee), it.evidence_port),
        None => (None, None, None, None),
    };
    let ssl_secret = configuration.map(|all| secrets::ssl_secret(flags, all)).transpose()?.flatten();
    let tls = secrets::tls(flags, ssl_secret, released.as_ref())?.map(TlsSwitch::new);
    let mut keys = KeyRing::default();
    if let Some(released) = &released {
        keys.update(released)?;
        manifest.send_replace(released.manifest);
    }
    drop(released);

    let cores = flags.tensorflow.cores();
    // After the unlocking, which looks at what is loaded into this process.
    let engine = engine.start(cores)?;
    let (scheduler, _running) = Scheduler::start(cores, flags.max_queued_requests.get(), flags.patience())
        .map_err(system("starting the model's threads"))?;
    let memory = RequestMemory::new(
        usize::try_from(flags.request_memory_bytes).unwrap_or(usize::MAX),
        usize::try_from(configured.message_bytes).unwrap_or(usize::MAX),
    );
    let Configured { models: served, options, intervals, server: mut server_options, batching, .. } =
        configured;
    let batcher = batching.map(|parameters| Batcher::new(&parameters, scheduler.clone(), cores));
    let polls = intervals.directories.is_some();
    let manager = Manager::new(models.clone(), engine, options, keys.keys(), served);
    let inference = Inference { models: models.clone(), scheduler, batcher, memory, options: answers(flags) };
    if tls.is_none() {
        tracing::warn!("no --ssl_config_file: clients are served without TLS");
    }
    let Watch { reloads, mut progress, wants_keys } =
        loading::watch(manager, intervals).map_err(system("starting the thread that loads models"))?;
    let management = Management::new(
        reloads.clone(),
        flags.model_root.clone(),
        flags.model_manager_certificates.iter().map(|digest| digest.0).collect(),
    );
    let observer = observer(flags);
    let services = Services::new(inference).with_management(management).with_observer(observer.clone());
    if let (Some(tee), Some(configuration)) = (tee, configuration) {
        server_options.attested =
            attested::port(flags, configuration, &tee, &models, manifest_in_force)?.map(Arc::new);
    }
    let attested = server_options.attested.clone();
    let listeners = opened.listeners(tls.as_ref());
    let server = Server::start(listeners, services, server_options).map_err(system("starting to serve"))?;
    let wanted = renewal.as_ref().map(Renewal::wanted);
    let held = Held { ssl_secret, tls, minimum_tls: flags.minimum_tls_version, keys, manifest };
    let mut lease = pin!(keep(renewal, held, reloads.clone()));
    let mut asking = pin!(ask(wants_keys, wanted.clone()));

    let mut loading = pin!(readiness::first(progress.clone(), &models, polls));
    loop {
        tokio::select! {
            loaded = &mut loading => {
                loaded?;
                // Some would answer nobody who verifies this replica.
                attested.as_deref().map_or(Ok(()), AttestedPort::require_room)?;
                break;
            }
            signal = ending.signal() => {
                tracing::info!(signal, "stopped before there was a model");
                return Ok(());
            }
            () = hangup.signal() => look_again(&reloads, wanted.as_deref()),
            () = &mut asking => {}
            end = &mut lease => return Err(InitError::from(end).into()),
        }
    }
    server.set_serving(true).await;
    health.set_ready();
    let address = flags.listen_address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    announce(&format!(
        "Running gRPC ModelServer at {} ...",
        SocketAddr::new(address, server.address().port())
    ));
    if let [_, Some(rest), ..] = server.addresses() {
        announce(&format!("Exporting HTTP/REST API at:localhost:{} ...", rest.port()));
    }

    let end = loop {
        tokio::select! {
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
                break None;
            }
            () = hangup.signal() => look_again(&reloads, wanted.as_deref()),
            () = readiness::round(&mut progress) => {
                readiness::follow(&models, &server, &health).await;
            }
            () = &mut asking => {}
            end = &mut lease => break Some(end),
        }
    };
    if let Some(end) = &end {
        tracing::error!(code = end.code(), timeout = ?flags.drain_timeout, "draining: {end}");
        health.drain(end.drain_reason());
    }
    drain(server, flags.drain_timeout).await;
    if let Some(observer) = observer {
        // Not on this thread, which the connection to the collector needs. It does not panic.
        let _ = tokio::task::spawn_blocking(move || observer.finish()).await;
    }
    end.map_or(Ok(()), |end| Err(InitError::from(end).into()))
}

/// Writes requests down, if a flag asks for that.
fn observer(flags: &Flags) -> Option<Observer> {
    let flags = &flags.observation;
    let traces = flags.trace_endpoint.as_ref().map(|endpoint| {
        Traces::start(TraceOptions {
            endpoint: endpoint.0.clone().into(),
            attributes: flags.trace_attributes.iter().map(|it| (it.key.clone(), it.value.clone())).collect(),
            ratio: flags.trace_ratio,
        })
    });
    Observer::new(flags.access_log, traces)
}

/// How requests are answered.
fn answers(flags: &Flags) -> AnswerOptions {
    AnswerOptions {
        check_method: flags.tensorflow.enable_signature_method_name_check,
        tensor_content: flags.tensorflow.enable_serialization_as_tensor_content,
    }
}

/// On SIGHUP: files are read again, and the broker is asked for what has changed.
fn look_again(reloads: &Reloads, wanted: Option<&Notify>) {
    tracing::info!("SIGHUP: looking for changes of models and of their configuration");
    reloads.look_again();
    if let Some(wanted) = wanted {
        wanted.notify_one();
    }
}

/// Asks the broker whenever a version waits for a key or a rule. Never ends.
async fn ask(wants_keys: Arc<Notify>, wanted: Option<Arc<Notify>>) {
    loop {
        wants_keys.notified().await;
        if let Some(wanted) = &wanted {
            tracing::info!("a version waits for a key or a rule: asking the broker");
            wanted.notify_one();
        }
    }
}

/// What a renewal changes.
struct Held<'a> {
    ssl_secret: Option<&'a SecretName>,
    tls: Option<TlsSwitch>,
    minimum_tls: TlsVersion,
    keys: KeyRing,
    /// The manifest by which the broker released it.
    manifest: watch::Sender<Option<ManifestInForce>>,
}

/// Renews what was released for as long as the broker grants it, and puts what
/// changes in place. Without a broker this never ends.
async fn keep(renewal: Option<Renewal>, held: Held<'_>, reloads: Reloads) -> LeaseEnd {
    let Some(renewal) = renewal else { return pending().await };
    let Held { ssl_secret, tls, minimum_tls, mut keys, manifest } = held;
    let apply = |changed: &Released| {
        let secret = ssl_secret.and_then(|name| changed.secrets.get(name));
        if let (Some(tls), Some(secret)) = (&tls, secret) {
            tls.replace(Arc::new(secrets::server_configuration(secret, minimum_tls)?));
            tracing::info!(version = secret.version(), "new connections get the new certificate");
        }
        if keys.update(changed)? {
            tracing::info!("models are judged and opened with what the broker has now");
            reloads.set_keys(keys.keys());
        }
        // Announced once all of it is in place.
        manifest.send_replace(changed.manifest);
        Ok::<_, ServeError>(())
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
