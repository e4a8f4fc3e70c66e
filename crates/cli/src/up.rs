//! `adytum up`: a sealed service of one's own model on this machine.

mod child;
mod example;
mod ground;
mod metrics;
mod ports;
mod release;
mod servers;
mod service_file;
pub(crate) mod tied;
mod view;
mod watch;

use std::{
    fs::{self, File},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use adytum_api::names::{ModelName, WorkloadName};
use adytum_evidence::clock::SystemClock;
use adytum_init::configuration::measure;
use anyhow::Context as _;
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};

use self::{
    ground::{Choice, Ground},
    release::{Release, look, release},
    servers::Servers,
    view::View,
    watch::watch,
};
use crate::{
    collateral::Places,
    deployment::{self, new::hosts, plan::PlannedModel, values::Values},
    failure, interrupt,
    measure::broker_identity,
    model::name::name_of,
    output,
    owner_directory::{Keys, OwnerDirectory, Service, replace},
    programs::Programs,
    request::quoted,
    ssl_config,
};

/// Serve a model of your own on this machine, sealed, from one command.
///
/// It makes the keys, checks and seals the model, starts a broker and replicas, verifies them,
/// and prints requests to try. In a TDX or SEV-SNP guest their evidence is the guest's. Elsewhere the
/// TEE is simulated, which protects nothing; the programs, the checks and the encryption are the real
/// ones. Ctrl-C stops everything. Run again, it goes on with
/// the same keys. If the model's file changes, also while it runs, that is the next version: the
/// replicas take it without a failed request.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  adytum up iris.onnx
  adytum up --replicas 3 --port 8501 --name iris exported/
  adytum up iris.onnx --print-helm > values.yaml")]
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
    /// Where the replicas' ports are open. Other machines reach them at 0.0.0.0, or at an address of
    /// this machine in their network.
    #[arg(long, value_name = "ADDRESS", default_value_t = Ipv4Addr::LOCALHOST.into())]
    listen: IpAddr,
    /// Where keys, sealed versions, the broker's state and logs are kept.
    #[arg(long, value_name = "DIRECTORY", default_value = ".adytum")]
    directory: PathBuf,
    /// What protects the service. `auto` takes the TDX or SEV-SNP guest that this machine is, and
    /// simulates where it is none.
    #[arg(long, value_name = "TEE", default_value = "auto")]
    tee: Choice,
    #[command(flatten)]
    places: Places,
    /// Print the signed manifest of the service instead of starting it.
    #[arg(long, conflicts_with = "print_helm")]
    print_manifest: bool,
    /// Print the same service as values for the Helm chart, with the commands that use them,
    /// instead of starting it.
    #[arg(long)]
    print_helm: bool,
}

impl Args {
    /// Is the service only printed?
    fn prints(&self) -> bool {
        self.print_manifest || self.print_helm
    }
}

/// The facts that are known before anything is made.
struct Plan {
    programs: Programs,
    name: ModelName,
    ground: Ground,
    /// Held while this process runs.
    _lock: File,
    directory: OwnerDirectory,
    /// What the directory is for, if it was used before.
    deployment: Option<deployment::plan::Plan>,
}

