//! `adytum`: the one command people type. A verb an action, the same flags for
//! the same things everywhere.

#![forbid(unsafe_code)]

mod bench;
mod predict;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Confidential inference: found a broker, seal models, give out secrets, ask a
/// served model.
#[derive(Debug, Parser)]
#[command(name = "adytum", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Classify images with a served model.
    Predict(predict::Args),
    /// Measure a served model's throughput and latency.
    Bench(bench::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Predict(args) => predict::run(args).await,
        Command::Bench(args) => bench::run(args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("adytum: {error:#}");
            ExitCode::FAILURE
        }
    }
}
