//! `adytum-broker --genesis FILE [LISTEN]`: the key broker.

// One module needs an interface of the C library.
#![deny(unsafe_code)]

mod arguments;
mod configuration;
mod limits;
mod logs;
mod memory;
mod reload;
mod tee;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
};

use adytum_broker::{
    Broker, BrokerConfiguration,
    audit::AuditLimits,
    clock::{FloorClock, keep_floor},
    events::LoggedEvents,
    health::{self, Health},
    measured::MeasuredConfiguration,
    serve,
    store::{Loaded, Store},
};
use adytum_evidence::{
    attester::Attester,
    clock::{Clock as _, SystemClock},
};
use adytum_ratls::claims::GenesisDigest;
use anyhow::Context as _;
use clap::Parser as _;
use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use self::{arguments::Arguments, logs::Logs};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        // Causes in one line, without a stack: this is for people.
        Err(error) => {
            eprintln!("adytum-broker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
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
    let reference = configuration::reference(&arguments)?;
    let measured = MeasuredConfiguration { reference: reference.as_ref().map(|loaded| loaded.digest()) };
    let clock = Arc::new(FloorClock::new(Arc::new(SystemClock), None));
    let tee = tee::open(&arguments, &measured, clock.clone()).await?;
    tracing::info!(
        genesis = %genesis.digest(),
        owners = genesis.owners().len(),
        threshold = genesis.threshold(),
        tee = tee.attester.platform(),
        "this is the broker of this genesis"
    );
    tokio::spawn(reload::on_signal(hangup, logs, Arc::clone(&tee.collateral)));
    // Before the store counts a start: a port that is taken is none.
    let listener = TcpListener::bind(&arguments.listen)
        .await
        .with_context(|| format!("can't listen on {}; is the port taken?", arguments.listen))?;
    let store = open_store(&arguments, tee.attester.as_ref(), genesis.digest())?;
    if let Some(floor) = store.1.clock_floor {
        clock.saw(floor);
    }
    let configuration = BrokerConfiguration {
        genesis,
        attester: tee.attester,
        collateral: tee.collateral,
        clock: clock.clone(),
        store,
        events: Arc::new(LoggedEvents),
        reference,
    };
    let audit = AuditLimits {
        records: arguments.audit_limit,
        kept_for_grants: arguments.audit_limit / 2,
        ..AuditLimits::default()
    };
    let broker = Broker::start_with(configuration, audit).context("the broker can't start")?;
    let state = broker.state();
    tracing::info!(
        epoch = state.epoch,
        manifest_version = state.manifest_version(),
        secrets = state.secrets.len(),
        "state is loaded"
    );

    health.of(Arc::clone(&broker));
    // Those who deploy it wait for this very line.
    say("Server listening on", listener.local_addr()?);

    let store = broker.store().clone();
    let (kept, keeping) = (clock.clone(), store.clone());
    tokio::spawn(async move { keep_floor(&kept, &keeping).await });
    tokio::spawn(memory::keep_giving_back(Arc::clone(&broker)));
    serve(listener, broker, arguments.limits.limits(), async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await?;
    store.close().await.context("the shutdown can't be recorded")?;
    tracing::info!("the broker has ended");
    Ok(())
}

/// Serves probes and metrics from now on, if a flag asks for it.
async fn serve_health(arguments: &Arguments, health: &Health) -> anyhow::Result<()> {
    let Some(address) = &arguments.health_listen else { return Ok(()) };
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("can't listen on {address} (--health-listen); is the port taken?"))?;
    say("Health listening on", listener.local_addr()?);
    tokio::spawn(health::server::serve(listener, health.clone()));
    Ok(())
}

/// Nobody may be reading; that is no reason not to serve.
fn say(what: &str, address: SocketAddr) {
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

fn open_store(
    arguments: &Arguments,
    attester: &dyn Attester,
    genesis: GenesisDigest,
) -> anyhow::Result<(Store, Loaded)> {
    let Some(directory) = &arguments.state_directory else {
        tracing::warn!("no --state-directory: nothing outlives this process");
        return Ok(Store::in_memory(genesis)?);
    };
    let Some(key) = attester.sealing_key().context("the TEE's sealing key")? else {
        tracing::warn!(
            tee = attester.platform(),
            "this TEE has no sealing key, so --state-directory is not used: nothing outlives this process"
        );
        return Ok(Store::in_memory(genesis)?);
    };
    Ok(Store::open(directory, genesis, &key.into())?)
}
