//! Versions are fetched, kept and removed, with a directory as the source.

use std::{fs, os::unix::fs::symlink, path::Path};

use crate::fixture::{look, plain, puller, seal, shown, tree};
use adytum_fetch::{Limits, Puller};
use tempfile::TempDir;

struct Fixture {
    source: TempDir,
    directory: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { source: tempfile::tempdir().unwrap(), directory: tempfile::tempdir().unwrap() }
    }

    fn source(&self) -> &Path {
        self.source.path()
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn puller(&self, versions: &str) -> Puller {
        puller(&format!("file://{}", self.source().display()), self.directory(), versions)
    }
}

#[tokio::test]
async fn a_new_version_comes_whole_and_once() {
    let fixture = Fixture::new();
    seal(fixture.source(), 1, 200_000);
    let puller = fixture.puller("all");
    let (round, events) = look(&puller).await;
    assert_eq!(round.unwrap().present, [1].into());
    assert_eq!(events, ["added 1 sealed=true"]);
    assert_eq!(tree(fixture.directory()), tree(fixture.source()));

    plain(fixture.source(), "00000002", "x");
    fs::create_dir_all(fixture.source().join("00000002/assets.extra")).unwrap();
    fs::write(fixture.source().join("00000002/assets.extra/words.txt"), "a b").unwrap();
    let (round, events) = look(&puller).await;
    assert_eq!(round.unwrap().present, [1, 2].into());
    assert_eq!(events, ["added 2 sealed=false"]);
    assert_eq!(tree(fixture.directory()), tree(fixture.source()));
}

#[tokio::test]
async fn the_latest_that_is_whole_is_fetched() {
    let fixture = Fixture::new();
    for version in 1..=3 {
        seal(fixture.source(), version, 100);
    }
    fs::remove_file(fixture.source().join("3/model.onnx.age")).unwrap();
    let puller = fixture.puller("latest");
    let (round, events) = look(&puller).await;
    let round = round.unwrap();
    assert_eq!((round.present, round.failed[&3].code()), ([2].into(), "pull-incomplete"));
    assert_eq!(events, ["added 2 sealed=true"]);
    assert_eq!(shown(fixture.directory()), ["2"]);

    fs::remove_dir_all(fixture.source().join("3")).unwrap();
    seal(fixture.source(), 3, 100);
    let (round, events) = look(&puller).await;
    assert_eq!((round.unwrap().present, events), ([3].into(), vec!["added 3 sealed=true".to_owned()]));
}

#[tokio::test]
async fn versions_can_be_named() {
    let fixture = Fixture::new();
    for version in 1..=3 {
        seal(fixture.source(), version, 100);
    }
    let (round, _) = look(&fixture.puller("1,3,9")).await;
    let round = round.unwrap();
    assert_eq!((round.present, round.failed[&9].code()), ([1, 3].into(), "pull-version-missing"));
    assert_eq!(shown(fixture.directory()), ["1", "3"]);
}

#[tokio::test]
async fn what_was_cut_or_is_no_version_does_not_appear() {
    let fixture = Fixture::new();
    for version in 1..=3 {
        seal(fixture.source(), version, 100_000);
    }
    let cut = fs::read(fixture.source().join("1/model.onnx.age")).unwrap();
    fs::write(fixture.source().join("1/model.onnx.age"), &cut[..90_000]).unwrap();
    fs::write(fixture.source().join("2/model.seal"), "{}").unwrap();
    fs::write(fixture.source().join("3/model.seal"), vec![b' '; 5000]).unwrap();
    plain(fixture.source(), "004", "x");
    plain(fixture.source(), "4", "y");
    fs::create_dir(fixture.source().join("5")).unwrap();
    fs::write(fixture.source().join("5/notes.txt"), "x").unwrap();
    fs::create_dir(fixture.source().join("7")).unwrap();
    fs::write(fixture.source().join("7/.DS_Store"), "x").unwrap();
    plain(fixture.source(), "new", "x");
    let (round, events) = look(&fixture.puller("all")).await;
    let round = round.unwrap();
    let codes: Vec<(u64, &str)> =
        round.failed.iter().map(|(version, error)| (*version, error.code())).collect();
    let expected = [
        (1, "pull-truncated"),
        (2, "statement-malformed"),
        (3, "statement-too-long"),
        (4, "pull-same-version"),
        (5, "pull-incomplete"),
    ];
    assert_eq!(codes, expected);
    assert!(events.is_empty() && shown(fixture.directory()).is_empty(), "{events:?}");
}

