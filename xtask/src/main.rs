//! `cargo xtask`: the chores of this project that are programs.

#![forbid(unsafe_code)]

mod bench;
mod demo;
mod image;
mod model;

use std::process::ExitCode;

use clap::Parser;

/// Chores: the demo, benchmarks, example models.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Run the main job on this machine in a simulated TEE.
    Demo(demo::Arguments),
    /// Run the benchmarks, each against its baseline.
    Bench(bench::Arguments),
    /// Write an example model.
    Model(model::Arguments),
    /// What goes into container images, and what must not.
    Image(image::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Bench(arguments) => bench::run(arguments).await,
        Command::Model(arguments) => model::run(arguments),
        Command::Image(arguments) => image::run(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Causes in one line, without a stack: this is for people.
        Err(error) => {
            eprintln!("xtask: {error:#}");
            demo::exit_code(&error)
        }
    }
}
