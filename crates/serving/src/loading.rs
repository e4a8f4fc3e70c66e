//! From directories to models that answer requests, while the server runs.
//!
//! A [`Manager`] holds the configuration. Each of its rounds looks at the directories,
//! loads what is new and unloads what is no longer wanted. [`watch`] runs the rounds on a
//! thread of their own, and [`Reloads`] is how others ask for one.
//!
//! A new version is loaded before the old one goes, if the memory allows that. A version
//! that can't be loaded never ends one that answers.

mod budget;
mod configuration;
mod found;
mod manager;
mod records;
mod root;
mod version;
mod warm_up;
mod watch;

use std::{path::PathBuf, time::Duration};

use adytum_sealed::{keys::ModelIdentity, rule::ModelRule};

pub use budget::{MemoryBudget, WhenShort, available_memory};
pub use configuration::{
    ConfigurationError, ModelConfig, ModelServerConfig, VersionPolicy, base_path, latest_versions,
    specific_versions,
};
pub use manager::{Manager, Round};
pub use watch::{Intervals, ReloadError, Reloads, Watch, check_root, load_configuration, watch};

use crate::models::Resources;

/// The keys and rules that the broker released for models.
#[derive(Default)]
pub struct Keys {
    /// The broker's rules about models, by their names.
    pub rules: Vec<ModelRule>,
    /// Opens sealed models. Wiped when dropped.
    pub identities: Vec<ModelIdentity>,
}

/// How models are loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Whether models that are not sealed may be served.
    pub allow_plain: bool,
    /// The largest model in bytes.
    pub size_limit: u64,
    /// The resources that the runs of a model may use.
    pub resources: Resources,
    /// The directory that all models must be in, if there is one.
    pub root: Option<PathBuf>,
    /// How often a version is tried again that the system did not let be read.
    pub retries: u32,
    /// The time between such tries.
    pub retry_pause: Duration,
    /// Whether a new label may name a version that is not available.
    pub labels_of_unavailable: bool,
    /// The memory for all models.
    pub budget: MemoryBudget,
    /// The warm-up requests that come with a model.
    pub warm_up: WarmUpOptions,
    /// Whether it is tried which models may be run in batches.
    pub batching: bool,
}

/// The use of the warm-up requests that come with a model.
#[derive(Clone, Copy, Debug)]
pub struct WarmUpOptions {
    /// Whether they are run.
    pub records: bool,
    /// How often each of them is.
    pub iterations: u32,
}

/// The reason why nothing can be served.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadingError {
    /// No version of any model can be served.
    ///
    /// Do: follow the reasons in the message, one for each version; then start the server
    /// again.
    #[error("no version of {} can be served: {}", describe(.names), reasons.join("; "))]
    NoVersion {
        names: Vec<String>,
        /// One for each version.
        reasons: Vec<String>,
    },
    /// The thread that loads models ended.
    ///
    /// Do: report the message and the server's log; start the server again.
    #[error("the thread that loads models ended")]
    Ended,
}

impl LoadingError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoVersion { .. } => "no-servable-version",
            Self::Ended => "loading-ended",
        }
    }
}

fn describe(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    match quoted.as_slice() {
        [one] => format!("the model {one}"),
        all => format!("the models {}", all.join(", ")),
    }
}
