//! Sealed versions on their way into a store.

use std::{fs, path::Path};

use adytum_fetch::{Environment, PublishError, Source, publish, published};

use crate::fixture::{look, plain, puller, seal, shown, tree};

/// More than one part of an upload.
const LARGE: usize = 20 << 20;

struct Stores {
    directory: tempfile::TempDir,
}

impl Stores {
    fn new() -> Self {
        let stores = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(stores.path("store")).unwrap();
        stores
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn address(&self) -> String {
        format!("file://{}", self.path("store").display())
    }

    async fn publish(&self, version: u64, from: &Path) -> Result<u64, PublishError> {
        let source = Source::open(&self.address(), &Environment::default()).unwrap();
        let mut sent = 0;
        publish(&source, version, from, &mut |bytes| sent += bytes).await.map(|()| sent)
    }
}

#[tokio::test]
async fn a_version_is_there_as_it_was_sealed_and_is_pulled() {
    let stores = Stores::new();
    seal(&stores.path("sealed"), 3, LARGE);
    let sent = stores.publish(3, &stores.path("sealed/3")).await.unwrap();
    assert!(sent > LARGE as u64);
    assert_eq!(tree(&stores.path("store/3")), tree(&stores.path("sealed/3")));
    let source = Source::open(&stores.address(), &Environment::default()).unwrap();
    let there = published(&source).await.unwrap();
    assert_eq!(there.versions.iter().map(|(version, _)| *version).collect::<Vec<_>>(), [3]);
    assert_eq!(there.highest, Some(3));
    let mut puller = puller(&stores.address(), &stores.path("pulled"), "all");
    puller.limits.bytes = 2 * LARGE as u64;
    let (round, events) = look(&puller).await;
    round.unwrap();
    assert_eq!(events, ["added 3 sealed=true"]);
    assert_eq!(tree(&stores.path("pulled")), tree(&stores.path("sealed")));
}

#[tokio::test]
async fn a_version_is_never_overwritten() {
    let stores = Stores::new();
    seal(&stores.path("first"), 3, 1000);
    seal(&stores.path("second"), 3, 1000);
    stores.publish(3, &stores.path("first/3")).await.unwrap();
    let before = tree(&stores.path("store"));
    let error = stores.publish(3, &stores.path("second/3")).await.unwrap_err();
    assert_eq!(error.code(), "publish-taken", "{error}");
    // Also not one that another tool has put there, which claims nothing.
    plain(&stores.path("store"), "4", "a plain model");
    let error = stores.publish(4, &stores.path("second/3")).await.unwrap_err();
    assert_eq!(error.code(), "publish-taken", "{error}");
    fs::remove_dir_all(stores.path("store/4")).unwrap();
    assert_eq!(tree(&stores.path("store")), before);
}

#[tokio::test]
async fn no_plain_model_leaves_this_machine() {
    let stores = Stores::new();
    seal(&stores.path("sealed"), 3, 1000);
    let directory = stores.path("sealed/3");
    let ciphertext = shown(&directory).into_iter().find(|name| name != "model.seal").unwrap();
    for content in [&b"onnx"[..], b"", b"age-encryption.org/v2\n -> secret"] {
        fs::write(directory.join(&ciphertext), content).unwrap();
        let error = stores.publish(3, &directory).await.unwrap_err();
        assert_eq!(error.code(), "publish-not-sealed", "{error}");
    }
    fs::remove_file(directory.join(&ciphertext)).unwrap();
    assert_eq!(stores.publish(3, &directory).await.unwrap_err().code(), "publish-read");
    plain(&stores.path("plain"), "1", "a plain model");
    assert_eq!(stores.publish(1, &stores.path("plain/1")).await.unwrap_err().code(), "publish-read");
    assert!(tree(&stores.path("store")).is_empty() && shown(&stores.path("store")).is_empty());
}
