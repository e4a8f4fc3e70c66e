//! The benchmarks: each value against its baseline in the same run. Run them
//! with `cargo xtask bench`.

#![forbid(unsafe_code)]

mod apis;
mod broker;
mod echo;
mod engine;
mod in_process;
mod peers;
mod plain;
mod report;
mod serving;
mod wire;

use std::{fs, path::PathBuf};

use adytum_tests::deployment::Deployment;
use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::{
    apis::Place,
    peers::Compared,
    report::Report,
    serving::{Site, resnet50, small},
};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// Where the built binaries are.
    #[arg(long, value_name = "DIR", global = true, default_value = "target/release")]
    binaries: PathBuf,
    /// Where the machine-readable report goes.
    #[arg(long, value_name = "FILE", default_value = "target/bench/report.json")]
    report: PathBuf,
    /// The generated ResNet-50.
    #[arg(long, value_name = "FILE", default_value = "target/bench/resnet50.onnx")]
    resnet50: PathBuf,
    /// The digits model.
    #[arg(long, value_name = "FILE", default_value = "examples/digits/model.onnx")]
    digits: PathBuf,
    /// Only benchmarks whose group has this in its name: releases, refetch,
    /// broker-memory, broker-full, broker-start, store, rest, batching, open-loop, json,
    /// reload, peers, small, resnet50, engine, engine-batch, engine-threads, engine-avx2,
    /// engine-bf16.
    filter: Option<String>,
    /// After how many sessions the broker's memory is looked at.
    #[arg(long, value_name = "NUMBER", default_value_t = 53_000)]
    sessions: usize,
    /// Only networks with this in their names, in the groups of the engine.
    #[arg(long, value_name = "PART", default_value = "")]
    network: String,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The bare echo that small models are compared with.
    #[command(hide = true)]
    EchoServer {
        /// The trusted certificate, in PEM.
        certificate: PathBuf,
        /// Private key in PEM.
        key: PathBuf,
    },
    #[command(hide = true)]
    EngineRunner(engine::runner::Arguments),
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(Part::EchoServer { certificate, key }) => {
            return echo::serve(&fs::read_to_string(certificate)?, &fs::read_to_string(key)?).await;
        }
        Some(Part::EngineRunner(arguments)) => return engine::runner::run(&arguments),
        None => {}
    }
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let is_one_of_the_engine = engine::Group::ALL.iter().any(|group| group.name() == filter);
    let wanted = |group: &str| if is_one_of_the_engine { group == filter } else { group.contains(filter) };
    let directory = tempfile::Builder::new().prefix("adytum-bench-").tempdir()?;
    let binaries = arguments.binaries.canonicalize().context("--binaries")?;
    let mut report = Report::default();

    for group in broker::GROUPS {
        if wanted(group) {
            let place = directory.path().join(group);
            fs::create_dir(&place)?;
            broker::run(group, &mut report, &place, &binaries, arguments.sessions).await?;
        }
    }
    for group in apis::GROUPS {
        if wanted(group) {
            let place = directory.path().join(group);
            fs::create_dir(&place)?;
            let digits = arguments.digits.as_path();
            let place = Place { directory: &place, binary: binaries.join("adytum-serving"), digits };
            apis::run(group, &mut report, &place).await?;
        }
    }
    if wanted("peers") {
        let place = directory.path().join("peers");
        fs::create_dir(&place)?;
        let compared = Compared {
            directory: &place,
            binary: binaries.join("adytum-serving"),
            digits: &arguments.digits,
            resnet50: &arguments.resnet50,
        };
        peers::run(&mut report, &compared).await?;
    }
    for group in engine::Group::ALL {
        if wanted(group.name()) {
            let place = directory.path().join(group.name());
            fs::create_dir(&place)?;
            engine::run(group, &mut report, &place, &arguments.network).await?;
        }
    }
    for (group, model, onnx) in
        [("small", "digits", &arguments.digits), ("resnet50", "resnet50", &arguments.resnet50)]
    {
        if !wanted(group) {
            continue;
        }
        let place = directory.path().join(group);
        fs::create_dir(&place)?;
        let mut deployment = Deployment::start(&place, &binaries).await?;
        let mut broker = deployment.create_broker("broker").await?;
        let onnx = onnx.canonicalize().with_context(|| format!("{}", onnx.display()))?;
        let site = Site::prepare(&deployment, &broker, model, &onnx).await?;
        match group {
            "small" => small(&mut report, &site).await?,
            _ => resnet50(&mut report, &site, &onnx).await?,
        }
        broker.stop().await;
        deployment.stop().await;
    }
    report.print();
    report.write(&arguments.report)?;
    println!("\nwritten to {}", arguments.report.display());
    Ok(())
}
