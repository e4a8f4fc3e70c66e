//! The thread that holds what is served to what is there, and those who ask it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, oneshot, watch as progress};

use super::{ConfigurationError, Keys, Manager, ModelServerConfig, Round, root::Inside};

/// The largest file of a configuration in bytes.
const LARGEST_CONFIGURATION: u64 = 1 << 20;

/// How often files are looked at.
#[derive(Clone, Debug, Default)]
pub struct Intervals {
    /// The models' directories; `None`: only at the start and when it is asked for.
    pub directories: Option<Duration>,
    /// The file of the configuration and how often it is read; without the interval
    /// only when it is asked for.
    pub configuration: Option<(PathBuf, Option<Duration>)>,
}

/// The reason why a configuration did not come into effect.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The configuration's file can't be read.
    ///
    /// Do: check the path in `--model_config_file`, and that the server's user may read
    /// it.
    ///
    /// Retry: later
    #[error("--model_config_file {}: {reason}", path.display())]
    File {
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The configuration's file, read again, has no models. It may be a file that is
    /// being written.
    ///
    /// Do: list the models that are to be served; to serve none, end the server.
    #[error("the configuration has no models")]
    Empty,
    /// The configuration names a directory outside of the root that the server was
    /// started with.
    ///
    /// Do: put the model below the root (`--model_root`).
    #[error("model {name}: {} is not inside {}, the root of all models", base.display(), root.display())]
    OutsideRoot { name: String, base: PathBuf, root: PathBuf },
    /// The server was started without a root, so that nobody may name directories.
    ///
    /// Do: start the server with `--model_root`.
    #[error("models can't be named while the server runs, since it was started without --model_root")]
    NoRoot,
    /// The configuration is in effect, and some of its models have no version that
    /// answers.
    ///
    /// Do: follow the reasons in the message.
    ///
    /// Retry: later
    #[error("{} servable(s) did not become available: {}", missing.len(), join(missing))]
    NotAvailable {
        /// Names and reasons.
        missing: Vec<(String, String)>,
    },
    /// The configuration is in effect, and some of its labels name versions that are not
    /// available.
    ///
    /// Do: give labels to versions that are available, or start the server with
    /// `--allow_version_labels_for_unavailable_models`.
    #[error("{}", labels.join("; "))]
    Labels {
        /// One sentence for each.
        labels: Vec<String>,
    },
    /// The server is shutting down.
    ///
    /// Do: ask another replica.
    #[error("the server is stopping")]
    Stopped,
}

impl ReloadError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Configuration(error) => error.code(),
            Self::File { .. } => "model-config-unreadable",
            Self::Empty => "model-config-empty",
            Self::OutsideRoot { .. } => "model-outside-root",
            Self::NoRoot => "model-no-root",
            Self::NotAvailable { .. } => "model-not-available",
            Self::Labels { .. } => "model-labels-unassigned",
            Self::Stopped => "reload-stopped",
        }
    }
}

fn join(missing: &[(String, String)]) -> String {
    let each: Vec<String> =
        missing.iter().map(|(name, reason)| format!("{{name: {name}}} due to error: {reason}")).collect();
    each.join("; ")
}

enum Command {
    Apply(ModelServerConfig, oneshot::Sender<Result<(), ReloadError>>),
    LookAgain,
    Keys(Keys),
}

/// Asks for changes of what is served. Clones are the same.
#[derive(Clone)]
pub struct Reloads {
    sender: Sender<Command>,
}

impl Reloads {
    /// Puts a configuration in the place of the one that is in effect, and waits until
    /// its models answer or have failed. Models that are not in it are unloaded; those
    /// that are loaded and wanted stay. The directories must be below the server's root.
    /// An error of the kinds `NotAvailable` and `Labels` means that the configuration is
    /// in effect all the same, as for TensorFlow Serving.
    pub async fn apply(&self, configuration: ModelServerConfig) -> Result<(), ReloadError> {
        let (sender, answer) = oneshot::channel();
        self.sender.send(Command::Apply(configuration, sender)).map_err(|_| ReloadError::Stopped)?;
        answer.await.unwrap_or(Err(ReloadError::Stopped))
    }

    /// Reads the configuration's file again, and looks at all directories. Versions that
    /// failed have another try.
    pub fn look_again(&self) {
        // A thread that has ended has nothing to look at.
        let _ = self.sender.send(Command::LookAgain);
    }

    /// From now on versions are judged and opened with these.
    pub fn set_keys(&self, keys: Keys) {
        let _ = self.sender.send(Command::Keys(keys));
    }
}

/// What the thread says of itself.
pub struct Watch {
    /// Asks for changes.
    pub reloads: Reloads,
    /// The last round.
    pub progress: progress::Receiver<Option<Round>>,
    /// A version waits for a key or a rule that the broker may have.
    pub wants_keys: Arc<Notify>,
}

