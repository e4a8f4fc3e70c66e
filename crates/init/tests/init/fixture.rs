//! A simulated platform, a broker in this process, and `adytum-init` as another.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use adytum_api::broker::{ApplyManifest, PutSecret, command};
use adytum_broker::{Broker, ServerLimits};
use adytum_evidence::{
    claims::TcbStatus,
    clock::{Clock, SystemClock},
    measurement::{Sha256Digest, WorkloadIdentity},
    verifier::{TrustRoot, Verifier},
};
use adytum_governance::{
    genesis::Genesis, manifest::SignedManifest, measured::MeasuredConfiguration as BrokerMeasured,
    occlum::OcclumConfiguration,
};
use adytum_init::configuration::measure;
use adytum_signing::OwnerSigningKey;
use adytum_sim::Platform;
pub(crate) use adytum_testkit::broker::RunningBroker;
use adytum_testkit::{
    broker,
    manifest::{Manifest, secret_table, simulated_policy},
    session,
};
use tokio::{
    io::AsyncReadExt,
    net::TcpListener,
    process::{Child, Command},
    time::timeout,
};

/// Nothing here takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn init_binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_adytum-init"))
}

/// A directory on a tmpfs, or a reason to skip the test.
pub(crate) fn memory_directory() -> Option<tempfile::TempDir> {
    let is_tmpfs = nix::sys::statfs::statfs("/dev/shm")
        .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC);
    let directory = is_tmpfs.then(|| tempfile::tempdir_in("/dev/shm").ok()).flatten();
    if directory.is_none() {
        println!("SKIPPED: /dev/shm is no writable tmpfs");
    }
    directory
}

/// `/bin/sh`, its digest, and the libraries it loads, which are those of this
/// test's own C library; or a reason to skip.
pub(crate) struct Shell {
    pub(crate) sha256: Sha256Digest,
    pub(crate) libraries: Vec<PathBuf>,
}

impl Shell {
    pub(crate) const PATH: &'static str = "/bin/sh";

    pub(crate) fn find() -> Option<Self> {
        let loader = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"]
            .into_iter()
            .map(PathBuf::from)
            .find(|path| path.exists());
        let is_elf = fs::read(Self::PATH).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"));
        let (Some(loader), true) = (loader, is_elf) else {
            println!("SKIPPED: no /bin/sh of a glibc system");
            return None;
        };
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mapped = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).map(PathBuf::from);
        let libc = mapped.filter(|path| path.file_name().is_some_and(|name| name == "libc.so.6"));
        let libraries: BTreeSet<PathBuf> = libc.chain([loader]).collect();
        let sha256 = Sha256Digest::of_file(Path::new(Self::PATH)).unwrap();
        Some(Self { sha256, libraries: libraries.into_iter().collect() })
    }

    /// The libraries' tables.
    pub(crate) fn toml(&self) -> String {
        let library = |path: &PathBuf| {
            let digest = Sha256Digest::of_file(path).unwrap();
            format!("[[library]]\npath = \"{}\"\nsha256 = \"{digest}\"\n", path.display())
        };
        self.libraries.iter().map(library).collect()
    }
}

/// What a test's configuration says; the rest is the fixture's.
#[derive(Clone, Default)]
pub(crate) struct Workload {
    /// Tables that come first, such as `[environment]`.
    pub(crate) tables: String,
    /// `[[secret]]` tables.
    pub(crate) secrets: String,
}

pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    platform: Arc<Platform>,
    pub(crate) owner: OwnerSigningKey,
    genesis: Genesis,
    /// Numbers of sessions in which an owner commands.
    sessions: AtomicU8,
    pub(crate) shell: Shell,
    /// What the manifest has in addition to `ssl_config` and `model_key`.
    pub(crate) provision: Provision,
    /// The broker's clock.
    pub(crate) clock: Arc<dyn Clock>,
}

/// More for the manifest and the broker.
#[derive(Clone, Default)]
pub(crate) struct Provision {
    /// Names, kinds and values of secrets.
    pub(crate) secrets: Vec<(&'static str, &'static str, String)>,
    /// Names of models.
    pub(crate) models: Vec<&'static str>,
    /// `[[model]]` tables.
    pub(crate) tables: String,
    /// Rules of the workload's policy besides its identity.
    pub(crate) policy: String,
    /// The attestation service of Azure whose tokens show the workload, in place of quotes: its
    /// name and its JWK set.
    pub(crate) azure: Option<(String, String)>,
}

impl Provision {
    /// The policy for a workload of this identity.
    fn policy_for(&self, identity: WorkloadIdentity) -> String {
        let of_platform = match &self.azure {
            None => simulated_policy(identity),
            // Of an enclave, a token has no TCB status.
            Some(_) => {
                let every = TcbStatus::ALL.map(|status| format!("\"{status}\"")).join(", ");
                format!(
                    "vendors = [\"azure\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{identity}\"]\nidentity = \
                     [\"{identity}\"]\ntcb_status = [{every}]\n"
                )
            }
        };
        of_platform + &self.policy
    }
}

