//! From exec to ready.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    milliseconds,
    site::{SMALL, Site},
};
use crate::report::Report;

/// How long starts took, the shortest first.
pub(super) async fn restarts(site: &mut Site, number: usize) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..number {
        site.stop_broker().await;
        let began = Instant::now();
        site.start_broker().await?;
        times.push(began.elapsed());
    }
    times.sort();
    Ok(times)
}

/// With next to nothing in the store.
pub(super) async fn run(report: &mut Report, place: &Path, binaries: &Path) -> Result<()> {
    let mut site = Site::start(place, binaries, Duration::ZERO, SMALL).await?;
    let times = restarts(&mut site, 21).await?;
    let (best, median) = times.first().zip(times.get(times.len() / 2)).context("no start")?;
    let remark = format!("exec to ready, best {:.1} ms; goal: 10", milliseconds(*best));
    report.figure("broker.start", milliseconds(*median), "ms", &remark);
    site.stop().await;
    Ok(())
}
