//! `engine.*`: the static engine against ONNX Runtime and OpenVINO, on the same networks and inputs.
//!
//! Each engine is in a process of its own and is asked in turns. Answers are compared before anything is
//! measured. `benches/peers/install.sh` installs the others, `benches/peers/networks.py` writes the networks.

mod conversation;
pub(crate) mod runner;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use self::conversation::{Conversation, Time};
use crate::report::{Report, median};

/// A comparison. Each is a group of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// One input, one thread; load and memory too.
    Alone,
    /// Eight inputs at once, one thread.
    Batch,
    /// One input, two threads.
    Threads,
    /// One input, one thread, with AVX2 as the best instructions.
    Avx2,
    /// One input, one thread, in 16-bit floats.
    BFloat16,
}

impl Group {
    pub(crate) const ALL: [Self; 5] = [Self::Alone, Self::Batch, Self::Threads, Self::Avx2, Self::BFloat16];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Alone => "engine",
            Self::Batch => "engine-batch",
            Self::Threads => "engine-threads",
            Self::Avx2 => "engine-avx2",
            Self::BFloat16 => "engine-bf16",
        }
    }

    fn threads(self) -> usize {
        if self == Self::Threads { 2 } else { 1 }
    }

    fn inputs(self) -> &'static str {
        if self == Self::Batch { "batch8" } else { "inputs" }
    }

    /// The engines of others that can be compared: ONNX Runtime can't be kept from AVX-512 and has no switch for 16-bit
    /// floats, and OpenVINO has no trees.
    fn peers(self, network: &str) -> &'static [&'static str] {
        match (self, network.starts_with("trees")) {
            (Self::Avx2 | Self::BFloat16, true) => &[],
            (Self::Avx2, false) => &["openvino"],
            (Self::BFloat16, false) if NARROW.contains(&network) => &["openvino"],
            (Self::BFloat16, false) => &[],
            (_, true) => &["onnxruntime"],
            (_, false) => &["onnxruntime", "openvino"],
        }
    }

    /// The bar of a network, in parts of the better peer's time.
    fn bar(self, network: &str) -> f64 {
        match self {
            Self::Avx2 => 1.1,
            Self::Alone if network == "resnet50" => 0.85,
            _ => 1.0,
        }
    }

    /// Several threads wait for each other, so the clock on the wall counts.
    fn figure(self, time: Time) -> f64 {
        if self == Self::Threads { time.wall_ms } else { time.processor_ms }
    }
}

const ENVIRONMENT: &str = "target/peers/engine/bin/python";
const PROGRAMS: &str = "benches/peers";
const NETWORKS: &str = "target/bench/networks";
/// The networks whose geometric mean has a bar of its own.
const IMAGES: [&str; 12] = [
    "resnet18",
    "resnet50",
    "vgg11",
    "mobilenet_v2",
    "mobilenet_v3",
    "efficientnet_b0",
    "densenet121",
    "inception_v3",
    "shufflenet_v2",
    "convnext_tiny",
    "unet",
    "yolo",
];
/// The networks that are measured in 16-bit floats.
const NARROW: [&str; 3] = ["resnet50", "mobilenet_v2", "bert"];
const ROUNDS: usize = 5;
/// Milliseconds of a round, about.
const ROUND_MS: f64 = 400.0;

/// Runs a group on the networks with `part` in their names.
pub(crate) async fn run(group: Group, report: &mut Report, directory: &Path, part: &str) -> Result<()> {
    let python = Path::new(ENVIRONMENT);
    if !python.exists() {
        println!("{} is left out: its peers are not installed ({PROGRAMS}/install.sh)", group.name());
        return Ok(());
    }
    // The name of a link is what the interpreter finds its packages by.
    let python = std::path::absolute(python)?;
    let mut ratios = Vec::new();
    for network in networks(&python, part).await? {
        let place = Place { group, python: &python, directory, network: &network };
        if group.peers(place.name()).is_empty() {
            continue;
        }
        let ratio = place.compare(report).await.with_context(|| network.display().to_string())?;
        if IMAGES.contains(&place.name()) {
            ratios.push(ratio.ln());
        }
    }
    if ratios.len() == IMAGES.len() {
        let mean = (ratios.iter().sum::<f64>() / ratios.len() as f64).exp();
        let remark = "ratios of the 12 networks for images; bar: 0.9";
        report.compared(&format!("{}.geometric_mean", group.name()), mean, "", 1.0, remark);
    }
    Ok(())
}

/// Writes the networks that are not there yet.
async fn networks(python: &Path, part: &str) -> Result<Vec<PathBuf>> {
    println!("networks with seeded weights are written to {NETWORKS}");
    let status = Command::new(python)
        .arg(Path::new(PROGRAMS).join("networks.py"))
        .args([NETWORKS, part])
        .status()
        .await
        .context("networks.py")?;
    ensure!(status.success(), "networks.py ended with {status}");
    let mut found = Vec::new();
    for entry in fs::read_dir(NETWORKS)? {
        let path = entry?.path();
        let named = path.file_stem().is_some_and(|name| name.to_string_lossy().contains(part));
        if named && path.extension().is_some_and(|extension| extension == "onnx") {
            found.push(path.canonicalize()?);
        }
    }
    found.sort();
    Ok(found)
}

