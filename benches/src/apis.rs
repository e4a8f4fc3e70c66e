//! The protocols and the batches of the model server, each against the same server without it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use adytum_testkit::onnx::{self, FLOAT};
use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::{
    plain::{PlainServer, Rest, Start},
    report::{Report, median},
    serving::{DIGIT, IMAGE, PREDICT, memory, request, values},
    wire::{Client, saturate},
};

/// The groups of benchmarks here.
pub(crate) const GROUPS: [&str; 5] = ["rest", "batching", "open-loop", "json", "reload"];

/// The inputs and outputs of the wide model.
const WIDE: usize = 2048;

/// Where things are.
pub(crate) struct Place<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) binary: PathBuf,
    pub(crate) digits: &'a Path,
}

/// Runs a group.
pub(crate) async fn run(group: &str, report: &mut Report, place: &Place<'_>) -> Result<()> {
    match group {
        "rest" => rest(report, place).await,
        "batching" => batching(report, place).await,
        "open-loop" => open_loop(report, place).await,
        "json" => json_latency(report, place).await,
        _ => reload(report, place).await,
    }
}

impl Place<'_> {
    async fn start(
        &self,
        name: &str,
        onnx: &[u8],
        arguments: &[&str],
        core: Option<usize>,
    ) -> Result<PlainServer> {
        let directory = self.directory.join(name);
        fs::create_dir_all(&directory)?;
        PlainServer::start(Start { binary: &self.binary, directory, onnx, arguments, core }).await
    }
}

/// A model whose engine reads 16 MiB of weights in each run, whatever the batch.
fn wide() -> Vec<u8> {
    let weights: Vec<f32> = values(&[WIDE, WIDE]).iter().map(|value| value / 1024.0).collect();
    let size = i64::try_from(WIDE).unwrap_or(i64::MAX);
    onnx::model(
        &[onnx::node("MatMul", &["x", "w"], &["y"], &[])],
        &[onnx::value("x", FLOAT, &[-1, size])],
        &[onnx::value("y", FLOAT, &[-1, size])],
        &[onnx::floats("w", &[size, size], &weights)],
    )
}

/// `serving.rest.rps`: REST against gRPC on the same model.
async fn rest(report: &mut Report, place: &Place<'_>) -> Result<()> {
    let digits = fs::read(place.digits)?;
    let mut server = place.start("rest", &digits, &[], None).await?;
    let body = request("m", "image", &DIGIT);
    let rows: Vec<Vec<Vec<f32>>> =
        values(&DIGIT).chunks(DIGIT[2]).map(|row| row.iter().map(|value| vec![*value]).collect()).collect();
    let text = Bytes::from(serde_json::to_vec(&json!({ "instances": [rows] }))?);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::plain(server.grpc, PREDICT).await?);
    }
    let slice = Duration::from_secs(2);
    let (mut by_rest, mut by_grpc) = (Vec::new(), Vec::new());
    for round in 0..6 {
        let grpc = saturate(&clients, 1, &body, slice).await?;
        let rest = saturate_rest(server.rest, 8, &text, slice).await?;
        // The first round warms up.
        if round > 0 {
            by_grpc.push(grpc);
            by_rest.push(rest);
        }
    }
    report.compared(
        "serving.rest.rps",
        median(&mut by_rest),
        "1/s",
        median(&mut by_grpc),
        "digits, 8 connections, no TLS: REST / gRPC",
    );
    server.process.stop().await;
    Ok(())
}

