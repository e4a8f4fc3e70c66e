//! The key broker: releases, what they cost, what it holds, and how it starts.

mod kbs;
mod kbs_workload;
mod process;
mod site;
mod start;
mod store;
mod workload;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use self::{
    process::Measured,
    site::{FULL, SMALL, Site},
};
use crate::report::Report;

/// The groups of this module.
pub(crate) const GROUPS: [&str; 9] = [
    "releases",
    "releases-kbs",
    "releases-quote20ms",
    "releases-one-core",
    "refetch",
    "broker-memory",
    "broker-full",
    "store",
    "broker-start",
];
/// How long nothing is asked before memory is looked at again.
const REST: Duration = Duration::from_secs(10);
/// How long each rate is measured.
const TIME: Duration = Duration::from_secs(5);
/// How long at the number of clients that is named in goals.
const LONG_TIME: Duration = Duration::from_secs(15);
/// Machines that the broker sees for the first time.
const MACHINES: usize = 1000;

// What the Confidential Containers broker did on two cores, in one session with this one,
// interleaved: sample evidence, so that it verified no hardware signature, and TCP_NODELAY
// set. (As it comes, a stall of 44 ms by Nagle's algorithm makes it 21, 88, 327 and 709
// new connections a second.)

/// New TLS 1.3 connections: clients, connections a second, and the goal for the ratio.
const OTHER_NEW: [(usize, f64, f64); 4] =
    [(1, 350.0, 2.0), (4, 593.0, 2.2), (16, 720.0, 2.4), (256, 720.0, 2.6)];
/// The same with the server on one core.
const OTHER_ONE_CORE: f64 = 537.0;
/// Re-fetches a second by requests in flight.
const OTHER_REFETCH: [(usize, f64); 3] = [(1, 1594.0), (16, 3693.0), (256, 3396.0)];
/// Of another day, on a machine with two cores.
const OTHER_MEGABYTES: f64 = 155.0;

