//! Sources and the directories that they fill.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use adytum_fetch::{Environment, Event, Limits, PullError, Puller, Round, Source};
use adytum_sealed::{
    keys::ModelIdentity,
    seal::{SealOptions, seal_to_directory},
    statement::FileName,
};
use adytum_signing::OwnerSigningKey;

/// Seals a model of this many bytes into `base/VERSION`.
pub(crate) fn seal(base: &Path, version: u64, size: usize) {
    let options =
        SealOptions { model: "digits".parse().unwrap(), version, file_name: FileName::model_onnx() };
    let (key, recipient) = (OwnerSigningKey::generate().unwrap(), ModelIdentity::generate().recipient());
    let plaintext = vec![7; size];
    seal_to_directory(plaintext.as_slice(), base, &recipient, &key, &options, &mut |_| {}).unwrap();
}

/// A plain model.
pub(crate) fn plain(base: &Path, version: &str, content: &str) {
    fs::create_dir_all(base.join(version)).unwrap();
    fs::write(base.join(version).join("model.onnx"), content).unwrap();
}

/// What pulls from an address into a directory.
pub(crate) fn puller(address: &str, directory: &Path, versions: &str) -> Puller {
    Puller {
        source: Source::open(address, &Environment::default()).unwrap(),
        directory: directory.to_owned(),
        selection: versions.parse().unwrap(),
        limits: Limits { files: 100, bytes: 1 << 20 },
        delete: false,
        retry_pause: Duration::ZERO,
    }
}

/// One look, with what was reported apart from the progress.
pub(crate) async fn look(puller: &Puller) -> (Result<Round, PullError>, Vec<String>) {
    let mut events = Vec::new();
    let round = puller
        .round(&mut |event| match event {
            Event::Begins { .. } | Event::Bytes(_) => {}
            Event::Added { version, sealed, .. } => events.push(format!("added {version} sealed={sealed}")),
            Event::Removed { version } => events.push(format!("removed {version}")),
            Event::Kept { version } => events.push(format!("kept {version}")),
            Event::Differs { version } => events.push(format!("differs {version}")),
        })
        .await;
    (round, events)
}

/// The entries of a directory that are not hidden.
pub(crate) fn shown(directory: &Path) -> Vec<String> {
    let names =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

/// All files below a directory with their contents, as far as they are not hidden.
pub(crate) fn tree(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for name in shown(directory) {
        let path = directory.join(&name);
        if path.is_dir() {
            files.extend(tree(&path).into_iter().map(|(below, bytes)| (Path::new(&name).join(below), bytes)));
        } else {
            files.push((name.into(), fs::read(&path).unwrap()));
        }
    }
    files
}