/// One network in one group.
struct Place<'a> {
    group: Group,
    python: &'a Path,
    directory: &'a Path,
    network: &'a Path,
}

impl Place<'_> {
    fn name(&self) -> &str {
        self.network.file_stem().and_then(|name| name.to_str()).unwrap_or_default()
    }

    fn inputs(&self) -> PathBuf {
        self.network.with_extension(format!("{}.npz", self.group.inputs()))
    }

    fn ours(&self, engine: &str) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["engine-runner", engine]).arg(self.network).arg(self.inputs());
        command.arg(self.group.threads().to_string());
        match self.group {
            Group::Avx2 => drop(command.arg("--avx2")),
            Group::BFloat16 => drop(command.arg("--bf16")),
            _ => {}
        }
        command.env("RTEN_NUM_THREADS", self.group.threads().to_string());
        Ok(command)
    }

    fn theirs(&self, engine: &str) -> Command {
        let mut command = Command::new(self.python);
        command.arg(Path::new(PROGRAMS).join("engine_runner.py")).arg(engine).arg(self.network);
        command.arg(self.inputs()).arg(self.group.threads().to_string());
        command.arg(if self.group == Group::BFloat16 { "bf16" } else { "f32" });
        if self.group == Group::Avx2 {
            command.env("ONEDNN_MAX_CPU_ISA", "AVX2");
        }
        command
    }

    /// Our time in parts of the best of theirs.
    async fn compare(&self, report: &mut Report) -> Result<f64> {
        let name = format!("{}.{}", self.group.name(), self.name());
        let mut ours = Conversation::start(self.ours("static")?).await.context("our engine")?;
        let mut theirs = BTreeMap::new();
        let answers = self.directory.join(format!("{}.npz", self.name()));
        for peer in self.group.peers(self.name()) {
            let mut conversation = Conversation::start(self.theirs(peer)).await.context(*peer)?;
            if theirs.is_empty() {
                conversation.write(&answers).await.context(*peer)?;
            }
            theirs.insert(*peer, conversation);
        }
        let difference = ours.compare(&answers).await.context("our engine")?;
        // Quantised networks may differ by a step of their scale, and roundings to 16 bits add up on both sides.
        let most = match self.group {
            Group::BFloat16 => 0.1,
            _ if self.name().starts_with("int8") => 0.05,
            _ => 1e-3,
        };
        ensure!(difference <= most, "the answers differ by {difference:.1e} of the largest value");
        fs::remove_file(&answers)?;

        let runs = |time: Time| (ROUND_MS / time.wall_ms.max(1e-3)).clamp(1.0, 10_000.0) as usize;
        let our_runs = runs(ours.time(1).await?);
        let mut their_runs = BTreeMap::new();
        for (peer, conversation) in &mut theirs {
            conversation.time(1).await?;
            their_runs.insert(*peer, runs(conversation.time(1).await?));
        }
        let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for _ in 0..ROUNDS {
            let time = self.group.figure(ours.time(our_runs).await?);
            times.entry("static").or_default().push(time);
            for (peer, conversation) in &mut theirs {
                let time = conversation.time(their_runs.get(peer).copied().unwrap_or(1)).await?;
                times.entry(peer).or_default().push(self.group.figure(time));
            }
        }
        let mut medians: BTreeMap<&str, f64> =
            times.iter_mut().map(|(engine, times)| (*engine, median(times))).collect();
        let own = medians.remove("static").unwrap_or_default();
        let Some(best) = medians.values().copied().min_by(f64::total_cmp) else { bail!("no peer") };
        let others: Vec<String> = medians.iter().map(|(peer, time)| format!("{peer} {time:.2}")).collect();
        let remark = format!(
            "{}; differs by {difference:.0e}; bar: {}",
            others.join(", "),
            self.group.bar(self.name())
        );
        report.compared(&name, own, "ms", best, &remark);
        if self.group == Group::Alone {
            self.report_load(report, &name, ours).await?;
        }
        Ok(own / best)
    }

    /// The time to load against the library that computes what is not compiled; memory against the file.
    async fn report_load(&self, report: &mut Report, name: &str, mut ours: Conversation) -> Result<()> {
        let file = fs::metadata(self.network)?.len() as f64 / f64::from(1 << 20);
        // It has no trees.
        if !self.name().starts_with("trees") {
            let (mut own, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                own.push(Conversation::start(self.ours("static")?).await?.loaded.load_ms);
                theirs.push(Conversation::start(self.ours("rten")?).await.context("rten")?.loaded.load_ms);
            }
            let remark = "loading; the baseline is rten; bar: 1.2";
            report.compared(&format!("{name}.load"), median(&mut own), "ms", median(&mut theirs), remark);
        }
        let most = 1.6 * file + 32.0;
        let remark = "most memory while loading; the baseline is the bar, 1.6 times the file and 32 MiB";
        report.compared(&format!("{name}.load_memory"), ours.loaded.peak_mib, "MiB", most, remark);
        let resident = ours.time(1).await?.resident_mib;
        let most = 1.4 * file + 16.0;
        let remark = "memory after runs; the baseline is the bar, 1.4 times the file and 16 MiB";
        report.compared(&format!("{name}.memory"), resident, "MiB", most, remark);
        Ok(())
    }
}
