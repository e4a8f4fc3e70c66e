//! `adytum up`: a sealed service of one's own model on this machine.

mod child;
mod example;
mod metrics;
mod ports;
mod programs;
mod release;
mod servers;
pub(crate) mod tied;
mod view;
mod watch;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use adytum_api::names::ModelName;
use adytum_sim::Platform;
use anyhow::{Context as _, bail};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};

use self::{
    programs::Programs,
    release::{Release, look, release},
    servers::Servers,
    view::View,
    watch::watch,
};
use crate::{
    output,
    owner_directory::{Keys, OwnerDirectory, Service, replace},
    request::quoted,
    service,
};

/// The names in the server's certificate.
const HOSTS: [&str; 2] = ["localhost", "127.0.0.1"];

/// Serve a model of your own on this machine, sealed, from one command.
///
/// It makes the keys, checks and seals the model, starts a broker and replicas, verifies them,
/// and prints requests to try. The TEE is simulated, which protects nothing; the programs, the
/// checks and the encryption are the real ones. Ctrl-C stops everything. Run again, it goes on with
/// the same keys. If the model's file changes, also while it runs, that is the next version: the
/// replicas take it without a failed request.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  adytum up iris.onnx
  adytum up --replicas 3 --port 8501 --name iris exported/")]
pub(crate) struct Args {
    /// The model: an ONNX file, a SavedModel, or a directory that holds one.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The model's name in requests; by default that of its file.
    #[arg(long, value_name = "NAME")]
    name: Option<ModelName>,
    /// How many replicas serve it.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    replicas: u16,
    /// The port of the first replica; each further one has the next port. By default free ones, and
    /// at the next run the same.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Where keys, sealed versions, the broker's state and logs are kept.
    #[arg(long, value_name = "DIRECTORY", default_value = ".adytum")]
    directory: PathBuf,
    /// Print the signed manifest of the service instead of starting it.
    #[arg(long)]
    print_manifest: bool,
}

/// The facts that are known before anything is made.
struct Plan {
    programs: Programs,
    name: ModelName,
    /// Held while this process runs.
    _lock: File,
    directory: OwnerDirectory,
}

/// How it ended.
enum Outcome {
    /// By itself, after what was asked for was printed.
    Printed,
    /// By this signal.
    Interrupted(SignalKind),
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let plan = Arc::new(Plan::new(&args)?);
    let mut servers = Servers::default();
    let served = AtomicBool::new(false);
    let outcome = tokio::select! {
        outcome = serve(&args, &plan, &mut servers, &served) => outcome.map(|()| Outcome::Printed),
        _ = interrupt.recv() => Ok(Outcome::Interrupted(SignalKind::interrupt())),
        _ = terminate.recv() => Ok(Outcome::Interrupted(SignalKind::terminate())),
        _ = hangup.recv() => Ok(Outcome::Interrupted(SignalKind::hangup())),
    };
    servers.stop().await;
    match outcome? {
        Outcome::Printed => Ok(ExitCode::SUCCESS),
        Outcome::Interrupted(_) if served.load(Ordering::Relaxed) => {
            // The reader may be gone, such as a terminal that was closed.
            let _ = output::line("stopped; run the same command again to go on with the same keys");
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted(signal) => {
            eprintln!("adytum: interrupted; nothing is left running");
            // A model that is being checked is not waited for.
            std::process::exit(128 + signal.as_raw_value());
        }
    }
}

impl Plan {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let programs = Programs::next_to_this()?;
        // A path that is wrong must not leave a directory behind.
        let model = args.model.canonicalize();
        let model = model.with_context(|| format!("{} can't be read", args.model.display()))?;
        let name = match &args.name {
            Some(name) => name.clone(),
            None => name_of(&model).with_context(|| {
                format!("no name can be made of {}; give one with --name", args.model.display())
            })?,
        };
        let directory = OwnerDirectory::create(&args.directory)?;
        // Servers have other working directories in mind.
        let directory = OwnerDirectory::at(directory.path().canonicalize()?);
        let lock = lock(&directory)?;
        if let Some(other) = served_name(&directory).filter(|other| *other != name.as_str()) {
            bail!(
                "{} has the service of the model {other}, not {}: give --name {other} if this is its next version, or \
                 --directory for another service",
                args.directory.display(),
                name.as_str()
            );
        }
        Ok(Self { programs, name, _lock: lock, directory })
    }
}

/// The name of a model's file without its ending, with what names don't have left out.
fn name_of(model: &Path) -> Option<ModelName> {
    let generic = ["model", "saved_model"];
    let stem = |path: &Path| match path.is_dir() {
        true => Some(path.file_name()?.to_string_lossy().into_owned()),
        false => Some(path.file_stem()?.to_string_lossy().into_owned()),
    };
    let mut text = stem(model)?;
    if generic.contains(&text.as_str())
        && let Some(parent) = model.parent().and_then(stem)
    {
        text = parent;
    }
    let mut name = String::new();
    for c in text.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') => name.push(c),
            _ if name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    name.truncate(64);
    name.trim_matches(['-', '_', '.']).parse().ok()
}

/// The model that the directory serves, if it has served one.
fn served_name(directory: &OwnerDirectory) -> Option<String> {
    let entries = fs::read_dir(directory.models()).ok()?;
    let mut names = entries.flatten().filter(|entry| entry.path().is_dir());
    names.next().map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// One process for a directory.
fn lock(directory: &OwnerDirectory) -> anyhow::Result<File> {
    let path = directory.path().join("lock");
    let failed = || format!("{} can't be locked", path.display());
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).open(&path).with_context(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let process = fs::read_to_string(&path).unwrap_or_default();
            bail!(
                "`adytum up` runs in {} already (process {}): stop that one, or give --directory for another service",
                directory.path().display(),
                process.trim()
            );
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).with_context(failed)?;
    Ok(file)
}