async fn saturate_rest(port: u16, connections: usize, body: &Bytes, duration: Duration) -> Result<f64> {
    let (done, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (mut client, body, done) = (Rest::connect(port).await?, body.clone(), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            while start.elapsed() < duration {
                client.post("/v1/models/m:predict", &body).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, anyhow::Error>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}

/// `serving.batching.*`: with batches against without.
async fn batching(report: &mut Report, place: &Place<'_>) -> Result<()> {
    let digits = fs::read(place.digits)?;
    for (name, model, body, bar) in [
        ("wide", wide(), request("m", "x", &[1, WIDE]), "16 MiB of weights a run; bar: 2"),
        ("digits", digits, request("m", "image", &DIGIT), "digits; bar: 1"),
    ] {
        let parameters = place.directory.join(format!("{name}-parameters"));
        fs::write(&parameters, "max_batch_size { value: 16 } max_enqueued_batches { value: 100 }")?;
        let parameters = format!("--batching_parameters_file={}", parameters.display());
        let mut off = place.start(&format!("{name}-off"), &model, &[], None).await?;
        let arguments = ["--enable_batching", &parameters];
        let mut on = place.start(&format!("{name}-on"), &model, &arguments, None).await?;
        let (mut with, mut without) = (Vec::new(), Vec::new());
        let (mut to_on, mut to_off) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            to_on.push(Client::plain(on.grpc, PREDICT).await?);
            to_off.push(Client::plain(off.grpc, PREDICT).await?);
        }
        let slice = Duration::from_secs(2);
        for round in 0..6 {
            let (on, off) =
                (saturate(&to_on, 4, &body, slice).await?, saturate(&to_off, 4, &body, slice).await?);
            if round > 0 {
                with.push(on);
                without.push(off);
            }
        }
        let remark = format!("8 connections of 4 requests, batches on / off; {bar}");
        let name = format!("serving.batching.{name}.rps");
        report.compared(&name, median(&mut with), "1/s", median(&mut without), &remark);
        on.process.stop().await;
        off.process.stop().await;
    }
    Ok(())
}

/// `serving.load.*`: requests that come at their own times, at a share of what the server can do.
/// The server has one core and the generator another.
async fn open_loop(report: &mut Report, place: &Place<'_>) -> Result<()> {
    let mut server = place.start("open-loop", &wide(), &[], Some(0)).await?;
    let (port, body) = (server.grpc, request("m", "x", &[1, WIDE]));
    let measured = tokio::task::spawn_blocking(move || {
        // On a thread of its own, since the core is set by thread.
        thread::spawn(move || {
            let mut core = CpuSet::new();
            core.set(1)?;
            sched_setaffinity(Pid::from_raw(0), &core).context("a core for the generator")?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(offer(port, body))
        })
        .join()
        .map_err(|_| anyhow!("the generator panicked"))?
    })
    .await??;
    let usual = measured.offered.iter().find(|offered| offered.share == 0.9).map_or(f64::NAN, |it| it.p99);
    for offered in &measured.offered {
        let name = |what: &str| format!("serving.load.{}.{what}", offered.share);
        let remark = "of accepted requests; bar at 2.0: 3 times that at 0.9";
        report.figure(&name("p50_ms"), offered.p50, "ms", "of accepted requests");
        report.compared(&name("p99_ms"), offered.p99, "ms", usual, remark);
        let remark = "answered / what a closed loop gets; bar at 2.0: 0.9";
        report.compared(&name("goodput"), offered.goodput, "1/s", measured.capacity, remark);
    }
    server.process.stop().await;
    Ok(())
}

struct Measured {
    /// Requests a second in a closed loop.
    capacity: f64,
    offered: Vec<Offered>,
}

struct Offered {
    /// Requests a second, as a share of the capacity.
    share: f64,
    /// Median latency of accepted requests in milliseconds.
    p50: f64,
    /// The 99th percentile of it in milliseconds.
    p99: f64,
    /// Good answers a second.
    goodput: f64,
}

async fn offer(port: u16, body: Bytes) -> Result<Measured> {
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::plain(port, PREDICT).await?);
    }
    saturate(&clients, 2, &body, Duration::from_secs(2)).await?;
    let capacity = saturate(&clients, 2, &body, Duration::from_secs(5)).await?;
    let mut offered = Vec::new();
    for share in [0.5, 0.9, 2.0] {
        let (pause, duration) = (Duration::from_secs_f64(1.0 / (capacity * share)), Duration::from_secs(8));
        let (start, mut tasks, mut count) = (Instant::now(), Vec::new(), 0_u32);
        while start.elapsed() < duration {
            let due = start + pause * count;
            tokio::time::sleep_until(due.into()).await;
            let mut client = clients[count as usize % clients.len()].clone();
            let body = body.clone();
            tasks.push(tokio::spawn(async move {
                // From the time at which it should have been sent.
                client.call(body).await.ok().map(|_| due.elapsed().as_secs_f64() * 1e3)
            }));
            count += 1;
        }
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await?);
        }
        let took = start.elapsed().as_secs_f64();
        latencies.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = (latencies.len() as f64 * share) as usize;
            latencies.get(place.min(latencies.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
        };
        offered.push(Offered { share, p50: at(0.5), p99: at(0.99), goodput: latencies.len() as f64 / took });
    }
    Ok(Measured { capacity, offered })
}

