//! Finding the model's versions and loading the highest genuine one.

use std::{fs, io, path::PathBuf};

use adytum_engine::{
    engine::{Engine, LoadError, Source},
    onnx::{
        Limits,
        files::{DataFiles, Directory, NoFiles},
    },
};
use adytum_sealed::{
    directory::{ScanError, scan},
    keys::ModelIdentity,
    rule::ModelRule,
    select::{SelectedModel, Selection, select},
    unseal::UnsealError,
};

use crate::models::{Models, Resources, Servable, ServableError, VersionState};

/// Where the model is and what of it may be served.
pub struct ModelSource {
    /// The name it is served under.
    pub name: String,
    /// The directory of its versions.
    pub base: PathBuf,
    /// What the broker says about models of this name.
    pub rule: Option<ModelRule>,
    /// Opens sealed models. Wiped when dropped.
    pub identities: Vec<ModelIdentity>,
    /// Whether models that are not sealed may be served.
    pub allow_plain: bool,
    /// The largest model in bytes.
    pub size_limit: u64,
    /// What its runs may use.
    pub resources: Resources,
}

/// The reason why nothing can be served.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadingError {
    /// The model's directory can't be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// No version of the model can be served.
    ///
    /// Do: follow the reasons in the message, one for each version; then start the server
    /// again.
    #[error("no version of the model {name:?} can be served: {}", describe(.reasons))]
    NoVersion { name: String, reasons: Vec<String> },
}

impl LoadingError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Scan(error) => error.code(),
            Self::NoVersion { .. } => "no-servable-version",
        }
    }
}

fn describe(reasons: &[String]) -> String {
    match reasons {
        [] => {
            "there is none in --model_base_path; expected BASE/NUMBER/model.onnx.age with its model.seal, or \
               BASE/NUMBER/model.onnx where plain models are allowed"
                .to_owned()
        }
        reasons => reasons.join("; "),
    }
}

/// The reason why one version can't be served.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
enum VersionError {
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// The model's file can't be read.
    ///
    /// Do: check that the file is there and that the server's user may read it.
    #[error("reading the model failed: {0}")]
    Read(#[from] io::Error),
    /// The model has more bytes than the server takes.
    ///
    /// Do: raise `--max_model_bytes`, or serve a smaller model.
    #[error(
        "the model has {size} bytes, the limit is {limit}; raise --max_model_bytes, or serve a smaller model"
    )]
    TooLarge { size: u64, limit: u64 },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Servable(#[from] ServableError),
}

impl VersionError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unseal(error) => error.code(),
            Self::Read(_) => "model-unreadable",
            Self::TooLarge { .. } => "model-too-large",
            Self::Load(error) => error.code(),
            Self::Servable(error) => error.code(),
        }
    }
}

/// Loads the highest version that may be served and can be, and gives its
/// number. Every other one is logged with the reason, and its status says it.
pub fn load_highest(source: &ModelSource, engine: &dyn Engine, models: &Models) -> Result<i64, LoadingError> {
    models.declare(&source.name);
    let Selection { models: candidates, refused } =
        select(scan(&source.base)?, source.rule.as_ref(), source.allow_plain);
    let mut reasons = Vec::new();
    for refused in refused {
        tracing::warn!(model = source.name, code = refused.code(), "refused {refused}");
        let version = refused
            .path
            .ancestors()
            .find_map(|path| path.file_name()?.to_str().and_then(adytum_sealed::directory::parse_version));
        if let Some(version) = version.and_then(|version| i64::try_from(version).ok())
            && !candidates.iter().any(|candidate| number(candidate) == version)
        {
            models.set(&source.name, version, VersionState::End(Some(refused.reason.to_string())));
        }
        reasons.push(refused.to_string());
    }
    for candidate in &candidates {
        let version = number(candidate);
        models.set(&source.name, version, VersionState::Loading);
        match load_version(source, engine, candidate) {
            Ok(servable) => {
                models.set(&source.name, version, VersionState::Available(servable.into()));
                tracing::info!(model = source.name, version, sealed = is_sealed(candidate), "available");
                return Ok(version);
            }
            Err(error) => {
                let code = error.code();
                tracing::error!(model = source.name, version, code, "could not be loaded: {error}");
                models.set(&source.name, version, VersionState::End(Some(error.to_string())));
                reasons.push(format!("version {version}: {error}"));
            }
        }
    }
    Err(LoadingError::NoVersion { name: source.name.clone(), reasons })
}

/// Versions are at most `i64::MAX` ([`adytum_sealed`] refuses others).
fn number(model: &SelectedModel) -> i64 {
    i64::try_from(model.version()).unwrap_or(i64::MAX)
}

fn is_sealed(model: &SelectedModel) -> bool {
    matches!(model, SelectedModel::Sealed(_))
}

fn load_version(
    source: &ModelSource,
    engine: &dyn Engine,
    candidate: &SelectedModel,
) -> Result<Servable, VersionError> {
    // The files next to a sealed model are not sealed with it.
    let mut files: Box<dyn DataFiles> = Box::new(NoFiles);
    let file = match candidate {
        SelectedModel::Sealed(sealed) => sealed.open(&source.identities, source.size_limit)?.into_vec(),
        SelectedModel::Plain { file, .. } => {
            let size = fs::metadata(file)?.len();
            if size > source.size_limit {
                return Err(VersionError::TooLarge { size, limit: source.size_limit });
            }
            if let Some(directory) = file.parent() {
                files = Box::new(Directory::new(directory)?);
            }
            fs::read(file)?
        }
    };
    let model = engine.load(Source { file, files: files.as_ref(), limits: Limits::default() })?;
    Ok(Servable::new(source.name.clone(), number(candidate), model, source.resources.clone())?)
}
