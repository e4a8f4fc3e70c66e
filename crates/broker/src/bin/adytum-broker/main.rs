//! `adytum-broker --genesis FILE [LISTEN]`: the key broker.

// One module needs an interface of the C library.
#![deny(unsafe_code)]

mod arguments;
mod coded;
mod configuration;
mod limits;
mod listening;
mod logs;
mod memory;
mod offline;
mod other_ports;
mod reload;
mod state;
mod tee;

use std::{
    future::Future,
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
};

use adytum_broker::{
    Broker, BrokerConfiguration,
    audit::{AuditLimits, sink::LoggedEvents},
    clock::keep_floor,
    serve,
    server::serve_standby,
    start::{
        fence::FencedState,
        recovery::RecoveredState,
        standby::{Cause, Standby},
    },
    telemetry::health::{self, Health, NotReady},
};
use adytum_evidence::clock::{SystemClock, floor::FloorClock};
use adytum_governance::{measured::MeasuredConfiguration, occlum::OcclumConfiguration};
use anyhow::Context as _;
use clap::Parser as _;
use futures_util::FutureExt as _;
use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use self::{
    arguments::Arguments,
    listening::listen,
    logs::Logs,
    offline::Offline,
    other_ports::OtherPorts,
    state::{BrokerBasis, Found, OpenState},
};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        // Causes in one line, without a stack: this is for people.
        Err(error) => {
            eprintln!("adytum-broker: {error:#}");
            if let Some(next_step) = coded::what_to_do(&error) {
                eprintln!("{next_step}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    if let Some(offline) = Offline::asked_for() {
        return offline.run();
    }
    let arguments = Arguments::parse();
    let logs = Logs::start(arguments.log_format, arguments.log_filter_file.as_deref())?;
    forbid_core_dumps();
    allow_many_files();
    // Before anything else takes time, so that a signal at any moment ends it cleanly.
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be handled")?;

    let hangup = signal(SignalKind::hangup()).context("SIGHUP can't be handled")?;

    let health = Health::default();
    serve_health(&arguments, &health).await?;
    let genesis = configuration::genesis(&arguments.genesis)?;
    let occlum = configuration::occlum(&arguments)?;
    let measured = MeasuredConfiguration { occlum: occlum.as_ref().map(|loaded| loaded.digest()) };
    let clock = Arc::new(FloorClock::new(Arc::new(SystemClock)));
    let ending = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    .shared();
    let tee = tokio::select! {
        tee = tee::open(&arguments, &measured, clock.clone()) => tee?,
        () = ending.clone() => return Ok(()),
    };
    tracing::info!(
        genesis = %genesis.digest(),
        owners = genesis.owners().len(),
        threshold = genesis.threshold(),
        tee = %tee.attester.platform(),
        "this is the broker of this genesis"
    );
    tokio::spawn(reload::on_signal(hangup, logs, Arc::clone(&tee.collateral)));
    // Before the store counts a start: a port that is taken is none.
    let listener = listen(&arguments.listen, "LISTEN").await?;
    let port = Port::new(listener, health)?;
    let others = OtherPorts::take(&arguments).await?;
    let founded = BrokerBasis { genesis, occlum: measured.occlum, tee, clock };
    let state = match state::open(&arguments, &founded).await? {
        Found::Open(state) => state,
        Found::Standby(cause) => match stand_by(&arguments, &port, &founded, cause, ending.clone()).await? {
            Some(state) => state,
            None => return Ok(()),
        },
    };
    let fenced = run_broker(&arguments, &port, others, &founded, occlum, *state, ending.clone()).await?;
    if let Some(fenced) = fenced {
        stand_by(&arguments, &port, &founded, Cause::Fenced(fenced), ending).await?;
    }
    Ok(())
}

/// A broker that has its state. Ends with the process, or when the root key was
/// handed over: then what is left is given back.
async fn run_broker(
    arguments: &Arguments,
    port: &Port,
    others: OtherPorts,
    founded: &BrokerBasis,
    occlum: Option<OcclumConfiguration>,
    OpenState { store, handed, recovered }: OpenState,
    ending: impl Future<Output = ()>,
) -> anyhow::Result<Option<Arc<FencedState>>> {
    let clock = &founded.clock;
    if let Some(floor) = store.1.clock_floor {
        clock.restore(floor);
    }
    let configuration = BrokerConfiguration {
        genesis: founded.genesis.clone(),
        attester: Arc::clone(&founded.tee.attester),
        collateral: Arc::clone(&founded.tee.collateral),
        clock: clock.clone(),
        store,
        events: Arc::new(LoggedEvents::default()),
        occlum,
    };
    let audit = AuditLimits {
        records: arguments.audit_limit,
        kept_for_grants: arguments.audit_limit / 2,
        ..AuditLimits::default()
    };
    let broker = Broker::start_with(configuration, audit).context("the broker can't start")?;
    if let Some(handed) = &handed {
        broker.succeed(handed).await.context("the state of the previous broker can't be taken up")?;
        tracing::info!("took over from the previous broker");
    }
    if let Some(by) = &recovered {
        broker.record_recovery(by).await.context("the recovery can't be recorded")?;
    }
    if let Err(error) = broker.keep_arranged(recovered.is_some() || handed.is_some()).await {
        tracing::error!(code = error.code(), %error, "recovery is not arranged as the manifest says");
    }
    let state = broker.state();
    tracing::info!(
        epoch = state.epoch,
        manifest_version = state.manifest_version(),
        secrets = state.secrets.len(),
        "state is loaded"
    );

    let store = broker.store().clone();
    // Ended when this function ends.
    let mut background = JoinSet::new();
    let (kept, keeping) = (clock.clone(), store.clone());
    background.spawn(async move { keep_floor(&kept, &keeping).await });
    background.spawn(memory::keep_giving_back());
    let (noticing, warnings) = (Arc::clone(&broker), clock.warnings());
    background.spawn(async move { noticing.notice_clock(warnings).await });
    let counting = Arc::clone(&broker);
    background.spawn(async move { counting.keep_counting_grace().await });
    let foreseeing = Arc::clone(&broker);
    background.spawn(async move { foreseeing.keep_foreseeing().await });
    let fencing = Arc::clone(&broker);
    let (tell, fenced) = tokio::sync::oneshot::channel();
    let stop = async move {
        tokio::select! {
            () = ending => {}
            fenced = fencing.handed_over() => drop(tell.send(fenced)),
        }
    };
    port.health.of(Arc::clone(&broker));
    let limits = arguments.limits.limits();
    let (end, ended) = watch::channel(false);
    let others = others.serve(&broker, limits, &ended).await?;
    port.ready();
    let stop = async move {
        stop.await;
        end.send_replace(true);
    };
    serve(port.listener()?, broker, limits, stop).await?;
    others.join_all().await;
    drop(background);
    if let Ok(fenced) = fenced.await {
        return Ok(Some(fenced));
    }
    store.close().await.context("the shutdown can't be recorded")?;
    tracing::info!("the broker has ended");
    Ok(None)
}

/// A broker without its root key. Ends with the process, or when the key is back:
/// then with the open state.
async fn stand_by(
    arguments: &Arguments,
    port: &Port,
    founded: &BrokerBasis,
    cause: Cause,
    ending: impl Future<Output = ()>,
) -> anyhow::Result<Option<Box<OpenState>>> {
    let awaiting = match &cause {
        Cause::Awaiting(awaiting) => {
            tracing::error!(
                code = "awaiting-recovery",
                threshold = awaiting.arrangement().threshold(),
                "the root key is not on this machine: nothing is answered until it is recovered with `adytum broker recover`"
            );
            Some(Arc::clone(awaiting))
        }
        Cause::Fenced(_) => {
            tracing::warn!(code = "fenced", "the root key went to the next broker: nothing is answered here");
            None
        }
    };
    let standby = Standby::new(
        founded.genesis.clone(),
        Arc::clone(&founded.tee.attester),
        Arc::clone(&founded.tee.collateral),
        founded.clock.clone(),
        cause,
    );
    port.health.waits(match standby.cause() {
        Cause::Awaiting(_) => NotReady::AwaitingRecovery,
        Cause::Fenced(_) => NotReady::Fenced,
    });
    port.ready();
    let recovered = async {
        match &awaiting {
            Some(awaiting) => awaiting.recovered().await,
            None => std::future::pending().await,
        }
    };
    let stop = async {
        tokio::select! {
            () = ending => {}
            () = recovered => {}
        }
    };
    serve_standby(port.listener()?, Arc::new(standby), arguments.limits.limits(), stop).await?;
    let Some(awaiting) = awaiting else { return Ok(None) };
    let opened = tokio::task::spawn_blocking(move || awaiting.open()).await?;
    let Some(RecoveredState { store, by }) = opened.transpose().context("the recovered state")? else {
        return Ok(None);
    };
    tracing::info!("the root key is recovered");
    Ok(Some(Box::new(OpenState { store, handed: None, recovered: Some(by) })))
}

/// The port, through all that the broker is meanwhile.
struct Port {
    listener: std::net::TcpListener,
    /// What the other port tells meanwhile.
    health: Health,
    announced: std::sync::Once,
}

impl Port {
    fn new(listener: TcpListener, health: Health) -> anyhow::Result<Self> {
        Ok(Self { listener: listener.into_std()?, health, announced: std::sync::Once::new() })
    }

    fn listener(&self) -> anyhow::Result<TcpListener> {
        Ok(TcpListener::from_std(self.listener.try_clone()?)?)
    }

    /// Those who deploy it wait for this very line.
    fn ready(&self) {
        self.announced.call_once(|| {
            if let Ok(address) = self.listener.local_addr() {
                say("Server listening on", address);
            }
        });
    }
}

/// Serves probes and metrics from now on, if a flag asks for it.
async fn serve_health(arguments: &Arguments, health: &Health) -> anyhow::Result<()> {
    let Some(address) = &arguments.health_listen else { return Ok(()) };
    let listener = listen(address, "--health-listen").await?;
    say("Health listening on", listener.local_addr()?);
    tokio::spawn(health::server::serve(listener, health.clone()));
    Ok(())
}

/// Nobody may be reading; that is no reason not to serve.
pub(crate) fn say(what: &str, address: SocketAddr) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(format!("{what} {address}\n").as_bytes()).and_then(|()| stdout.flush());
}

/// Each session is a file descriptor. What the host lets this process have is up
/// to it.
fn allow_many_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, maximum)| setrlimit(Resource::RLIMIT_NOFILE, maximum, maximum));
    if let Err(error) = raised {
        tracing::debug!(%error, "the number of open files can't be raised");
    }
}

/// A core dump would hold every secret. A LibOS may know neither call, and then
/// makes no dumps.
fn forbid_core_dumps() {
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 0, 0) {
        tracing::debug!(%error, "core dumps can't be limited");
    }
    if let Err(error) = prctl::set_dumpable(false) {
        tracing::debug!(%error, "this process can't be made undumpable");
    }
}
