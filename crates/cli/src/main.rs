//! `adytum`: the one command people type. A verb an action, the same flags for
//! the same things everywhere.

#![forbid(unsafe_code)]

// First, for its macros.
#[macro_use]
mod failure;

mod attest;
mod attested;
mod audit;
mod bench;
mod broker;
mod call;
mod claims;
mod coded;
mod collateral;
mod completion;
mod confirmation;
mod context;
mod deployment;
mod doctor;
mod everywhere;
mod evidence;
mod explain;
mod forecast;
mod genesis;
mod help;
mod init_data;
mod interrupt;
mod key_file;
mod man;
mod manifest;
mod measure;
mod model;
mod model_key;
mod occlum_client;
mod output;
mod owner;
mod owner_directory;
mod predict;
mod programs;
mod progress;
mod provision;
mod proxy;
mod recovery;
mod recovery_key;
mod replica;
mod request;
mod seal;
mod secret;
mod service;
#[cfg(feature = "simulation")]
mod simulation;
mod ssl_config;
mod trusted;
mod unseal;
mod up;
mod upgrade;
mod verify;
mod workload;

use std::{ffi::OsString, process::ExitCode};

use anstream::{AutoStream, ColorChoice};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// Confidential inference: create a broker, seal models, give out secrets, ask a served
/// model.
#[derive(Debug, Parser)]
#[command(name = "adytum", version)]
struct Arguments {
    #[command(flatten)]
    everywhere: everywhere::Flags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    /// Owners' signing keys.
    #[command(subcommand)]
    Owner(owner::Action),
    /// The document that creates a broker.
    #[command(subcommand)]
    Genesis(genesis::Action),
    /// Identities of workloads and brokers, from their files.
    Measure(measure::Args),
    /// What a confidential guest of Kata Containers may run.
    #[command(subcommand)]
    InitData(init_data::Action),
    Verify(verify::Args),
    /// Evidence as a file.
    #[command(subcommand)]
    Evidence(evidence::Action),
    /// Which workloads exist and what each may have.
    #[command(subcommand)]
    Manifest(manifest::Action),
    /// A workload's part of a manifest, from what it shows.
    #[command(subcommand)]
    Workload(workload::Action),
    /// Is it the expected broker, and what is its state?
    #[command(subcommand)]
    Broker(broker::Action),
    /// Secrets at a broker.
    #[command(subcommand)]
    Secret(secret::Action),
    /// What a broker granted, refused and was ordered to do.
    #[command(subcommand)]
    Audit(audit::Action),
    /// What an owner prepares before anything is deployed, in one directory.
    #[command(subcommand)]
    Deployment(deployment::Action),
    /// Give a broker everything that an owner's directory holds for it.
    Provision(provision::Args),
    /// What a model is, and how it becomes one that can be served.
    #[command(subcommand)]
    Model(model::Action),
    /// Keys that models are sealed to.
    #[command(subcommand)]
    ModelKey(model_key::Action),
    /// Keys that bring a broker's root key back.
    #[command(subcommand)]
    RecoveryKey(recovery_key::Action),
    /// Encrypt and sign a model, or a directory as a bundle.
    Seal(seal::Args),
    /// Verify and decrypt a sealed model or bundle, on an owner's machine.
    Unseal(unseal::Args),
    /// Certificates and keys for the model server's TLS.
    #[command(subcommand)]
    SslConfig(ssl_config::Action),
    /// Ask a served model, whatever its inputs are.
    Call(call::Args),
    /// What data owners verify replicas by: an extract of a manifest that its owners signed.
    #[command(subcommand)]
    Service(service::Action),
    /// Classify images with a served model.
    Predict(predict::Args),
    /// Measure a served model's throughput and latency.
    Bench(bench::Args),
    /// Names for brokers and for what they must prove.
    #[command(subcommand)]
    Context(context::Action),
    /// Let unmodified clients of this machine ask verified replicas.
    Proxy(proxy::Args),
    Doctor(doctor::Args),
    /// The meaning of a code and the next step.
    Explain(explain::Args),
    Completion(completion::Args),
    Man(man::Args),
    /// Software TEE platforms. They protect nothing.
    #[cfg(feature = "simulation")]
    #[command(subcommand)]
    Simulation(simulation::Action),
    #[command(hide = true)]
    Tied(up::tied::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let words = match occlum_client::translated(std::env::args_os()) {
        Ok(words) => words,
        Err(error) => {
            eprintln!("python3: {error}");
            return ExitCode::from(failure::Failure::Usage.exit_code());
        }
    };
    // Also for an error of the command line itself.
    output::set_style(everywhere::asks_for_json(&words), false);
    let arguments = match parsed(&words) {
        Ok(arguments) => arguments,
        Err(error) => return ExitCode::from(failure::report(&error)),
    };
    arguments.everywhere.apply();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        // On a terminal only, and not where NO_COLOR is set.
        .with_ansi(AutoStream::choice(&std::io::stderr()) != ColorChoice::Never)
        .with_env_filter(arguments.everywhere.filter())
        .init();
    match run(arguments.command).await {
        Ok(code) => code,
        // The reader of our output has seen enough.
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(failure::report(&error)),
    }
}

/// The command line and its help pages.
fn command_line() -> clap::Command {
    help::dressed(Arguments::command())
}

/// The command line, with the defaults of a context.
fn parsed(words: &[OsString]) -> anyhow::Result<Arguments> {
    let mut command = command_line();
    if let Some(context) = context::chosen(words)? {
        command = context::apply(command, &context);
    }
    let matches = command.try_get_matches_from(words);
    let parsed = matches.and_then(|matches| Arguments::from_arg_matches(&matches));
    Ok(parsed.unwrap_or_else(|error| failure::exit_for_usage(&error)))
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Model(action) => return model::run(action).await,
        Command::Doctor(args) => return doctor::run(args).await,
        Command::Up(args) => return up::run(args).await,
        Command::Tied(args) => up::tied::run(args),
        Command::Owner(action) => owner::run(action),
        Command::Genesis(action) => genesis::run(action),
        Command::Measure(args) => measure::run(args),
        Command::InitData(action) => init_data::run(action),
        Command::Verify(args) => verify::run(args).await,
        Command::Evidence(action) => evidence::run(action).await,
        Command::Manifest(action) => manifest::run(action).await,
        Command::Workload(action) => workload::run(action).await,
        Command::Broker(action) => broker::run(action).await,
        Command::Secret(action) => secret::run(action).await,
        Command::Audit(action) => audit::run(action).await,
        Command::Deployment(action) => deployment::run(action).await,
        Command::Provision(args) => provision::run(args).await,
        Command::ModelKey(action) => model_key::run(action),
        Command::RecoveryKey(action) => recovery_key::run(action),
        Command::Seal(args) => seal::run(args),
        Command::Unseal(args) => unseal::run(args),
        Command::SslConfig(action) => ssl_config::run(action),
        Command::Call(args) => call::run(args).await,
        Command::Service(action) => service::run(action),
        Command::Predict(args) => predict::run(args).await,
        Command::Bench(args) => bench::run(args).await,
        Command::Context(action) => context::run(action),
        Command::Proxy(args) => proxy::run(args).await,
        Command::Explain(args) => explain::run(&args),
        Command::Completion(args) => completion::run(&args, command_line()),
        Command::Man(args) => man::run(&args, command_line()),
        #[cfg(feature = "simulation")]
        Command::Simulation(action) => simulation::run(action),
    }?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_arguments_fit_together() {
        super::command_line().debug_assert();
    }

    #[test]
    fn simulation_is_there_exactly_when_it_was_built_in() {
        let mut command = super::command_line();
        command.build();
        let has = cfg!(feature = "simulation");
        assert_eq!(command.find_subcommand("simulation").is_some(), has);
        let verify = command.find_subcommand("broker").unwrap().find_subcommand("verify").unwrap();
        let flag = verify.get_arguments().any(|flag| flag.get_long() == Some("trust-simulation"));
        assert_eq!(flag, has);
    }
}