/// `serving.rest.json_added_ms`: the time that JSON adds for a picture, against a bare parse.
async fn json_latency(report: &mut Report, place: &Place<'_>) -> Result<()> {
    let shape: Vec<i64> = std::iter::once(-1).chain(IMAGE[1..].iter().map(|size| *size as i64)).collect();
    let model = onnx::model(
        &[onnx::node("ReduceSum", &["x"], &["y"], &[])],
        &[onnx::value("x", FLOAT, &shape)],
        &[onnx::value("y", FLOAT, &[1, 1, 1, 1])],
        &[],
    );
    let mut server = place.start("json", &model, &[], None).await?;
    let body = request("m", "x", &IMAGE);
    let picture = values(&IMAGE);
    let rows: Vec<Vec<&[f32]>> =
        picture.chunks(IMAGE[2] * IMAGE[3]).map(|row| row.chunks(IMAGE[3]).collect()).collect();
    let text = serde_json::to_vec(&json!({ "inputs": [rows] }))?;
    let mut grpc = Client::plain(server.grpc, PREDICT).await?;
    let mut rest = Rest::connect(server.rest).await?;
    let (mut by_rest, mut by_grpc, mut parsed) = (Vec::new(), Vec::new(), Vec::new());
    let milliseconds = |start: Instant| start.elapsed().as_secs_f64() * 1e3;
    for round in 0..60 {
        let start = Instant::now();
        grpc.call(body.clone()).await?;
        let grpc = milliseconds(start);
        let start = Instant::now();
        rest.post("/v1/models/m:predict", &text).await?;
        let rest = milliseconds(start);
        let start = Instant::now();
        let value: Value = serde_json::from_slice(&text)?;
        let parse = milliseconds(start);
        drop(value);
        if round >= 10 {
            by_grpc.push(grpc);
            by_rest.push(rest);
            parsed.push(parse);
        }
    }
    let added = median(&mut by_rest) - median(&mut by_grpc);
    report.compared(
        "serving.rest.json_added_ms",
        added,
        "ms",
        median(&mut parsed),
        "224x224x3, p50 over gRPC's / a bare serde_json parse; bar: at most 1.2",
    );
    server.process.stop().await;
    Ok(())
}

/// `serving.reload.*`: a new version each second, under load.
async fn reload(report: &mut Report, place: &Place<'_>) -> Result<()> {
    let model = wide();
    let mut server = place.start("reload", &model, &["--file_system_poll_wait_seconds=1"], None).await?;
    let base = place.directory.join("reload/m");
    let body = request("m", "x", &[1, WIDE]);
    let (stop, failed, done) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (mut client, body) = (Client::plain(server.grpc, PREDICT).await?, body.clone());
        let (stop, failed, done) = (Arc::clone(&stop), Arc::clone(&failed), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let count = if client.call(body.clone()).await.is_ok() { &done } else { &failed };
                count.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = memory(server.process.id())?;
    for version in 2..12 {
        let hidden = base.join("next");
        fs::create_dir(&hidden)?;
        fs::write(hidden.join("model.onnx"), &model)?;
        fs::rename(&hidden, base.join(version.to_string()))?;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        fs::remove_dir_all(base.join((version - 1).to_string()))?;
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await?;
    }
    let after = memory(server.process.id())?;
    let remark = format!("of {} requests over 10 reloads; bar: 0", done.load(Ordering::Relaxed));
    report.figure("serving.reload.failed", failed.load(Ordering::Relaxed) as f64, "", &remark);
    report.compared("serving.reload.peak_rss", after.peak, "bytes", before.steady, "peak / before the first");
    server.process.stop().await;
    Ok(())
}