/// How it ended.
enum Outcome {
    /// By itself, after what was asked for was printed.
    Printed,
    /// By this signal.
    Interrupted(SignalKind),
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut interruption = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let plan = Arc::new(Plan::new(&args).await?);
    let mut servers = Servers::default();
    let served = AtomicBool::new(false);
    let outcome = tokio::select! {
        outcome = serve(&args, &plan, &mut servers, &served) => outcome.map(|()| Outcome::Printed),
        _ = interruption.recv() => Ok(Outcome::Interrupted(SignalKind::interrupt())),
        _ = terminate.recv() => Ok(Outcome::Interrupted(SignalKind::terminate())),
        _ = hangup.recv() => Ok(Outcome::Interrupted(SignalKind::hangup())),
    };
    servers.stop().await;
    match outcome? {
        Outcome::Printed => Ok(ExitCode::SUCCESS),
        Outcome::Interrupted(_) if served.load(Ordering::Relaxed) => {
            // The reader may be gone, such as a terminal that was closed.
            let _ = output::step("stopped; run the same command again to go on with the same keys");
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted(signal) => {
            interrupt::came(signal);
            let code = failure::report(&anyhow::anyhow!(
                "interrupted, and nothing is left running; run the same command again"
            ));
            // A model that is being checked is not waited for.
            std::process::exit(code.into());
        }
    }
}

impl Plan {
    async fn new(args: &Args) -> anyhow::Result<Self> {
        let programs = Programs::find(None)?;
        // A path that is wrong must not leave a directory behind.
        let model = args.model.canonicalize();
        let model = model.with_context(|| format!("{} can't be read", args.model.display()))?;
        let name = match &args.name {
            Some(name) => name.clone(),
            None => name_of(&model).ok_or_else(|| {
                input_error!("no name can be made of {}; give one with --name", args.model.display())
            })?,
        };
        let directory = OwnerDirectory::create(&args.directory)?;
        // Servers have other working directories in mind.
        let directory = OwnerDirectory::at(directory.path().canonicalize()?);
        let lock = directory.lock()?;
        let deployment = deployment::plan::Plan::load(&directory)?;
        if let Some(deployment) = &deployment {
            require_service_of(deployment, &name, &args.directory)?;
        }
        let ground = Ground::find(args.tee, &args.places, &directory).await?;
        Ok(Self { programs, name, ground, _lock: lock, directory, deployment })
    }
}

/// Refuses a directory that is for another service: this one would replace it.
fn require_service_of(
    deployment: &deployment::plan::Plan,
    name: &ModelName,
    directory: &Path,
) -> anyhow::Result<()> {
    let (workload, models) = (deployment.workload.as_str(), deployment.names());
    match models.as_slice() {
        [only] if workload == name.as_str() && only == name => Ok(()),
        [only] if workload == only.as_str() => bail_input!(
            "{} has the service of the model {only}, not {name}: give --name {only} if this is its next version, or \
             --directory for another service",
            directory.display()
        ),
        _ => bail_input!(
            "{} is for the workload {workload} with the models {}, which `adytum deployment` manages, and not for {name} \
             alone: give --directory for another service",
            directory.display(),
            models.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// The keys, and the model as it is served.
struct Prepared {
    keys: Keys,
    release: Release,
}

/// Everything that needs no server: keys, platform, sealed version, documents.
fn prepare(plan: &Plan, model: &Path) -> anyhow::Result<Prepared> {
    let directory = &plan.directory;
    let workload: WorkloadName = plan.name.as_str().parse()?;
    // A certificate that is there stays: clients trust exactly that one.
    let certificate = directory.public("server.crt");
    let hosts = match certificate.exists() {
        true => ssl_config::names(&certificate)?,
        false => hosts(&workload, Vec::new()),
    };
    let keys = directory.keys(&hosts)?;
    let release = release(directory, &keys, &plan.name, model)?;
    let (source, first_version) = (model.canonicalize()?, 1);
    let planned = PlannedModel { name: plan.name.clone(), source, first_version };
    let deployment = match plan.deployment.clone() {
        // The model may come from another file.
        Some(mut before) => {
            before.add(Vec::new(), vec![planned]);
            before
        }
        None => deployment::plan::Plan::new(workload.clone(), hosts, vec![planned]),
    };
    deployment.save(directory)?;
    let broker = plan.ground.policy(broker_identity(&plan.programs.broker)?);
    let service = Service {
        workload: &workload,
        models: std::slice::from_ref(&plan.name),
        broker: &broker,
        simulation_root: plan.ground.simulation_root(),
        engine: None,
    };
    let configuration = directory.write_configuration(&keys, &service)?;
    let identity = measure(&configuration, &plan.programs.serving, &plan.programs.serving)?.identity;
    directory.write_manifest(&keys, &service, &plan.ground.policy(identity))?;
    Ok(Prepared { keys, release })
}

/// Prints the service as files.
fn print(args: &Args, plan: &Plan) -> anyhow::Result<()> {
    if args.print_manifest {
        return output::document(&fs::read_to_string(plan.directory.public("manifest.toml"))?);
    }
    let workload = plan.name.as_str().parse()?;
    // In a cluster the service has another name.
    plan.directory.keys(&hosts(&workload, Vec::new()))?;
    let values = Values {
        tee: plan.ground.tee(),
        workload: &workload,
        models: std::slice::from_ref(&plan.name),
        replicas: args.replicas,
        genesis: &fs::read_to_string(plan.directory.public("genesis.toml"))?,
    };
    output::document(&values.to_yaml(&args.directory, Path::new("values.yaml"))?)
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
    if !args.prints() {
        let warning = plan.ground.warning();
        output::result(&json!({ "warning": warning }), warning)?;
    }
    let (preparing, model) = (Arc::clone(plan), args.model.clone());
    let prepared = spawn_blocking(move || prepare(&preparing, &model));
    let Prepared { keys, release } = prepared.await??;
    if args.prints() {
        return print(args, plan);
    }
    let (name, version) = (&plan.name, release.version);
    let sealed = if release.is_new { "checked and sealed as" } else { "is still" };
    output::step(format_args!("{} {sealed} version {version} of {name}", args.model.display()))?;
    let manifest_version = servers.start(plan, args.listen, args.port, args.replicas).await?;
    service_file::renew(&plan.directory, manifest_version, &SystemClock)?;
    served.store(true, Ordering::Relaxed);
    introduce(args, plan, servers, &release, began)?;
    let view = View::new();
    watch(args, plan, keys, servers, release.version, seen, view).await
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
    let curl = release.example.curl(&url, &certificate, &file);
    let public = args.directory.join("public").display().to_string();
    let files = ["attest", "genesis"].into_iter().zip(["service.toml", "genesis.toml"]);
    let pins = files
        .map(|(flag, file)| (flag, format!("{public}/{file}")))
        .chain(plan.ground.client_flags(&public))
        .map(|(flag, value)| format!(" --{flag} {}", quoted(&value)));
    let call = format!(
        "{} call --server {first} --model {}{}{}",
        quoted(&plan.programs.adytum.display().to_string()),
        plan.name,
        pins.collect::<String>(),
        release.example.call(&plan.directory.public(""), &public)?
    );
    let (seconds, broker) = (began.elapsed().as_secs_f64(), servers.broker_address());
    output::result(
        &json!({
            "ready_seconds": seconds,
            "addresses": addresses,
            "broker": broker,
            "model": plan.name.to_string(),
            "version": release.version,
            "certificate": certificate,
            "curl": curl,
            "python": program,
            "call": call,
        }),
        format_args!(
            "\nready after {seconds:.1} s: gRPC and REST at {}\ntrust exactly its certificate: {}\nthe broker answers \
             owners at {broker}\n\nTry it, with inputs that are made up ({}):\n\n{curl}\n\nThe same in \
             Python:\n\npython3 - <<'END'\n{program}END\n\nAs a data owner, who has the replica prove its code before \
             anything is sent:\n\n{call}\n\nA changed {} becomes version {} while this runs. Ctrl-C stops everything.",
            addresses.join(", "),
            quoted(&certificate),
            release.example.inputs,
            args.model.display(),
            release.version.saturating_add(1)
        ),
    )
}