/// The keys, and the model as it is served.
struct Prepared {
    keys: Keys,
    release: Release,
}

/// Everything that needs no server: keys, platform, sealed version, documents.
fn prepare(plan: &Plan, model: &Path) -> anyhow::Result<Prepared> {
    let directory = &plan.directory;
    let keys = directory.keys(&HOSTS.map(str::to_owned))?;
    let platform = Platform::create_or_open(directory.platform())?;
    let release = release(directory, &keys, &plan.name, model)?;
    let service = Service {
        name: &plan.name,
        broker: &plan.programs.broker,
        serving: &plan.programs.serving,
        simulation_root: platform.root_certificate_pem(),
    };
    directory.documents(&keys, &service)?;
    Ok(Prepared { keys, release })
}

async fn serve(
    args: &Args,
    plan: &Arc<Plan>,
    servers: &mut Servers,
    served: &AtomicBool,
) -> anyhow::Result<()> {
    let began = Instant::now();
    // Before it is read: a change meanwhile is noticed.
    let seen = look(&args.model);
    if !args.print_manifest {
        output::line(
            "SIMULATION: no TEE protects this service. The administrators of this machine can read the model, the keys \
             and what clients send. Programs, checks and encryption are the real ones.",
        )?;
    }
    let (preparing, model) = (Arc::clone(plan), args.model.clone());
    let prepared = spawn_blocking(move || prepare(&preparing, &model));
    let Prepared { keys, release } = prepared.await??;
    if args.print_manifest {
        return output::text(&fs::read_to_string(plan.directory.public("manifest.toml"))?);
    }
    let (name, version) = (&plan.name, release.version);
    let sealed = if release.is_new { "checked and sealed as" } else { "is still" };
    output::line(format_args!("{} {sealed} version {version} of {name}", args.model.display()))?;
    servers.start(plan, args.port, args.replicas).await?;
    export(&plan.directory)?;
    served.store(true, Ordering::Relaxed);
    introduce(args, plan, servers, &release, began)?;
    let view = View::new();
    watch(args, plan, keys, servers, release.version, seen, view).await
}

/// Writes the service file, which data owners verify replicas by, for a manifest that has none yet.
fn export(directory: &OwnerDirectory) -> anyhow::Result<()> {
    let (manifest, out) = (directory.public("manifest.toml"), directory.public("service.toml"));
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    if out.is_file() && changed(&out) >= changed(&manifest) {
        return Ok(());
    }
    if out.exists() {
        fs::remove_file(&out).with_context(|| format!("{} can't be replaced", out.display()))?;
    }
    service::export_all(manifest, directory.public("genesis.toml"), directory.private("owner.pem"), out)
}

/// Prints where the service is and how it is asked.
fn introduce(
    args: &Args,
    plan: &Plan,
    servers: &Servers,
    release: &Release,
    began: Instant,
) -> anyhow::Result<()> {
    let shown = |file: &str| args.directory.join("public").join(file).display().to_string();
    let (certificate, file) = (shown("server.crt"), shown("request.json"));
    let addresses = servers.addresses();
    let first = addresses.first().context("no replica runs")?;
    let url = format!("https://{first}/v1/models/{}:predict", plan.name);
    let program = release.example.python(&url, &certificate, &file);
    replace(&plan.directory.public("request.json"), release.example.json().as_bytes(), 0o644)?;
    replace(&plan.directory.public("client.py"), program.as_bytes(), 0o644)?;
    output::line(format_args!(
        "\nready after {:.1} s: gRPC and REST at {}",
        began.elapsed().as_secs_f64(),
        addresses.join(", ")
    ))?;
    output::line(format_args!("trust exactly its certificate: {}", quoted(&certificate)))?;
    output::line(format_args!("the broker answers owners at {}", servers.broker_address()))?;
    output::line(format_args!("\nTry it, with inputs that are made up ({}):\n", release.example.inputs))?;
    output::line(release.example.curl(&url, &certificate, &file))?;
    output::line("\nThe same in Python:\n")?;
    output::text(&format!("python3 - <<'END'\n{program}END\n"))?;
    output::line("\nAs a data owner, who has the replica prove its code before anything is sent:\n")?;
    let public = args.directory.join("public").display().to_string();
    let pins = ["attest", "genesis", "trust-simulation"]
        .into_iter()
        .zip(["service.toml", "genesis.toml", "simulation-root.pem"])
        .map(|(flag, file)| format!(" --{flag} {}", quoted(&format!("{public}/{file}"))));
    output::line(format_args!(
        "{} call --server {first} --model {}{}{}",
        quoted(&plan.programs.adytum.display().to_string()),
        plan.name,
        pins.collect::<String>(),
        release.example.call(&plan.directory.public(""), &public)?
    ))?;
    output::line(format_args!(
        "\nA changed {} becomes version {} while this runs. Ctrl-C stops everything.",
        args.model.display(),
        release.version.saturating_add(1)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_a_file() {
        let name = |path: &str| name_of(Path::new(path)).map(|name| name.to_string());
        for (path, expected) in [
            ("iris.onnx", "iris"),
            ("/a/My Model (2).onnx", "My-Model-2"),
            ("/a/digits/model.onnx", "digits"),
            ("/a/b/résumé.onnx", "r-sum"),
            ("/a/v1.2.onnx", "v1.2"),
        ] {
            assert_eq!(name(path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(name("/a/模型.onnx"), None);
    }

    #[test]
    fn one_process_has_a_directory() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = OwnerDirectory::create(&temporary.path().join("a")).unwrap();
        let held = lock(&directory).unwrap();
        let error = lock(&directory).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        lock(&directory).unwrap();
    }
}
