//! Loading one version.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use adytum_engine::{
    engine::{Engine, Examples, LoadError, NoExamples, Source},
    onnx::{
        Limits,
        files::{DataFiles, Directory, NoFiles, read_whole},
    },
};
use adytum_import::{
    error::ImportError,
    files::{Directory as ImportDirectory, Files},
    limits::Limits as ImportLimits,
    saved_model::import_files,
};
use adytum_sealed::{
    directory::PlainFormat, keys::ModelIdentity, select::SelectedModel, unseal::UnsealError,
};
use bytes::Bytes;

use super::{
    LoadOptions,
    found::Candidate,
    records::WarmUpError,
    warm_up::{self, WarmUpExamples},
};
use crate::models::{Servable, ServableError};

/// The reason why one version can't be served.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
pub(super) enum VersionError {
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
    Import(#[from] ImportError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Servable(#[from] ServableError),
    #[error(transparent)]
    WarmUp(#[from] WarmUpError),
    /// The loading ended with a programming error.
    ///
    /// Do: report it with the server's log and the model; the same model fails again.
    #[error("the loading panicked")]
    Panicked,
}

impl VersionError {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Unseal(error) => error.code(),
            Self::Read(_) => "model-unreadable",
            Self::TooLarge { .. } => "model-too-large",
            Self::Import(error) => error.code(),
            Self::Load(error) => error.code(),
            Self::Servable(error) => error.code(),
            Self::WarmUp(error) => error.code(),
            Self::Panicked => "model-load-panicked",
        }
    }

    /// Whether the same bytes may be loaded later: what the system said may be over then.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Read(_)
                | Self::Unseal(
                    UnsealError::Read(_)
                        | UnsealError::File { .. }
                        | UnsealError::Thread(_)
                        | UnsealError::OutOfMemory { .. }
                )
                | Self::Import(ImportError::File { .. })
        )
    }

    /// Whether the broker may have the key meanwhile.
    pub(super) fn needs_another_key(&self) -> bool {
        matches!(self, Self::Unseal(UnsealError::WrongKey { .. }))
    }
}

/// Loads a version, runs it on what is made up and on its own warm-up requests.
pub(super) fn load_version(
    name: &str,
    base: &Path,
    candidate: &Candidate,
    identities: &[ModelIdentity],
    engine: &dyn Engine,
    options: &LoadOptions,
) -> Result<Servable, VersionError> {
    let load = || load(name, base, candidate, identities, engine, options);
    catch_unwind(AssertUnwindSafe(load)).unwrap_or(Err(VersionError::Panicked))
}

fn load(
    name: &str,
    base: &Path,
    candidate: &Candidate,
    identities: &[ModelIdentity],
    engine: &dyn Engine,
    options: &LoadOptions,
) -> Result<Servable, VersionError> {
    // The files next to a sealed model are not sealed with it.
    let mut files: Box<dyn DataFiles> = Box::new(NoFiles);
    let limit = options.size_limit;
    let file = match &candidate.model {
        SelectedModel::Sealed(sealed) => sealed.open(identities, limit)?.into_vec(),
        SelectedModel::Plain { file, format, .. } => {
            let size = candidate.size();
            if size > limit {
                return Err(VersionError::TooLarge { size, limit });
            }
            match (format, file.parent()) {
                (PlainFormat::Onnx, Some(directory)) => {
                    files = Box::new(Directory::new(directory)?);
                    read_whole(file)?
                }
                (PlainFormat::SavedModel, Some(directory)) => {
                    let limits = ImportLimits { constant_bytes: limit, ..ImportLimits::default() };
                    import_files(&WithinBase::new(base, directory)?, limits)?.onnx
                }
                // A file without a directory is no file.
                (_, None) => return Err(io::Error::from(io::ErrorKind::NotFound).into()),
            }
        }
    };
    let records = match &candidate.model {
        SelectedModel::Plain { file, .. } if options.warm_up.records => file.parent(),
        // The requests next to a sealed model are not sealed with it.
        _ => None,
    };
    let warm_up_examples = records.map(|directory| WarmUpExamples { directory });
    let examples: &dyn Examples = match &warm_up_examples {
        Some(examples) => examples,
        None => &NoExamples,
    };
    let model = engine.load(Source { file, files: files.as_ref(), limits: Limits::default(), examples })?;
    let servable = Servable::new(name.to_owned(), candidate.version, model, options.resources.clone())?;
    if options.batching {
        servable.try_batches(options.resources.cores);
    }
    if let Some(directory) = records {
        warm_up::replay(directory, &servable, options.warm_up.iterations)?;
    }
    Ok(servable)
}

/// The files of a SavedModel. Links that lead out of the model's directory are refused.
struct WithinBase {
    root: PathBuf,
    directory: PathBuf,
    files: ImportDirectory,
}

impl WithinBase {
    fn new(base: &Path, directory: &Path) -> io::Result<Self> {
        Ok(Self {
            root: base.canonicalize()?,
            directory: directory.to_owned(),
            files: ImportDirectory::new(directory),
        })
    }

    fn check(&self, name: &str) -> io::Result<()> {
        match self.directory.join(name).canonicalize() {
            Ok(real) if real.starts_with(&self.root) => Ok(()),
            Ok(_) => Err(io::Error::other("a symbolic link that leads out of the model directory")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Files for WithinBase {
    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        self.check(name)?;
        self.files.length(name)
    }

    fn read(&self, name: &str, offset: u64, length: usize) -> io::Result<Bytes> {
        self.check(name)?;
        self.files.read(name, offset, length)
    }
}
