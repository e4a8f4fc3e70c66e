//! `adytum-sim --platform DIR [--quote-latency 20ms] LISTEN`: a simulated
//! platform as a service.

#![forbid(unsafe_code)]

use std::{io, path::PathBuf, process::ExitCode, time::Duration};

use adytum_evidence::attester::AttesterError;
use adytum_sim::{Faults, Platform, SimError, parse_quote_latency, service};
use anstream::{AutoStream, ColorChoice};
use anyhow::Context as _;
use clap::Parser;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// A software SGX platform with a PCCS. It protects nothing.
#[derive(Parser)]
#[command(name = "adytum-sim", version)]
struct Arguments {
    /// The platform's directory; where there is none, a platform is made in it.
    #[arg(long, value_name = "DIR")]
    platform: PathBuf,
    /// How long each quote takes, such as 20ms: hardware is not fast.
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = parse_quote_latency)]
    quote_latency: Duration,
    /// What shall be wrong with the platform, from now on: none, pck-revoked,
    /// pck-ca-revoked, collateral-expired, tcb=STATUS, qe=STATUS. May be repeated.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<String>,
    /// Address and port to listen on; port 0 is any free one.
    #[arg(value_name = "LISTEN", value_parser = parse_address)]
    listen: String,
}

adytum_codes::coded_errors!(SimError, AttesterError);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        // Causes in one line, without a stack: this is for people.
        Err(error) => {
            eprintln!("adytum-sim: {error:#}");
            if let Some(next_step) = adytum_codes::what_to_do(error.chain(), code_of) {
                eprintln!("{next_step}");
            }
            ExitCode::FAILURE
        }
    }
}

/// An address as a flag gives it: `HOST:PORT`.
fn parse_address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    match port.map(str::parse::<u16>) {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err("expected HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:8081".to_owned()),
    }
}

async fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        // On a terminal only, and not where NO_COLOR is set.
        .with_ansi(AutoStream::choice(&std::io::stderr()) != ColorChoice::Never)
        .init();

    // Before the first log line, so that a signal at any moment ends it cleanly.
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be handled")?;

    let faults = arguments
        .faults
        .iter()
        .try_fold(Faults::default(), |faults, name| faults.with(name))
        .map_err(|reason| anyhow::anyhow!("--fault: {reason}; `adytum-sim --help` lists the faults"))?;
    let platform = Platform::create_or_open(&arguments.platform)?;
    if !arguments.faults.is_empty() {
        platform.set_faults(faults)?;
        tracing::warn!(?faults, "the platform is faulty on purpose");
    }
    let listener = TcpListener::bind(&arguments.listen).await.map_err(|error| {
        let next_step = match error.kind() {
            io::ErrorKind::AddrInUse => "end the program that has this port, or choose another port",
            io::ErrorKind::AddrNotAvailable => "choose an address of this machine, such as 127.0.0.1",
            io::ErrorKind::PermissionDenied => "choose a port above 1023",
            _ => "check the name of the host",
        };
        anyhow::anyhow!("can't listen on {}: {error}; {next_step}", arguments.listen)
    })?;
    tracing::warn!(
        platform = %arguments.platform.display(),
        "SIMULATION. This is not a TEE and protects nothing: anyone who reaches this service, or reads the platform's directory, can have any quote"
    );
    tracing::info!("Simulated TEE platform listening on {}", listener.local_addr()?);

    service::serve(listener, platform, arguments.quote_latency, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("Simulated TEE platform ends");
    })
    .await
    .context("the service failed")
}
