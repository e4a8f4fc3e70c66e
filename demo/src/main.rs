//! `cargo demo`: the whole system on this machine, from an owner's key to an
//! answer, and how a tampered replica and another owner's broker are refused.

#![forbid(unsafe_code)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use adytum_tests::{
    build,
    deployment::{Broker, Deployment, Replica, tampered_copy},
    owner,
    process::Process,
};
use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

/// How long a refused replica may take to say so and end.
const REFUSAL: Duration = Duration::from_secs(20);

/// Runs the whole system on this machine, in a simulated TEE.
#[derive(Debug, Parser)]
#[command(name = "cargo demo", bin_name = "cargo demo")]
struct Arguments {
    /// Leave everything running and print a command that uses it.
    #[arg(long)]
    keep: bool,
    /// The directory for all files; by default a new one, which is removed at the end.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// How the demo ended.
enum Outcome {
    Shown,
    /// By this signal. Everything that was started has been stopped.
    Interrupted(SignalKind),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(Outcome::Shown) => ExitCode::SUCCESS,
        Ok(Outcome::Interrupted(signal)) => {
            eprintln!("cargo demo: interrupted; everything that was started has been stopped");
            ExitCode::from(exit_status(signal))
        }
        // Causes in one line, without a stack: people read this.
        Err(error) => {
            eprintln!("cargo demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// 128 and the signal's number, as a shell reports a program that a signal ended.
fn exit_status(signal: SignalKind) -> u8 {
    u8::try_from(128 + signal.as_raw_value()).unwrap_or(1)
}

/// Everything that runs. It is ended however the demo ends.
#[derive(Default)]
struct Cast {
    deployment: Option<Deployment>,
    broker: Option<Broker>,
    impostor: Option<Broker>,
    replicas: Vec<Process>,
}

impl Cast {
    async fn stop(&mut self) {
        for replica in &mut self.replicas {
            replica.stop().await;
        }
        for broker in [&mut self.broker, &mut self.impostor].into_iter().flatten() {
            broker.stop().await;
        }
        if let Some(deployment) = &mut self.deployment {
            deployment.stop().await;
        }
    }
}

async fn run(arguments: Arguments) -> Result<Outcome> {
    let root = build::workspace_root()?;
    let binaries = build::binaries(&root).await?;
    let temporary;
    let directory = match (&arguments.directory, arguments.keep) {
        (Some(directory), _) => directory.clone(),
        (None, true) => tempfile::Builder::new().prefix("adytum-demo-").tempdir()?.keep(),
        (None, false) => {
            temporary = tempfile::Builder::new().prefix("adytum-demo-").tempdir()?;
            temporary.path().to_owned()
        }
    };
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let directory = directory.canonicalize()?;

    let mut cast = Cast::default();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let began = Instant::now();
    let outcome = tokio::select! {
        shown = show(&root, &binaries, &directory, arguments.keep, &mut cast) => shown.map(|()| Outcome::Shown),
        _ = interrupt.recv() => Ok(Outcome::Interrupted(SignalKind::interrupt())),
        _ = terminate.recv() => Ok(Outcome::Interrupted(SignalKind::terminate())),
    };
    if arguments.keep && matches!(outcome, Ok(Outcome::Shown)) {
        println!("\nPress ctrl-C to stop everything.");
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
    cast.stop().await;
    if matches!(outcome, Ok(Outcome::Shown)) {
        step("everything is stopped", &format!("{:.1} s", began.elapsed().as_secs_f64()));
    }
    outcome
}

fn step(title: &str, detail: &str) {
    println!("\u{2713} {title}: {detail}");
}

fn refused(title: &str, detail: &str) {
    println!("\u{2717} {title}:\n    {detail}");
}

async fn show(root: &Path, binaries: &Path, directory: &Path, keep: bool, cast: &mut Cast) -> Result<()> {
    println!("Adytum on one machine. The TEE is simulated: it protects nothing. The cryptography is real.\n");
    let digits = root.join("examples/digits");

    let deployment = &*cast.deployment.insert(Deployment::start(directory, binaries).await?);
    step("a software TEE platform", &format!("root CA, PCK chain and a PCCS at {}", deployment.pccs_url()));

    // The owner's side.
    let broker = &*cast.broker.insert(deployment.create_broker("broker").await?);
    step("an owner creates a broker", &format!("genesis {}", short(broker.genesis_digest())));
    step("the broker runs in the TEE", &format!("Server listening on {}", broker.address()));
    let verified = deployment.run_adytum(deployment.verification_of(broker, broker.address())).await?;
    step("the owner's tool verified it", verified.lines().next().unwrap_or_default().trim());

    let configuration = deployment.configure_replica("replica", broker).await?;
    step(
        "the replica is measured before it runs",
        &format!("workload identity {}", short(&configuration.identity)),
    );
    let provisioned = owner::provision(deployment, broker, "digits", &configuration.identity).await?;
    step(
        "signed manifest and secrets given to the broker",
        "ssl_config and model_key, for the workload \"digits\" only",
    );

    let models = directory.join("models/digits");
    let onnx = digits.join("model.onnx");
    owner::seal(deployment, broker, &onnx, "digits", 1, &provisioned.recipient, &models).await?;
    step("the model is sealed", &format!("{}; only the TEE can open it", models.join("1").display()));

    // A genuine replica.
    let serving = deployment.binary("adytum-serving");
    let genuine = Replica {
        binary: &serving,
        configuration: &configuration.path,
        broker: broker.address(),
        model: "digits",
        models: &models,
    };
    let began = Instant::now();
    let (process, port) = deployment.start_replica("replica-1", &genuine).await?;
    cast.replicas.push(process);
    step(
        "a replica verified the broker, proved itself, unlocked the model and serves",
        &format!("localhost:{port}, {} ms after its start", began.elapsed().as_millis()),
    );
    let crt = provisioned.server_crt;
    classify(deployment, &digits, &crt, port).await?;
    verified_answer(deployment, &digits, broker, port).await?;

    // Two that must get nothing.
    let tampered = directory.join("adytum-serving-tampered");
    tampered_copy(&serving, &tampered)?;
    let mut process =
        deployment.spawn_replica("replica-tampered", &Replica { binary: &tampered, ..genuine }).await?;
    let reason = refusal(&mut process).await?;
    refused("a tampered replica (one byte of its binary changed) is refused by the broker", &reason);

    let impostor = &*cast.impostor.insert(deployment.create_broker("impostor").await?);
    let misled = Replica { broker: impostor.address(), ..genuine };
    let mut process = deployment.spawn_replica("replica-misled", &misled).await?;
    let reason = refusal(&mut process).await?;
    refused("a genuine broker that another owner created is refused by the replica", &reason);

    // More replicas.
    let mut ports = vec![port];
    for name in ["replica-2", "replica-3"] {
        let (process, port) = deployment.start_replica(name, &genuine).await?;
        cast.replicas.push(process);
        ports.push(port);
    }
    step("replicas 2 and 3 serve", &format!("localhost:{}, localhost:{}", ports[1], ports[2]));
    benchmark(deployment, &digits, &crt, &ports).await?;

    if keep {
        println!("\nIt all keeps running. Files are in {}. Try:", directory.display());
        println!(
            "  {} predict --server=localhost:{port} --crt {} --model digits --image {}",
            deployment.binary("adytum").display(),
            crt.display(),
            sample_images(&digits)?[0].display()
        );
    }
    Ok(())
}

#[derive(Deserialize)]
struct Prediction {
    class: String,
    probability: f64,
}

async fn classify(deployment: &Deployment, digits: &Path, crt: &Path, port: u16) -> Result<()> {
    println!("  handwritten digits that the model has never seen:");
    let images = sample_images(digits)?;
    let mut right = 0;
    for image in &images {
        let answer = deployment
            .run_adytum([
                "predict".to_owned(),
                format!("--server=localhost:{port}"),
                format!("--crt={}", crt.display()),
                "--model=digits".into(),
                "--json".into(),
                format!("--image={}", image.display()),
            ])
            .await?;
        let prediction: Prediction =
            serde_json::from_str(answer.trim()).with_context(|| format!("read the answer {answer:?}"))?;
        let truth = label(image)?;
        let correct = prediction.class == truth;
        right += usize::from(correct);
        println!(
            "    {:<18} class {}  probability {:.4}  {}",
            image.file_name().unwrap_or_default().to_string_lossy(),
            prediction.class,
            prediction.probability,
            if correct { "right" } else { "WRONG" }
        );
    }
    step("classified over TLS", &format!("{right} of {} right", images.len()));
    Ok(())
}

#[derive(Deserialize)]
struct VerifiedPrediction {
    class: String,
    verified: Verified,
}

#[derive(Deserialize)]
struct Verified {
    version: u64,
    identity: String,
}

/// The data owner verifies the replica by the owners' service file before she sends a digit.
async fn verified_answer(deployment: &Deployment, digits: &Path, broker: &Broker, port: u16) -> Result<()> {
    let file = |name: &str| deployment.directory().join(name).display().to_string();
    let service = file("service.toml");
    deployment
        .run_adytum([
            "service".to_owned(),
            "export".to_owned(),
            broker.directory().join("manifest.toml").display().to_string(),
            format!("--genesis={}", broker.genesis().display()),
            format!("--owner={}", broker.owner_key().display()),
            format!("--out={service}"),
        ])
        .await?;
    let image = &sample_images(digits)?[0];
    let answer = deployment
        .run_adytum([
            "predict".to_owned(),
            format!("--server=localhost:{port}"),
            format!("--attest={service}"),
            format!("--genesis={}", broker.genesis_digest()),
            format!("--services={}", file("services.json")),
            format!("--trust-simulation={}", deployment.root_certificate().display()),
            "--model=digits".into(),
            "--json".into(),
            format!("--image={}", image.display()),
        ])
        .await?;
    let VerifiedPrediction { class, verified } =
        serde_json::from_str(answer.trim()).with_context(|| format!("read the answer {answer:?}"))?;
    let short = verified.identity.get(..16).unwrap_or_default();
    step(
        "the data owner verified the replica before she sent a digit, and got her answer",
        &format!("class {class}, by version {} of the model and the code {short}...", verified.version),
    );
    Ok(())
}

/// The sample images, in the order of their names.
fn sample_images(digits: &Path) -> Result<Vec<PathBuf>> {
    let directory = digits.join("images");
    let mut images: Vec<_> = fs::read_dir(&directory)
        .with_context(|| format!("read {}", directory.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "png"))
        .collect();
    images.sort();
    ensure!(!images.is_empty(), "{} has no images", directory.display());
    Ok(images)
}

/// `digit-LABEL-INDEX.png` says what it shows.
fn label(image: &Path) -> Result<String> {
    let name = image.file_stem().unwrap_or_default().to_string_lossy();
    name.split('-').nth(1).map(str::to_owned).with_context(|| format!("no label in {name}"))
}

/// Waits until a replica that must be refused has ended, and gives its last line.
async fn refusal(process: &mut Process) -> Result<String> {
    let (status, lines) = process.wait_for_end(REFUSAL).await?;
    if status.success() {
        bail!("the replica was expected to be refused:\n{}", lines.join("\n"));
    }
    let last = lines.last().map(String::as_str).unwrap_or_default();
    // Without the time and the level.
    Ok(last.split_once("ERROR ").map_or(last, |(_, words)| words).trim().to_owned())
}

async fn benchmark(deployment: &Deployment, digits: &Path, crt: &Path, ports: &[u16]) -> Result<()> {
    let image = sample_images(digits)?.swap_remove(0);
    let one = bench(deployment, &image, crt, &ports[..1]).await?;
    let three = bench(deployment, &image, crt, ports).await?;
    step(
        "a short benchmark, 4 clients a replica",
        &format!("1 replica {one:.0} predictions a second, 3 replicas {three:.0} (on the same cores)"),
    );
    println!("    This build is made to be ready soon: docs/performance.md has figures of an optimised one.");
    Ok(())
}

#[derive(Deserialize)]
struct Summary {
    tps: f64,
}

async fn bench(deployment: &Deployment, image: &Path, crt: &Path, ports: &[u16]) -> Result<f64> {
    let mut running = Vec::new();
    for port in ports {
        let command = deployment.adytum([
            "bench".to_owned(),
            format!("--server=localhost:{port}"),
            format!("--crt={}", crt.display()),
            "--model=digits".into(),
            "--cnum=4".into(),
            "--duration=1s".into(),
            "--quiet".into(),
            "--json".into(),
            format!("--image={}", image.display()),
        ]);
        running.push(tokio::spawn(adytum_tests::process::run(command)));
    }
    let mut total = 0.0;
    for run in running {
        let printed = run.await??;
        let summary: Summary =
            serde_json::from_str(printed.trim()).with_context(|| format!("read the summary {printed:?}"))?;
        total += summary.tps;
    }
    Ok(total)
}

fn short(digest: &str) -> String {
    digest.chars().take(16).chain(['\u{2026}']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_ends_the_demo_as_a_shell_reports_it() {
        for (signal, code) in [(SignalKind::interrupt(), 130), (SignalKind::terminate(), 143)] {
            assert_eq!(exit_status(signal), code);
        }
    }
}