impl Fixture {
    pub(crate) fn new() -> Option<Self> {
        let shell = Shell::find()?;
        let directory = tempfile::tempdir().unwrap();
        let platform = Platform::create(directory.path().join("platform")).unwrap();
        let owner = OwnerSigningKey::generate().unwrap();
        let genesis = Genesis::create([owner.public_key()], 1).unwrap();
        let (sessions, provision) = (AtomicU8::new(100), Provision::default());
        let clock = Arc::new(SystemClock);
        Some(Self { directory, platform, owner, genesis, sessions, shell, provision, clock })
    }

    pub(crate) fn platform(&self) -> &Arc<Platform> {
        &self.platform
    }

    pub(crate) fn genesis(&self) -> Genesis {
        self.genesis.clone()
    }

    /// Trusts this fixture's platform.
    pub(crate) fn verifier(&self) -> Verifier {
        let root = pem::parse(self.platform.root_certificate_pem()).unwrap();
        let roots = vec![TrustRoot::simulation(root.contents()).unwrap()];
        Verifier::new(roots, Arc::new(self.platform.collateral_source()), Arc::new(SystemClock))
    }

    pub(crate) fn broker_identity() -> WorkloadIdentity {
        BrokerMeasured::default().identity(Sha256Digest::of_this_program().unwrap())
    }

    /// Writes a measured configuration for `/bin/sh -c SCRIPT`, and gives its
    /// path.
    pub(crate) fn configuration(&self, name: &str, workload: &Workload) -> PathBuf {
        let root = self.platform.root_certificate_pem();
        let text = format!(
            "format = \"adytum workload v1\"\n{}\n[program]\npath = \"{}\"\nsha256 = \"{}\"\n\
             required_arguments = [[\"-c\", \"*\"]]\narguments = [\"extra\"]\n{}\n[broker]\ngenesis = \"{}\"\n\
             simulation_root = \"\"\"\n{root}\"\"\"\n[broker.policy]\n{}{}\n",
            workload.tables,
            Shell::PATH,
            self.shell.sha256,
            self.shell.toml(),
            self.genesis.digest(),
            simulated_policy(Self::broker_identity()),
            workload.secrets,
        );
        let path = self.directory.path().join(format!("{name}.toml"));
        fs::write(&path, text).unwrap();
        path
    }

    /// A broker on a free port that gives `ssl_config` and `model_key` to this
    /// workload.
    pub(crate) async fn broker(&self, configuration: &Path) -> RunningBroker {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.broker_on(listener, configuration, &self.genesis).await
    }

    /// A broker that gives its secrets to this identity.
    pub(crate) async fn broker_for(&self, identity: WorkloadIdentity) -> RunningBroker {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.start(listener, identity, &self.genesis).await
    }

    /// A broker of another genesis, otherwise the same.
    pub(crate) async fn foreign_broker(&self, configuration: &Path) -> RunningBroker {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let genesis = Genesis::create([self.owner.public_key()], 1).unwrap();
        self.broker_on(listener, configuration, &genesis).await
    }

    pub(crate) async fn broker_on(
        &self,
        listener: TcpListener,
        configuration: &Path,
        genesis: &Genesis,
    ) -> RunningBroker {
        let identity = measure(configuration, init_binary(), Path::new(Shell::PATH)).unwrap().identity;
        self.start(listener, identity, genesis).await
    }

    async fn start(
        &self,
        listener: TcpListener,
        identity: WorkloadIdentity,
        genesis: &Genesis,
    ) -> RunningBroker {
        let store = broker::in_memory(genesis);
        let mut configuration =
            broker::configuration(&self.platform, Self::broker_identity(), genesis, store);
        configuration.clock = Arc::clone(&self.clock);
        let broker = Broker::start(configuration).unwrap();
        self.provision(&broker, identity).await;
        RunningBroker::serve_on(listener, broker, ServerLimits::default())
    }

    /// A broker without a manifest, with this Occlum configuration.
    pub(crate) async fn broker_with_occlum(&self, occlum: OcclumConfiguration) -> RunningBroker {
        let store = broker::in_memory(&self.genesis);
        let identity = Self::broker_identity();
        let mut configuration = broker::configuration(&self.platform, identity, &self.genesis, store);
        configuration.occlum = Some(occlum);
        RunningBroker::start(configuration).await
    }

