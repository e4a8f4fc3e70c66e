//! The benchmarks: each value against its baseline in the same run. Run them
//! with `cargo xtask bench`.

#![forbid(unsafe_code)]

mod echo;
mod in_process;
mod releases;
mod report;
mod serving;
mod wire;

use std::{fs, path::PathBuf, time::Duration};

use adytum_tests::stage::Stage;
use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::{
    releases::Workload,
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
    /// Only benchmarks whose group has this in its name: resnet50, small, releases.
    filter: Option<String>,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The bare echo that small models are compared with.
    #[command(hide = true)]
    EchoServer {
        /// Certificate in PEM.
        certificate: PathBuf,
        /// Private key in PEM.
        key: PathBuf,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Part::EchoServer { certificate, key }) = arguments.part {
        return echo::serve(&fs::read_to_string(certificate)?, &fs::read_to_string(key)?).await;
    }
    let wanted = |group: &str| arguments.filter.as_ref().is_none_or(|filter| group.contains(filter.as_str()));
    let directory = tempfile::Builder::new().prefix("adytum-bench-").tempdir()?;
    let binaries = arguments.binaries.canonicalize().context("--binaries")?;
    let mut report = Report::default();

    for (group, latency) in [("releases", 0), ("releases-quote20ms", 20)] {
        if wanted(group) {
            let place = directory.path().join(group);
            fs::create_dir(&place)?;
            release(&mut report, &place, &binaries, &arguments, Duration::from_millis(latency)).await?;
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
        let mut stage = Stage::start(&place, &binaries).await?;
        let mut broker = stage.found_broker("broker").await?;
        let onnx = onnx.canonicalize().with_context(|| format!("{}", onnx.display()))?;
        let site = Site::prepare(&stage, &broker, model, &onnx).await?;
        match group {
            "small" => small(&mut report, &site).await?,
            _ => resnet50(&mut report, &site, &onnx).await?,
        }
        broker.stop().await;
        stage.stop().await;
    }
    report.print();
    report.write(&arguments.report)?;
    println!("\nwritten to {}", arguments.report.display());
    Ok(())
}

/// `broker.*`: flows at several numbers of clients.
async fn release(
    report: &mut Report,
    place: &std::path::Path,
    binaries: &std::path::Path,
    arguments: &Arguments,
    quote_latency: Duration,
) -> Result<()> {
    let mut stage = Stage::start(place, binaries).await?;
    let suffix = match quote_latency.as_millis() {
        0 => String::new(),
        milliseconds => {
            stage.set_quote_latency(quote_latency);
            format!(".quote{milliseconds}ms")
        }
    };
    let mut broker = stage.found_broker("broker").await?;
    let site = Site::prepare(&stage, &broker, "digits", &arguments.digits.canonicalize()?).await?;
    let workload = Workload::new(&stage, &broker, site.identity().parse()?, "ssl_config", quote_latency)?;
    workload.run(4, Duration::from_secs(1)).await?;
    for clients in [1, 4, 16, 256] {
        let found = workload.run(clients, Duration::from_secs(5)).await?;
        let headline = clients == 16 && suffix.is_empty();
        let remark = format!(
            "{clients} clients, p50 {:.1} ms, p99 {:.1} ms{}",
            found.p50.as_secs_f64() * 1e3,
            found.p99.as_secs_f64() * 1e3,
            if headline { "; bar: 400" } else { "" }
        );
        let name = match headline {
            true => "broker.releases_per_s".to_owned(),
            false => format!("broker.releases_per_s{suffix}.clients{clients}"),
        };
        report.figure(&name, found.per_second, "1/s", &remark);
    }
    broker.stop().await;
    stage.stop().await;
    Ok(())
}
