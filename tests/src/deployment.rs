//! The pieces of a deployment, started in the order in which a person would.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use adytum_testkit::manifest::simulated_policy;
use anyhow::{Context, Result, anyhow, bail};
use tokio::process::Command;

use crate::process::{Process, run};

/// How long a server may take to be ready.
const START: Duration = Duration::from_secs(30);

/// The binaries that a deployment runs.
pub const BINARIES: [&str; 5] = ["adytum", "adytum-broker", "adytum-init", "adytum-serving", "adytum-sim"];

/// One simulated platform and the directory in which everything else lies.
pub struct Deployment {
    directory: PathBuf,
    binaries: PathBuf,
    pccs_url: String,
    platform: Process,
    quote_latency: Option<Duration>,
    log_filter: Option<String>,
}

impl Deployment {
    /// Creates a platform below `directory` and serves its collateral.
    pub async fn start(directory: &Path, binaries: &Path) -> Result<Self> {
        for name in BINARIES {
            let path = binaries.join(name);
            if !path.is_file() {
                bail!("{} is missing; build the workspace's binaries first", path.display());
            }
        }
        let mut command = Command::new(binaries.join("adytum-sim"));
        command.arg("--platform").arg(directory.join("platform")).arg("127.0.0.1:0");
        let mut platform = Process::start("platform", command, directory).await?;
        let address = platform.wait_for("Simulated TEE platform listening on ", START).await?;
        Ok(Self {
            directory: directory.to_owned(),
            binaries: binaries.to_owned(),
            pccs_url: format!("http://{address}"),
            platform,
            quote_latency: None,
            log_filter: None,
        })
    }

    /// Imitates a TEE that takes this long for a quote, in what starts from now on.
    pub fn set_quote_latency(&mut self, latency: Duration) {
        self.quote_latency = Some(latency);
    }

    /// The log filter (`RUST_LOG`) of processes that start from now on.
    pub fn set_log_filter(&mut self, filter: &str) {
        self.log_filter = Some(filter.to_owned());
    }

    fn log_environment(&self) -> Option<(&str, &str)> {
        self.log_filter.as_deref().map(|filter| ("RUST_LOG", filter))
    }

    /// Where everything lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the simulated platform keeps its keys.
    pub fn platform_directory(&self) -> PathBuf {
        self.directory.join("platform")
    }

    /// The simulated platform's root certificate, in PEM.
    pub fn root_certificate(&self) -> PathBuf {
        self.platform_directory().join("root.pem")
    }

    /// Where the platform's collateral is served.
    pub fn pccs_url(&self) -> &str {
        &self.pccs_url
    }

    /// The path of one of our binaries.
    pub fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// The `adytum` command with these arguments, in the deployment's directory.
    pub fn adytum<I: AsRef<str>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(self.binary("adytum"));
        command.current_dir(&self.directory).env_remove("RUST_LOG").env_remove("PCCS_URL");
        command.envs(self.log_environment());
        command.args(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        command
    }

    /// Runs `adytum` and gives what it printed.
    pub async fn run_adytum<I: AsRef<str>>(&self, arguments: impl IntoIterator<Item = I>) -> Result<String> {
        run(self.adytum(arguments)).await
    }