#[tokio::test]
async fn only_what_belongs_to_a_sealed_model_is_fetched() {
    let fixture = Fixture::new();
    seal(fixture.source(), 1, 100);
    fs::write(fixture.source().join("1/other.bin"), "x").unwrap();
    look(&fixture.puller("all")).await.0.unwrap();
    assert_eq!(shown(&fixture.directory().join("1")), ["model.onnx.age", "model.seal"]);
}

#[tokio::test]
async fn links_that_lead_out_are_refused() {
    let fixture = Fixture::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "x").unwrap();
    plain(fixture.source(), "1", "x");
    symlink(outside.path().join("secret"), fixture.source().join("1/data.bin")).unwrap();
    plain(fixture.source(), "2", "x");
    symlink(fixture.source().join("2/model.onnx"), fixture.source().join("2/same.bin")).unwrap();
    let (round, _) = look(&fixture.puller("all")).await;
    let round = round.unwrap();
    assert_eq!((round.present, round.failed[&1].code()), ([2].into(), "pull-link"));
    assert_eq!(shown(fixture.directory()), ["2"]);
}

#[tokio::test]
async fn limits_hold() {
    let fixture = Fixture::new();
    plain(fixture.source(), "1", &"x".repeat(1000));
    plain(fixture.source(), "2", "x");
    for number in 0..4 {
        fs::write(fixture.source().join(format!("2/{number}.bin")), "x").unwrap();
    }
    let mut puller = fixture.puller("all");
    puller.limits = Limits { files: 4, bytes: 999 };
    let round = look(&puller).await.0.unwrap();
    assert_eq!((round.failed[&1].code(), round.failed[&2].code()), ("pull-too-large", "pull-too-many-files"));
    puller.limits = Limits { files: 5, bytes: 1000 };
    assert_eq!(look(&puller).await.0.unwrap().present, [1, 2].into());
}

#[tokio::test]
async fn versions_that_are_gone_are_removed_on_demand_and_never_the_last_model() {
    let fixture = Fixture::new();
    for version in 1..=3 {
        seal(fixture.source(), version, 100);
    }
    let mut puller = fixture.puller("all");
    look(&puller).await.0.unwrap();
    fs::remove_dir_all(fixture.source().join("1")).unwrap();
    assert!(look(&puller).await.1.is_empty());
    assert_eq!(shown(fixture.directory()), ["1", "2", "3"]);
    puller.delete = true;
    assert_eq!(look(&puller).await.1, ["removed 1"]);
    assert_eq!(shown(fixture.directory()), ["2", "3"]);

    // A source that has nothing removes nothing.
    for version in [2, 3] {
        fs::remove_dir_all(fixture.source().join(version.to_string())).unwrap();
    }
    assert_eq!(look(&puller).await.0.unwrap_err().code(), "pull-no-version");
    assert_eq!(shown(fixture.directory()), ["2", "3"]);

    // And one that has nothing whole leaves the highest model.
    fs::create_dir(fixture.source().join("4")).unwrap();
    fs::write(fixture.source().join("4/model.onnx.age"), "x").unwrap();
    let (round, events) = look(&puller).await;
    assert_eq!(round.unwrap().failed[&4].code(), "pull-incomplete");
    assert_eq!(events, ["removed 2", "kept 3"]);
    assert_eq!(shown(fixture.directory()), ["3"]);
}

#[tokio::test]
async fn a_version_is_never_replaced() {
    let fixture = Fixture::new();
    plain(fixture.source(), "1", "old");
    let puller = fixture.puller("all");
    look(&puller).await.0.unwrap();
    plain(fixture.source(), "1", "another");
    let (round, events) = look(&puller).await;
    assert_eq!((round.unwrap().present, events), ([1].into(), vec!["differs 1".to_owned()]));
    assert_eq!(fs::read_to_string(fixture.directory().join("1/model.onnx")).unwrap(), "old");
}

#[tokio::test]
async fn a_source_that_is_not_there_says_so() {
    let fixture = Fixture::new();
    let missing = puller("file:///nonexistent/models", fixture.directory(), "all");
    let error = look(&missing).await.0.unwrap_err();
    assert!(matches!(error.code(), "pull-no-version" | "pull-not-found"), "{error}");
}
