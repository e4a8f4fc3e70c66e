//! What a process has cost, and on which core it runs.

use std::fs;

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::{Pid, SysconfVar, sysconf},
};

/// A process, looked at from now on.
pub(super) struct Measured {
    process: u32,
    cpu: f64,
}

impl Measured {
    pub(super) fn of(process: u32) -> Result<Self> {
        Ok(Self { process, cpu: cpu(process)? })
    }

    /// Seconds of processor time since then.
    pub(super) fn cpu_since(&self) -> Result<f64> {
        Ok(cpu(self.process)? - self.cpu)
    }

    /// Resident bytes.
    pub(super) fn rss(&self) -> Result<u64> {
        status(self.process, "VmRSS:")
    }
}

/// User and system time, fields 14 and 15 of proc_pid_stat(5).
fn cpu(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("the process is gone")?;
    // The name before may have anything in it.
    let (_, fields) = stat.rsplit_once(')').context("no name in its stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).context("no times in its stat")?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock ticks")?;
    Ok((user + system) / per_second as f64)
}

fn status(process: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    let kibibytes: u64 = line.split_whitespace().next().context("no number")?.parse()?;
    Ok(kibibytes * 1024)
}

/// Lets a process run on this core only.
pub(super) fn pin(process: u32, core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    affinity(process, &set)
}

/// Lets a process run on all cores but one.
pub(super) fn pin_to_others(process: u32, not: usize, cores: usize) -> Result<()> {
    let mut set = CpuSet::new();
    (0..cores).filter(|core| *core != not).try_for_each(|core| set.set(core))?;
    affinity(process, &set)
}

/// Of all its threads: later ones inherit it.
fn affinity(process: u32, set: &CpuSet) -> Result<()> {
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let thread: i32 = thread?.file_name().to_string_lossy().parse()?;
        sched_setaffinity(Pid::from_raw(thread), set).context("pin a thread")?;
    }
    Ok(())
}