/// Runs one group.
pub(crate) async fn run(
    group: &str,
    report: &mut Report,
    place: &Path,
    binaries: &Path,
    sessions: usize,
) -> Result<()> {
    match group {
        "releases" => releases(report, place, binaries, Duration::ZERO).await,
        "releases-kbs" => kbs::run(report, place, binaries).await,
        "releases-quote20ms" => releases(report, place, binaries, Duration::from_millis(20)).await,
        "releases-one-core" => one_core(report, place, binaries).await,
        "refetch" => refetch(report, place, binaries).await,
        "broker-memory" => memory(report, place, binaries, sessions).await,
        "broker-full" => full(report, place, binaries).await,
        "store" => store::run(report, place).await,
        _ => start::run(report, place, binaries).await,
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// New connections: a fresh key each, both ends' evidence made and verified.
async fn releases(report: &mut Report, place: &Path, binaries: &Path, latency: Duration) -> Result<()> {
    let mut site = Site::start(place, binaries, latency, SMALL).await?;
    let suffix = if latency.is_zero() { String::new() } else { format!(".quote{}ms", latency.as_millis()) };
    site.workload().run(4, Duration::from_secs(1)).await?;
    for clients in [1, 4, 16, 256] {
        let server = Measured::of(site.process_id()?)?;
        let time = if clients == 16 { LONG_TIME } else { TIME };
        let found = site.workload().run(clients, time).await?;
        let cpu = server.cpu_since()? / found.flows as f64;
        let name = match (clients, latency.is_zero()) {
            (16, true) => "broker.releases_per_s".to_owned(),
            _ => format!("broker.releases_per_s{suffix}.clients{clients}"),
        };
        let remark = format!(
            "p50 {:.1} ms, p99 {:.1} ms, server CPU {:.2} ms a flow, {} turned away",
            milliseconds(found.p50),
            milliseconds(found.p99),
            cpu * 1e3,
            found.turned_away
        );
        let other = OTHER_NEW.iter().find(|(at, ..)| *at == clients && latency.is_zero());
        match other {
            Some((_, other, goal)) => {
                let remark = format!("{remark}; goal: {goal}");
                report.compared(&name, found.per_second, "1/s", *other, &remark);
            }
            None => report.figure(&name, found.per_second, "1/s", &remark),
        }
    }
    if latency.is_zero() {
        let machines = site.machines(MACHINES)?;
        let found = machines.run_once_each(16).await?;
        let remark = format!(
            "{MACHINES} platforms, each for the first time, 16 clients; p99 {:.1} ms, {} turned away",
            milliseconds(found.p99),
            found.turned_away
        );
        report.figure("broker.releases_per_s.unseen_platforms", found.per_second, "1/s", &remark);
    }
    site.stop().await;
    Ok(())
}

/// The server on one core, its clients on the others.
async fn one_core(report: &mut Report, place: &Path, binaries: &Path) -> Result<()> {
    let mut site = Site::start(place, binaries, Duration::ZERO, SMALL).await?;
    let server = site.process_id()?;
    process::pin(server, 0)?;
    let cores = std::thread::available_parallelism()?.get();
    if cores > 1 {
        process::pin_to_others(std::process::id(), 0, cores)?;
    }
    site.workload().run(16, Duration::from_secs(1)).await?;
    let measured = Measured::of(server)?;
    let found = site.workload().run(16, TIME).await?;
    let cpu = measured.cpu_since()? / found.flows as f64;
    let remark = format!("p50 {:.1} ms, p99 {:.1} ms", milliseconds(found.p50), milliseconds(found.p99));
    report.compared("broker.one_core.releases_per_s", found.per_second, "1/s", OTHER_ONE_CORE, &remark);
    // Independent of what else the machine does, and of the clients' own work.
    let capacity = 1.0 / cpu;
    let remark = format!("1 / ({:.2} ms of server CPU a flow); bar: 1.5", cpu * 1e3);
    report.compared("broker.one_core.capacity", capacity, "1/s", OTHER_ONE_CORE, &remark);
    process::pin_to_others(std::process::id(), usize::MAX, cores)?;
    site.stop().await;
    Ok(())
}

/// The same secret again on attested sessions; each answer waits for its own
/// audit record to be durable.
async fn refetch(report: &mut Report, place: &Path, binaries: &Path) -> Result<()> {
    let mut site = Site::start(place, binaries, Duration::ZERO, SMALL).await?;
    for (sessions, in_flight) in [(1, 1), (1, 16), (16, 1), (16, 16)] {
        let measured = Measured::of(site.process_id()?)?;
        let found = site.workload().refetch(sessions, in_flight, TIME).await?;
        let cpu = measured.cpu_since()? / found.flows as f64;
        let name = format!("broker.refetch_per_s.sessions{sessions}x{in_flight}");
        let remark = format!(
            "p50 {:.1} ms, p99 {:.1} ms, server CPU {:.0} us",
            milliseconds(found.p50),
            milliseconds(found.p99),
            cpu * 1e6
        );
        // At equal requests in flight.
        match OTHER_REFETCH.iter().find(|(at, _)| *at == sessions * in_flight) {
            Some((_, other)) => report.compared(&name, found.per_second, "1/s", *other, &remark),
            None => report.figure(&name, found.per_second, "1/s", &remark),
        }
    }
    site.stop().await;
    Ok(())
}

/// Memory after many sessions, and of sessions that stay.
async fn memory(report: &mut Report, place: &Path, binaries: &Path, sessions: usize) -> Result<()> {
    const IDLE: usize = 500;
    let mut site = Site::start(place, binaries, Duration::ZERO, SMALL).await?;
    let measured = Measured::of(site.process_id()?)?;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    report.figure("broker.rss.at_start", megabytes(measured.rss()?), "MB", "");
    let began = Instant::now();
    site.workload().run_flows(16, sessions).await?;
    let remark = format!("{sessions} sessions in {:.0} s; bar: 40", began.elapsed().as_secs_f64());
    report.compared("broker.rss.after_sessions", megabytes(measured.rss()?), "MB", OTHER_MEGABYTES, &remark);
    tokio::time::sleep(REST).await;
    report.figure("broker.rss.after_rest", megabytes(measured.rss()?), "MB", "10 s later");
    let held = site.workload().hold(IDLE).await?;
    let before = measured.rss()?;
    let more = site.workload().hold(IDLE).await?;
    let each = measured.rss()?.saturating_sub(before) as f64 / IDLE as f64 / 1e3;
    report.figure("broker.rss.per_idle_session", each, "kB", &format!("{IDLE} more attested sessions"));
    let all = megabytes(measured.rss()?);
    report.figure("broker.rss.with_idle_sessions", all, "MB", &format!("{} of them", 2 * IDLE));
    drop((held, more));
    tokio::time::sleep(REST).await;
    let remark = "10 s after they ended";
    report.figure("broker.rss.given_back", all - megabytes(measured.rss()?), "MB", remark);
    site.stop().await;
    Ok(())
}

/// Ten thousand secrets, a thousand workloads.
async fn full(report: &mut Report, place: &Path, binaries: &Path) -> Result<()> {
    let began = Instant::now();
    let mut site = Site::start(place, binaries, Duration::ZERO, FULL).await?;
    let put = FULL.secrets as f64 / began.elapsed().as_secs_f64();
    report.figure("broker.full.put_per_s", put, "1/s", "an owner's commands, one durable change each");
    let measured = Measured::of(site.process_id()?)?;
    for clients in [1, 16] {
        let found = site.workload().run(clients, TIME).await?;
        let name = format!("broker.full.releases_per_s.clients{clients}");
        report.figure(&name, found.per_second, "1/s", &format!("p99 {:.1} ms", milliseconds(found.p99)));
    }
    let found = site.workload().refetch(16, 16, TIME).await?;
    report.figure("broker.full.refetch_per_s", found.per_second, "1/s", "16 sessions, 16 requests each");
    report.figure("broker.full.rss", measured.rss()? as f64 / 1e6, "MB", "");
    let times = start::restarts(&mut site, 7).await?;
    let median = times.get(times.len() / 2).context("no start")?;
    report.figure("broker.full.start", milliseconds(*median), "ms", "exec to ready; goal: 300");
    site.stop().await;
    Ok(())
}
