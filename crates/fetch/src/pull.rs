//! One look at the source: new versions are fetched, and those that are gone may be removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use adytum_sealed::directory::{parse_version, scan};

use crate::{
    content::{Whole, whole},
    error::PullError,
    listing::{Limits, Listing, RemoteVersion, list},
    selection::Selection,
    source::Source,
    staging::{Staging, write_error},
    transfer::fetch,
};

/// What a look at the source reports while it goes on.
#[derive(Debug)]
pub enum Event {
    /// A version is being fetched: all bytes of it.
    Begins { version: u64, bytes: u64 },
    /// This many bytes more are here.
    Bytes(u64),
    /// A version is here, whole.
    Added {
        version: u64,
        files: usize,
        bytes: u64,
        /// Otherwise everybody on the way can change it.
        sealed: bool,
    },
    /// A version that the source no longer has was removed.
    Removed { version: u64 },
    /// A version that the source no longer has is kept: without it no model would be here.
    Kept { version: u64 },
    /// A version that is here is another one at the source. Versions are not replaced.
    Differs { version: u64 },
}

/// What a look at the source came to.
#[derive(Debug, Default)]
pub struct Round {
    /// Versions that are here and were selected.
    pub present: BTreeSet<u64>,
    /// Selected versions that could not be fetched.
    pub failed: BTreeMap<u64, PullError>,
}

/// A source and the directory that it fills.
#[derive(Debug)]
pub struct Puller {
    /// Where versions come from.
    pub source: Source,
    /// Where they go: the base path of a model.
    pub directory: PathBuf,
    /// The versions that are wanted.
    pub selection: Selection,
    /// The most that is fetched for each.
    pub limits: Limits,
    /// Whether versions that the source no longer has are removed.
    pub delete: bool,
    /// The pause before a file is begun again; it doubles.
    pub retry_pause: Duration,
}

impl Puller {
    /// Looks at the source once. A version that can't be fetched does not stop others.
    pub async fn round(&self, report: &mut dyn FnMut(Event)) -> Result<Round, PullError> {
        let staging = Staging::open(&self.directory)?;
        let mut listing = list(&self.source, self.limits).await?;
        let numbers: BTreeSet<u64> = listing.keys().copied().collect();
        let mut round = Round::default();
        let local = local_versions(&self.directory)?;
        for version in self.wanted(&listing) {
            if let Selection::Latest(count) = self.selection
                && round.present.len() >= count.get()
            {
                break;
            }
            let found = listing.remove(&version).unwrap_or(Err(PullError::VersionMissing { version }));
            let done = match (local.get(&version), found) {
                (Some(path), found) => {
                    if found.is_ok_and(|remote| differs(path, &remote)) {
                        report(Event::Differs { version });
                    }
                    Ok(())
                }
                (None, Ok(remote)) => self.add(&staging, remote, report).await,
                (None, Err(error)) => Err(error),
            };
            match done {
                Ok(()) => drop(round.present.insert(version)),
                Err(error) => drop(round.failed.insert(version, error)),
            }
        }
        if self.delete {
            self.remove_gone(&staging, &numbers, report)?;
        }
        Ok(round)
    }

    /// The versions that were asked for, the highest first.
    fn wanted(&self, listing: &Listing) -> Vec<u64> {
        match &self.selection {
            Selection::Latest(_) | Selection::All => listing.keys().rev().copied().collect(),
            Selection::Specific(versions) => versions.iter().rev().copied().collect(),
        }
    }

    async fn add(
        &self,
        staging: &Staging,
        listed: RemoteVersion,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), PullError> {
        let Whole { version: remote, sealed } = whole(&self.source, listed).await?;
        let (version, bytes) = (remote.version, remote.size());
        report(Event::Begins { version, bytes });
        let unfinished = staging.begin(&remote.directory)?;
        let mut progress = |count| report(Event::Bytes(count));
        fetch(&self.source, &remote, unfinished.path(), self.retry_pause, &mut progress).await?;
        // An upload that goes on would leave files of two states here.
        let again = match list(&self.source, self.limits).await?.remove(&version) {
            Some(Ok(again)) => whole(&self.source, again).await.ok(),
            _ => None,
        };
        if again.is_none_or(|again| again.version != remote) {
            return Err(PullError::Changed { version });
        }
        staging.finish(unfinished, &remote.directory)?;
        report(Event::Added { version, files: remote.files.len(), bytes, sealed });
        Ok(())
    }

    /// Removes versions that the source no longer has. The highest that is a model stays if
    /// no other is one.
    fn remove_gone(
        &self,
        staging: &Staging,
        at_source: &BTreeSet<u64>,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), PullError> {
        let local = local_versions(&self.directory)?;
        let (kept, gone): (Vec<u64>, Vec<u64>) =
            local.keys().partition(|version| at_source.contains(version));
        let models: BTreeSet<u64> = scan(&self.directory)
            .map(|scan| scan.candidates.iter().map(|model| model.version).collect())
            .unwrap_or_default();
        let last =
            if kept.iter().any(|version| models.contains(version)) { None } else { models.last().copied() };
        for version in gone {
            let Some(path) = local.get(&version) else { continue };
            if Some(version) == last {
                report(Event::Kept { version });
            } else {
                staging.remove(path)?;
                report(Event::Removed { version });
            }
        }
        Ok(())
    }
}

/// The versions of a directory, with where they are.
fn local_versions(directory: &Path) -> Result<BTreeMap<u64, PathBuf>, PullError> {
    let entries = fs::read_dir(directory).map_err(write_error(directory))?;
    let version = |entry: fs::DirEntry| {
        let version = parse_version(entry.file_name().to_str()?)?;
        Some((version, entry.path()))
    };
    Ok(entries.flatten().filter_map(version).collect())
}

/// Whether a file that is here has another length at the source.
fn differs(path: &Path, remote: &RemoteVersion) -> bool {
    remote
        .files
        .iter()
        .any(|(name, file)| fs::metadata(name.below(path)).is_ok_and(|metadata| metadata.len() != file.size))
}
