//! `adytum-broker --genesis FILE [LISTEN]`: the key broker.

#![forbid(unsafe_code)]

mod arguments;
mod configuration;
mod tee;

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    sync::Arc,
};

use adytum_broker::{
    Broker, BrokerConfiguration, ServerLimits,
    audit::AuditLimits,
    clock::{FloorClock, keep_floor},
    events::LoggedEvents,
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
    resource::{Resource, setrlimit},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use self::arguments::{Arguments, LogFormat};

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
    start_logs(arguments.log_format);
    forbid_core_dumps();
    // Before anything else takes time, so that a signal at any moment ends it cleanly.
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be handled")?;

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

    // Those who deploy it wait for this very line.
    let ready = format!("Server listening on {}\n", listener.local_addr()?);
    let mut stdout = io::stdout().lock();
    // Nobody may be reading; that is no reason not to serve.
    let _ = stdout.write_all(ready.as_bytes()).and_then(|()| stdout.flush());
    drop(stdout);

    let store = broker.store().clone();
    let (kept, keeping) = (clock.clone(), store.clone());
    tokio::spawn(async move { keep_floor(&kept, &keeping).await });
    serve(listener, broker, ServerLimits::default(), async move {
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

fn start_logs(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
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
