//! The real binary against a broker whose state is backed up, restored, and put
//! back behind its owner's back.

use std::{fs, path::Path, sync::Arc};

use adytum_broker::store::{self, FILE, LockedStore};
use adytum_governance::genesis::Genesis;
use adytum_sim::SimAttester;
use adytum_testkit::{
    broker,
    owners::{read_owner, write_owner},
    program::Outcome,
};

use crate::fixture::{Fixture, IDENTITY, RunningBroker, adytum};

async fn happens(running: &RunningBroker, what: &str) {
    running.broker.store().append_audit(vec![what.as_bytes().to_vec()]).await.unwrap();
}

/// A broker whose state is in this directory.
async fn start(fixture: &Fixture, state: &str) -> RunningBroker {
    free(fixture, state).await;
    let tee = SimAttester::new(Arc::clone(&fixture.platform), IDENTITY);
    let store = broker::stored(Path::new(&fixture.path(state)), &fixture.genesis, &tee);
    RunningBroker::start(broker::configuration(&fixture.platform, IDENTITY, &fixture.genesis, store)).await
}

/// Connections of a server that has ended may hold its store a moment longer.
async fn free(fixture: &Fixture, state: &str) {
    for _ in 0..2000 {
        if LockedStore::open(Path::new(&fixture.path(state)), fixture.genesis.digest()).is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{state} is still in use");
}

/// `adytum broker ...` with what the owner knows of the broker.
fn ask(fixture: &Fixture, words: &[&str], running: &RunningBroker) -> Outcome {
    ask_remembering(fixture, "heads.json", words, running)
}

/// The same with this memory of heads.
fn ask_remembering(fixture: &Fixture, heads: &str, words: &[&str], running: &RunningBroker) -> Outcome {
    let words = [&["broker"], words].concat();
    adytum(fixture.pinned_to(&running.address.to_string(), heads, &words))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_is_refused_until_the_owner_accepts_it() {
    let fixture = Fixture::without_broker(1, 1);
    let backup = |name: &str, out: &str| store::backup(&fixture.root().join(name), &fixture.root().join(out));
    let restore =
        |name: &str, from: &str| store::restore(&fixture.root().join(from), &fixture.root().join(name));

    let running = start(&fixture, "state").await;
    happens(&running, "yesterday").await;
    assert_eq!(backup("state", "backup.redb").unwrap_err().code(), "store-in-use");
    running.stop().await;
    free(&fixture, "state").await;
    assert_eq!(backup("state", "backup.redb").unwrap(), fixture.genesis.digest());
    assert_eq!(backup("state", "backup.redb").unwrap_err().code(), "store-exists");
    assert_eq!(backup("nowhere", "other.redb").unwrap_err().code(), "store-no-state");

    let running = start(&fixture, "state").await;
    happens(&running, "today").await;
    ask(&fixture, &["status"], &running).succeeded();
    happens(&running, "later").await;
    ask(&fixture, &["verify"], &running).succeeded();
    running.stop().await;
    free(&fixture, "state").await;
    assert_eq!(restore("state", "backup.redb").unwrap_err().code(), "store-exists");

    restore("restored", "backup.redb").unwrap();
    let running = start(&fixture, "restored").await;
    for words in [&["status"][..], &["verify"], &["confirm", "--owner", &fixture.path("owner0.pem")]] {
        let text = ask(&fixture, words, &running).failed_with(77);
        assert!(text.contains("rolled back"), "{text}");
        assert!(text.contains("Seen: epoch 2,") && text.contains("Found: epoch 2,"), "{text}");
    }
    // A command that is refused forgets nothing.
    let stranger = ["owner", "new", "--out", &fixture.path("stranger.pem")].map(str::to_owned);
    adytum(stranger.to_vec()).succeeded();
    let remembered = fs::read(fixture.path("heads.json")).unwrap();
    let strange = ["confirm", "--accept-rollback", "--owner", &fixture.path("stranger.pem")];
    let text = ask(&fixture, &strange, &running).failed_with(77);
    assert!(text.contains("not an owner of this broker"), "{text}");
    assert_eq!(fs::read(fixture.path("heads.json")).unwrap(), remembered);
    let text = ask(&fixture, &["status"], &running).failed_with(77);
    assert!(text.contains("forked") || text.contains("rolled back"), "{text}");
    let accept = ["confirm", "--accept-rollback", "--owner", &fixture.path("owner0.pem")];
    let text = ask(&fixture, &accept, &running).succeeded();
    assert!(text.contains("given up  epoch 2,") && text.contains("restored  epoch 2,"), "{text}");
    ask(&fixture, &["status"], &running).succeeded();
    // Once more, there is nothing to give up.
    let text = ask(&fixture, &accept, &running).failed_with(78);
    assert!(text.contains("nothing would be given up"), "{text}");
    running.stop().await;

    // The broker with today's file is the other one now.
    let running = start(&fixture, "state").await;
    let text = ask(&fixture, &["status"], &running).failed_with(77);
    assert!(text.contains("forked") || text.contains("rolled back"), "{text}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_went_on_by_itself_is_refused() {
    let fixture = Fixture::without_broker(1, 1);
    let running = start(&fixture, "one").await;
    happens(&running, "common").await;
    running.stop().await;
    free(&fixture, "one").await;
    fs::create_dir(fixture.path("two")).unwrap();
    fs::copy(fixture.root().join("one").join(FILE), fixture.root().join("two").join(FILE)).unwrap();
    let (one, two) = (start(&fixture, "one").await, start(&fixture, "two").await);
    happens(&one, "in the one").await;
    ask(&fixture, &["status"], &one).succeeded();
    for what in ["in the other", "and more", "and more"] {
        happens(&two, what).await;
        let text = ask(&fixture, &["status"], &two).failed_with(77);
        assert!(text.contains("forked"), "{text}");
    }
    ask(&fixture, &["status"], &one).succeeded();
    one.stop().await;
    two.stop().await;
}

/// Two owners, each with their own memory of heads.
#[tokio::test(flavor = "multi_thread")]
async fn owners_confirm_one_after_another_each_with_their_own_tool() {
    let mut fixture = Fixture::without_broker(1, 1);
    let second = write_owner(&fixture, "second.pem");
    let first = read_owner(&fixture, "owner0.pem").public_key();
    fixture.genesis = Genesis::create([first, second], 2).unwrap();
    fixture.write("genesis.toml", fixture.genesis.to_toml());

    let running = start(&fixture, "state").await;
    happens(&running, "yesterday").await;
    running.stop().await;
    free(&fixture, "state").await;
    store::backup(&fixture.root().join("state"), &fixture.root().join("backup.redb")).unwrap();
    let running = start(&fixture, "state").await;
    happens(&running, "today").await;
    // The first has seen today's state, the second nothing yet.
    ask(&fixture, &["status"], &running).succeeded();
    running.stop().await;
    store::restore(&fixture.root().join("backup.redb"), &fixture.root().join("restored")).unwrap();
    let running = start(&fixture, "restored").await;

    let (first, second) = (fixture.path("owner0.pem"), fixture.path("second.pem"));
    let (mine, both) = (fixture.path("mine.toml"), fixture.path("both.toml"));
    let begin = ["confirm", "--accept-rollback", "--owner", &first, "--out", &mine];
    ask(&fixture, &begin, &running).succeeded();
    // Neither alone, nor without the word for giving a state up.
    let alone = ["confirm", "--accept-rollback", "--owner", &first];
    let text = ask(&fixture, &alone, &running).failed_with(77);
    assert!(text.contains("1 owner(s) signed it; 2 must"), "{text}");
    let text = ask(&fixture, &["status"], &running).failed_with(77);
    assert!(text.contains("rolled back") || text.contains("forked"), "{text}");
    let plain = ["confirm", "--owner", &second, "--signatures", &mine];
    let text = ask_remembering(&fixture, "other.json", &plain, &running).failed_with(78);
    assert!(text.contains("sign with --accept-rollback"), "{text}");
    let add = ["confirm", "--accept-rollback", "--owner", &second, "--signatures", &mine, "--out", &both];
    ask_remembering(&fixture, "other.json", &add, &running).succeeded();
    let send = ["confirm", "--accept-rollback", "--owner", &second, "--signatures", &both];
    ask_remembering(&fixture, "other.json", &send, &running).succeeded();
    ask_remembering(&fixture, "other.json", &["status"], &running).succeeded();
    // The first has still to forget.
    ask(&fixture, &["status"], &running).failed_with(77);
    let forget = ["confirm", "--accept-rollback", "--forget-newer", "--owner", &first];
    ask(&fixture, &forget, &running).succeeded();
    ask(&fixture, &["status"], &running).succeeded();
    running.stop().await;

    // A confirmation for one start counts for no other.
    let running = start(&fixture, "restored").await;
    let text = ask_remembering(&fixture, "other.json", &send, &running).failed_with(77);
    assert!(text.contains("another start"), "{text}");
    running.stop().await;
}
