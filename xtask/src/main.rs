//! `cargo xtask`: the chores of this project that are programs.

#![forbid(unsafe_code)]

mod bench;
mod codes;
mod commands;
mod dist;
mod house;
mod image;
mod licences;
mod links;
mod model;
mod page;
mod problem;
mod prose;
mod sources;

use std::process::ExitCode;

use clap::Parser;

/// Chores: benchmarks, example models, images.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Run the benchmarks, each against its baseline.
    Bench(bench::Arguments),
    /// Write an example model.
    Model(model::Arguments),
    /// Write what a release publishes.
    Dist(dist::Arguments),
    /// The contents of container images.
    Image(image::Arguments),
    /// Check that each code is explained, and write the catalogue.
    Codes(codes::Arguments),
    /// Check that texts for people are plain English.
    Prose(prose::Arguments),
    /// Check that imports between modules go one way.
    House(house::Arguments),
    /// Check the commands that pages print, and run those that can be run.
    Commands(commands::Arguments),
    /// Check the licences and the sources of all packages.
    Licences(licences::Arguments),
    /// Check that links of pages lead somewhere.
    Links(links::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Bench(arguments) => bench::run(arguments).await,
        Command::Model(arguments) => model::run(arguments),
        Command::Dist(arguments) => dist::run(&arguments),
        Command::Image(arguments) => image::run(arguments),
        Command::Codes(arguments) => codes::run(arguments),
        Command::Prose(arguments) => prose::run(arguments),
        Command::House(arguments) => house::run(arguments),
        Command::Commands(arguments) => commands::run(arguments).await,
        Command::Licences(arguments) => licences::run(arguments),
        Command::Links(arguments) => links::run(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Causes in one line, without a stack: this is for people.
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
