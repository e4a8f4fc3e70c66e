//! Releases over the KBS protocol, next to those over our own in the same run.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    milliseconds,
    site::{SMALL, Site},
};
use crate::report::{Report, median};

/// How long each rate is measured, and how often: both protocols in turn.
const TIME: Duration = Duration::from_secs(4);
const TURNS: usize = 3;
/// Clients, and the least that the rate may be of our own protocol's.
const BARS: [(usize, f64); 3] = [(1, 0.7), (4, 0.55), (16, 0.5)];

/// Both protocols in turn, at each number of clients.
pub(super) async fn run(report: &mut Report, place: &Path, binaries: &Path) -> Result<()> {
    let mut site = Site::start(place, binaries, Duration::ZERO, SMALL).await?;
    let kbs = site.listen_for_kbs().await?;
    site.workload().run(4, Duration::from_secs(1)).await?;
    kbs.run(4, Duration::from_secs(1)).await?;
    for (clients, bar) in BARS {
        let (mut own, mut others, mut last) = (Vec::new(), Vec::new(), None);
        for _ in 0..TURNS {
            own.push(site.workload().run(clients, TIME).await?.per_second);
            let found = kbs.run(clients, TIME).await?;
            others.push(found.per_second);
            last = Some(found);
        }
        let last = last.context("no turn")?;
        let (own, others) = (median(&mut own), median(&mut others));
        let (p50, p99) = (milliseconds(last.p50), milliseconds(last.p99));
        let remark = format!("of our own protocol's {own:.0}; p50 {p50:.1} ms, p99 {p99:.1} ms; bar: {bar}");
        report.compared(&format!("broker.kbs.releases_per_s.clients{clients}"), others, "1/s", own, &remark);
    }
    site.stop().await;
    Ok(())
}