/// Starts the thread. It ends when all [`Reloads`] are gone.
pub fn watch(manager: Manager, intervals: Intervals) -> io::Result<Watch> {
    let (sender, receiver) = mpsc::channel();
    let (progress, rounds) = progress::channel(None);
    let wants_keys = Arc::new(Notify::new());
    let read = intervals.configuration.as_ref().and_then(|(path, _)| read_configuration(path).ok());
    let thread = Thread { manager, intervals, progress, wants_keys: Arc::clone(&wants_keys), read };
    std::thread::Builder::new().name("models".to_owned()).spawn(move || thread.run(&receiver))?;
    Ok(Watch { reloads: Reloads { sender }, progress: rounds, wants_keys })
}

struct Thread {
    manager: Manager,
    intervals: Intervals,
    progress: progress::Sender<Option<Round>>,
    wants_keys: Arc<Notify>,
    /// The configuration's file as it was read last.
    read: Option<Vec<u8>>,
}

impl Thread {
    fn run(mut self, receiver: &Receiver<Command>) {
        let start = Instant::now();
        let mut directories = self.intervals.directories.map(|interval| start + interval);
        let mut configuration = self.configuration_interval().map(|interval| start + interval);
        let mut again = self.round().again;
        loop {
            let next = [directories, configuration, again].into_iter().flatten().min();
            let command = match next {
                Some(next) => receiver.recv_timeout(next.saturating_duration_since(Instant::now())),
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match command {
                Ok(Command::Apply(configuration, answer)) => {
                    // Nobody may be waiting any more.
                    let _ = answer.send(self.apply(configuration));
                }
                Ok(Command::LookAgain) => {
                    self.manager.forget_failures();
                    self.read = None;
                    self.reread();
                }
                Ok(Command::Keys(keys)) => self.manager.set_keys(keys),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            if configuration.is_some_and(|when| when <= now) {
                configuration = self.configuration_interval().map(|interval| now + interval);
                self.reread();
            }
            if directories.is_some_and(|when| when <= now) {
                directories = self.intervals.directories.map(|interval| now + interval);
            }
            again = self.round().again;
        }
    }

    fn configuration_interval(&self) -> Option<Duration> {
        self.intervals.configuration.as_ref().and_then(|(_, interval)| *interval)
    }

    fn round(&mut self) -> Round {
        let round = self.manager.round(Instant::now());
        if round.wants_keys {
            self.wants_keys.notify_one();
        }
        self.progress.send_replace(Some(round.clone()));
        round
    }

    fn apply(&mut self, configuration: ModelServerConfig) -> Result<(), ReloadError> {
        let root = self.manager.options().root.as_deref().ok_or(ReloadError::NoRoot)?;
        check_root(&configuration, root)?;
        self.manager.configure(configuration);
        self.manager.forget_failures();
        let missing = self.round().missing;
        if !missing.is_empty() {
            return Err(ReloadError::NotAvailable { missing });
        }
        let labels = self.manager.unassigned_labels();
        if labels.is_empty() { Ok(()) } else { Err(ReloadError::Labels { labels }) }
    }

    /// Reads the configuration's file, and takes it if it is another one and valid.
    fn reread(&mut self) {
        let Some((path, _)) = self.intervals.configuration.clone() else { return };
        let root = self.manager.options().root.clone();
        let read = read_configuration(&path);
        if let (Ok(text), Some(before)) = (&read, &self.read)
            && text == before
        {
            return;
        }
        let parsed = read.and_then(|text| {
            let parsed = parse_configuration(&text, root.as_deref());
            // What is wrong with a text is said once.
            self.read = Some(text);
            parsed.and_then(|configuration| {
                if configuration.models.is_empty() { Err(ReloadError::Empty) } else { Ok(configuration) }
            })
        });
        match parsed {
            Ok(configuration) if configuration == *self.manager.configuration() => {}
            Ok(configuration) => {
                let models = configuration.models.len();
                tracing::info!(models, "the configuration of models has changed");
                self.manager.configure(configuration);
            }
            Err(error) => {
                tracing::error!(code = error.code(), "the configuration of models stays as it is: {error}")
            }
        }
    }
}

/// Reads the file of a configuration.
pub fn load_configuration(path: &Path, root: Option<&Path>) -> Result<ModelServerConfig, ReloadError> {
    parse_configuration(&read_configuration(path)?, root)
}

fn parse_configuration(text: &[u8], root: Option<&Path>) -> Result<ModelServerConfig, ReloadError> {
    let configuration = ModelServerConfig::parse(text, root)?;
    if let Some(root) = root {
        check_root(&configuration, root)?;
    }
    Ok(configuration)
}

fn read_configuration(path: &Path) -> Result<Vec<u8>, ReloadError> {
    let failed = |reason: String| ReloadError::File { path: path.to_owned(), reason };
    let length = fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if length > LARGEST_CONFIGURATION {
        return Err(failed(format!("{length} bytes are more than any configuration has")));
    }
    fs::read(path).map_err(|error| failed(error.to_string()))
}

/// Refuses a configuration with a directory outside of the root.
pub fn check_root(configuration: &ModelServerConfig, root: &Path) -> Result<(), ReloadError> {
    for model in &configuration.models {
        if !Inside::of(root).holds(&model.base) {
            let (name, base, root) = (model.name.clone(), model.base.clone(), root.to_owned());
            return Err(ReloadError::OutsideRoot { name, base, root });
        }
    }
    Ok(())
}