    async fn provision(&self, broker: &Arc<Broker>, identity: WorkloadIdentity) {
        let root = self.platform.root_certificate_pem();
        let secret = |manifest: Manifest, name: &str, kind: &str| manifest.secret(name, kind, &["shell"]);
        let manifest = Manifest::simulation(broker.genesis_digest(), 1, &[root])
            .table("[leases]\nduration = \"10s\"\n")
            .workload(
                "shell",
                &self.provision.policy_for(identity),
                &self.provision.models,
            )
            .secret("ssl_config", "opaque", &["shell"])
            .secret("model_key", "opaque", &["shell"])
            .secret("random_key", "random", &["shell"])
            .table(format!(
                "{}[secret.certificate]\ndns_names = [\"localhost\"]\nusages = [\"server\"]\nlifetime = \"24h\"\n",
                secret_table("tls", "tls-certificate", &["shell"])
            ));
        let further = &self.provision.secrets;
        let manifest =
            further.iter().fold(manifest, |manifest, (name, kind, _)| secret(manifest, name, kind));
        let mut text = manifest.table(&self.provision.tables).text();
        if let Some((issuer, keys)) = &self.provision.azure {
            text = text.replacen("[trust]\nvendors = [", "[trust]\nvendors = [\"azure\", ", 1);
            text += &format!("[[trust.azure]]\nissuer = \"{issuer}\"\nkeys = '''{keys}'''\n");
        }
        let mut manifest = SignedManifest::unsigned(text);
        manifest.sign(&self.owner).unwrap();
        let signatures = manifest.approvals.iter().map(|approval| approval.to_wire()).collect();
        let manifest = manifest.text.clone().into_bytes();
        self.command(broker, 1, 0, command::Command::ApplyManifest(ApplyManifest { manifest, signatures }))
            .await;
        let first = [("ssl_config", "", "sesame".to_owned()), ("model_key", "", "mellon".to_owned())];
        for (session, (name, _, value)) in (2..).zip(first.iter().chain(&self.provision.secrets)) {
            let put = PutSecret { name: (*name).to_owned(), value: value.as_bytes().to_vec() };
            self.command(broker, session, 1, command::Command::PutSecret(put)).await;
        }
    }

    /// The certificates of a broker's authority (PEM).
    pub(crate) fn authority(&self, running: &RunningBroker) -> Vec<u8> {
        running.broker.status().certificate_authority
    }

    /// An owner's command, after those of the provisioning.
    pub(crate) async fn order(&self, running: &RunningBroker, command: command::Command) {
        let session = self.sessions.fetch_add(1, Ordering::SeqCst);
        self.command(&running.broker, session, 1, command).await;
    }

    async fn command(&self, broker: &Arc<Broker>, session: u8, version: u64, command: command::Command) {
        let session = session::unattested(session);
        let signed = adytum_governance::command::sign(
            &session.request_binding,
            broker.genesis_digest(),
            version,
            command,
            &[&self.owner],
        );
        broker.execute(&session, signed).await.unwrap();
    }

    /// `adytum-init` with the fixture's flags, for `/bin/sh -c SCRIPT`.
    pub(crate) fn init(&self, configuration: &Path, broker: SocketAddr, script: &str) -> Init {
        self.init_without_address(configuration, script).flag(&format!("--broker={broker}"))
    }

    /// The same without the address of a key source.
    pub(crate) fn init_without_address(&self, configuration: &Path, script: &str) -> Init {
        let mut command = Command::new(init_binary());
        command
            .env_clear()
            .arg(format!("--configuration={}", configuration.display()))
            .arg(format!("--tee=simulation={}", self.directory.path().join("platform").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Init { command, program: vec![Shell::PATH.to_owned(), "-c".to_owned(), script.to_owned()] }
    }
}

/// A start of `adytum-init` being put together.
pub(crate) struct Init {
    pub(crate) command: Command,
    pub(crate) program: Vec<String>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// It ended by itself with this exit code and this stable code.
    pub(crate) fn assert_refused(&self, exit: i32, code: &str) {
        assert_eq!(self.code(), exit, "{self:?}");
        assert!(self.stderr.contains(code), "no {code} in {self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }
}

impl Init {
    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.command.arg(flag);
        self
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn program(mut self, words: &[&str]) -> Self {
        self.program = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    pub(crate) fn start(mut self) -> Child {
        self.command.arg("--").args(&self.program).spawn().unwrap()
    }

    pub(crate) async fn run(self) -> Ended {
        ended(self.start()).await
    }
}

/// Waits for the end of a process and reads what it said.
pub(crate) async fn ended(child: Child) -> Ended {
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
    Ended {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Reads standard output up to this text.
pub(crate) async fn read_until(child: &mut Child, text: &str) -> String {
    let stdout = child.stdout.as_mut().unwrap();
    let mut read = String::new();
    let reading = async {
        while !read.contains(text) {
            let mut byte = [0];
            if stdout.read(&mut byte).await.unwrap() == 0 {
                break;
            }
            read.push(char::from(byte[0]));
        }
    };
    timeout(PATIENCE, reading).await.expect("it says something");
    if !read.contains(text) {
        let mut stderr = String::new();
        child.stderr.as_mut().unwrap().read_to_string(&mut stderr).await.unwrap();
        panic!("it said {read:?} and not {text:?}; its log: {stderr}");
    }
    read
}

/// Is there a process of this id, and is it no zombie?
pub(crate) fn is_running(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