    /// The arguments by which a process shows evidence of this platform.
    pub fn attestation_arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--tee=simulation={}", self.platform_directory().display()),
            format!("--collateral={}", self.pccs_url),
        ];
        if let Some(latency) = self.quote_latency {
            arguments.push(format!("--quote-latency={}ms", latency.as_millis()));
        }
        arguments
    }

    /// Makes an owner's key, a genesis and the policy for the broker's code, and
    /// starts a broker. Everything lies in `NAME/`.
    pub async fn create_broker(&self, name: &str) -> Result<Broker> {
        let directory = self.directory.join(name);
        fs::create_dir(&directory).with_context(|| format!("create {}", directory.display()))?;
        let path = |file: &str| directory.join(file).display().to_string();
        self.run_adytum(["owner", "new", "--out", &path("owner.pem")]).await?;
        let owner = self.run_adytum(["owner", "show", &path("owner.pem")]).await?;
        let owner = word_with(&owner, "ed25519:")?;
        let recovery = self.run_adytum(["recovery-key", "new", "--out", &path("recovery.key")]).await?;
        let recovery = word_with(&recovery, "age1")?;
        self.run_adytum([
            "genesis",
            "new",
            "--owner",
            &owner,
            "--threshold",
            "1",
            "--out",
            &path("genesis.toml"),
        ])
        .await?;
        let shown = self.run_adytum(["genesis", "show", &path("genesis.toml")]).await?;
        let genesis_digest = hexadecimal_word(&shown)?;
        let measured = self
            .run_adytum(["measure", "--broker", &self.binary("adytum-broker").display().to_string()])
            .await?;
        let measurement = hexadecimal_word(&measured)?;
        fs::write(directory.join("broker-policy.toml"), simulated_policy(measurement))?;
        let mut broker = Broker {
            name: name.to_owned(),
            directory,
            owner,
            recovery,
            genesis_digest,
            address: String::new(),
            process: None,
        };
        self.start_broker(&mut broker).await?;
        Ok(broker)
    }

    /// Starts a broker that has its genesis, again if it ran before.
    pub async fn start_broker(&self, broker: &mut Broker) -> Result<()> {
        let mut process = self.spawn_broker(broker, &self.binary("adytum-broker"), &[]).await?;
        broker.address = process.wait_for("Server listening on ", START).await?;
        broker.process = Some(process);
        Ok(())
    }

    /// [`Self::start_broker`] with this flag for a port of its own. Gives that port's address,
    /// which follows these words in the broker's output.
    pub async fn start_broker_listening(
        &self,
        broker: &mut Broker,
        flag: &str,
        words: &str,
    ) -> Result<String> {
        let mut process = self.spawn_broker(broker, &self.binary("adytum-broker"), &[flag]).await?;
        let address = process.wait_for(words, START).await?;
        broker.address = process.wait_for("Server listening on ", START).await?;
        broker.process = Some(process);
        Ok(address)
    }

    /// Starts this binary with these further flags on a broker's genesis and state.
    /// It is not awaited.
    pub async fn spawn_broker(&self, broker: &Broker, binary: &Path, flags: &[&str]) -> Result<Process> {
        let mut command = Command::new(binary);
        command
            .env_remove("PCCS_URL")
            .envs(self.log_environment())
            .arg("--genesis")
            .arg(broker.genesis())
            .args(self.attestation_arguments())
            .arg("--state-directory")
            .arg(broker.state())
            .args(flags)
            .arg("127.0.0.1:0");
        Process::start(&broker.name, command, &self.directory).await
    }

    /// The words of an `adytum` command followed by the arguments by which it finds
    /// and judges this broker.
    pub fn with_broker(&self, broker: &Broker, words: &[&str]) -> Vec<String> {
        let mut arguments: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        arguments.extend(["--broker".into(), broker.address.clone()]);
        arguments.extend(self.judgement_arguments(broker));
        arguments
    }

    /// The words by which the owner's tool verifies that this broker answers at
    /// `address`.
    pub fn verification_of(&self, broker: &Broker, address: &str) -> Vec<String> {
        let mut arguments = vec!["broker".to_owned(), "verify".to_owned(), address.to_owned()];
        arguments.extend(self.judgement_arguments(broker));
        arguments
    }

    /// The certificate that clients trust, in PEM, of the authority that this broker
    /// is.
    pub async fn certificate_authority(&self, broker: &Broker) -> Result<String> {
        let mut words = vec!["broker".to_owned(), "ca".to_owned(), broker.address.clone()];
        words.extend(self.judgement_arguments(broker));
        self.run_adytum(words).await
    }

    fn judgement_arguments(&self, broker: &Broker) -> Vec<String> {
        vec![
            "--genesis".into(),
            broker.genesis().display().to_string(),
            "--broker-policy".into(),
            broker.policy().display().to_string(),
            "--trust-simulation".into(),
            self.root_certificate().display().to_string(),
            "--collateral".into(),
            self.pccs_url.clone(),
            "--heads".into(),
            broker.directory.join("heads.json").display().to_string(),
        ]
    }

    /// Writes the measured configuration of a replica that serves from this
    /// broker's keys, and gives its identity.
    pub async fn configure_replica(&self, name: &str, broker: &Broker) -> Result<ReplicaConfiguration> {
        let path = self.directory.join(format!("{name}.toml"));
        let policy = fs::read_to_string(broker.policy())?;
        let root = fs::read_to_string(self.root_certificate())?;
        fs::write(&path, replica_configuration(&broker.genesis_digest, &policy, &root))?;
        let measured = self
            .run_adytum([
                "measure",
                "--configuration",
                &path.display().to_string(),
                "--program",
                &self.binary("adytum-serving").display().to_string(),
            ])
            .await?;
        Ok(ReplicaConfiguration { path, identity: hexadecimal_word(&measured)? })
    }

    /// Starts a replica with this binary; it is not awaited.
    pub async fn spawn_replica(&self, name: &str, replica: &Replica<'_>) -> Result<Process> {
        self.spawn_replica_with(name, replica, &[]).await
    }

    /// As [`Self::spawn_replica`], with further flags.
    pub async fn spawn_replica_with(
        &self,
        name: &str,
        replica: &Replica<'_>,
        flags: &[&str],
    ) -> Result<Process> {
        let mut command = Command::new(replica.binary);
        command
            .env_clear()
            .envs(self.log_environment())
            .arg("--port=0")
            .arg(format!("--model_name={}", replica.model))
            .arg(format!("--model_base_path={}", replica.models.display()))
            .arg("--ssl_config_file=/etc/tf_ssl.cfg")
            .arg(format!("--configuration={}", replica.configuration.display()))
            .arg(format!("--broker={}", replica.broker))
            .args(self.attestation_arguments())
            .args(flags)
            .stdin(Stdio::null());
        Process::start(name, command, &self.directory).await
    }

    /// Starts a replica with the genuine binary and waits until it serves; gives
    /// its port too.
    pub async fn start_replica(&self, name: &str, replica: &Replica<'_>) -> Result<(Process, u16)> {
        let mut process = self.spawn_replica(name, replica).await?;
        let rest = process.wait_for("Running gRPC ModelServer at 0.0.0.0:", START).await?;
        let port = rest.split_whitespace().next().unwrap_or_default();
        Ok((process, port.parse().with_context(|| format!("the port in {rest:?}"))?))
    }

    /// Ends the platform.
    pub async fn stop(&mut self) {
        self.platform.stop().await;
    }
}

/// A broker with its genesis, and its process.
pub struct Broker {
    name: String,
    directory: PathBuf,
    owner: String,
    recovery: String,
    genesis_digest: String,
    address: String,
    process: Option<Process>,
}

impl Broker {
    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The genesis file.
    pub fn genesis(&self) -> PathBuf {
        self.directory.join("genesis.toml")
    }

    /// Where its state lies.
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// The genesis digest in hexadecimal.
    pub fn genesis_digest(&self) -> &str {
        &self.genesis_digest
    }

    /// The policy that the broker's code must meet.
    pub fn policy(&self) -> PathBuf {
        self.directory.join("broker-policy.toml")
    }

    /// The owner's signing key.
    pub fn owner_key(&self) -> PathBuf {
        self.directory.join("owner.pem")
    }

    /// The owner's public key.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Who alone can bring its root key back: an age recipient, whose identity is in
    /// `recovery.key`.
    pub fn recovery(&self) -> &str {
        &self.recovery
    }

    /// Where its files lie.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The running process.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Ends the broker.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop().await;
        }
    }
}

/// A replica's measured configuration and what it amounts to.
#[derive(Clone, Debug)]
pub struct ReplicaConfiguration {
    pub path: PathBuf,
    /// The workload identity in hexadecimal.
    pub identity: String,
}

/// Where cargo put the binaries of the profile that this test or program was built
/// with; builds what is missing.
pub async fn built_binaries() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let mut directory = this.parent().context("a program lies in a directory")?;
    if directory.ends_with("deps") {
        directory = directory.parent().context("deps lies in a directory")?;
    }
    if BINARIES.iter().any(|name| !directory.join(name).is_file()) {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--workspace", "--bins", "--quiet"]);
        if directory.ends_with("release") {
            command.arg("--release");
        }
        run(command).await?;
    }
    Ok(directory.to_owned())
}

/// How a replica is started.
#[derive(Clone, Copy, Debug)]
pub struct Replica<'a> {
    pub binary: &'a Path,
    pub configuration: &'a Path,
    pub broker: &'a str,
    pub model: &'a str,
    /// The model's base path.
    pub models: &'a Path,
}

/// A copy of a program in which one byte is different: a padding byte of the ELF
/// header, so that it still runs.
pub fn tampered_copy(program: &Path, copy: &Path) -> Result<()> {
    fs::copy(program, copy).with_context(|| format!("copy {}", program.display()))?;
    let mut bytes = fs::read(copy)?;
    // e_ident[15], the last of the padding bytes (System V ABI, figure 4-4).
    let padding = bytes.get_mut(15).ok_or_else(|| anyhow!("{} is too short", program.display()))?;
    *padding ^= 1;
    fs::write(copy, bytes).with_context(|| format!("write {}", copy.display()))
}

/// Copies a directory tree of plain files.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &to.join(entry.file_name()))?;
        } else {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// The first word of a text that begins so.
pub fn word_with(text: &str, prefix: &str) -> Result<String> {
    text.split_whitespace()
        .find(|word| word.starts_with(prefix))
        .map(str::to_owned)
        .ok_or_else(|| anyhow!("no word with {prefix:?} in: {text}"))
}

/// The first word of 64 hexadecimal digits.
pub fn hexadecimal_word(text: &str) -> Result<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .find(|word| word.len() == 64 && word.chars().all(|c| c.is_ascii_hexdigit()))
        .map(str::to_owned)
        .ok_or_else(|| anyhow!("no digest in: {text}"))
}

fn replica_configuration(genesis: &str, broker_policy: &str, root: &str) -> String {
    format!(
        r#"format = "adytum workload v1"

[program]
arguments = [
    "--port={{number}}",
    "--model_name={{name}}",
    "--model_base_path={{path}}",
    "--ssl_config_file=/etc/tf_ssl.cfg",
]

[broker]
genesis = "{genesis}"
simulation_root = """
{root}"""

[broker.policy]
{broker_policy}
[[secret]]
name = "ssl_config"
path = "/etc/tf_ssl.cfg"

[[secret]]
name = "model_key"
"#
    )
}
