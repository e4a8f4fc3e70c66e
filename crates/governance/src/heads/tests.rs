use std::fs;

use adytum_evidence::measurement::Sha256Digest;
use adytum_testkit::directory::Directory;
use proptest::prelude::*;

use super::*;

fn head(epoch: u64, manifest_version: u64, audit_size: u64, hash: u8) -> StateHead {
    let audit_hash = (audit_size > 0).then_some(Sha256Digest([hash; 32]));
    StateHead { epoch, manifest_version, audit_size, audit_hash }
}

fn genesis(byte: u8) -> GenesisDigest {
    GenesisDigest(Sha256Digest([byte; 32]))
}

#[test]
fn a_lower_or_forked_head_is_refused_and_both_are_named() {
    let seen = head(3, 2, 10, 1);
    for found in [head(3, 2, 10, 1), head(4, 2, 10, 1), head(3, 3, 11, 2), head(5, 9, 99, 3)] {
        assert_eq!(follows(&seen, &found), Ok(()), "{found}");
    }
    for (found, code, field) in [
        (head(2, 2, 10, 1), "state-rolled-back", "its epoch is lower"),
        (head(9, 1, 99, 1), "state-rolled-back", "its manifest version is lower"),
        (head(9, 9, 9, 1), "state-rolled-back", "its number of audit records is lower"),
        (head(3, 2, 10, 2), "state-forked", "has forked"),
        (head(4, 3, 10, 2), "state-forked", "has forked"),
    ] {
        let error = follows(&seen, &found).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.code(), code, "{text}");
        for part in [field.to_owned(), seen.to_string(), found.to_string()] {
            assert!(text.contains(&part), "{text}");
        }
    }
}

#[test]
fn the_memory_is_by_broker_and_outlives_the_process() {
    let directory = Directory::new();
    let path = directory.root().join("adytum").join("heads.json");
    let memory = HeadMemory::new(&path);
    assert_eq!(memory.seen(genesis(1)), Ok(None));
    assert_eq!(memory.check(genesis(1), &head(1, 0, 0, 0)), Ok(()));
    memory.remember(genesis(1), &head(2, 3, 4, 5)).unwrap();
    memory.remember(genesis(2), &head(1, 1, 1, 1)).unwrap();
    let memory = HeadMemory::new(&path);
    assert_eq!(memory.seen(genesis(1)), Ok(Some(head(2, 3, 4, 5))));
    assert_eq!(memory.check(genesis(1), &head(1, 3, 4, 5)).unwrap_err().code(), "state-rolled-back");
    assert_eq!(memory.remember(genesis(1), &head(2, 3, 4, 6)).unwrap_err().code(), "state-forked");
    assert_eq!(memory.remember(genesis(1), &head(3, 2, 4, 5)).unwrap_err().code(), "state-rolled-back");
    assert_eq!(memory.remember(genesis(1), &head(2, 3, 3, 5)), Ok(()), "another process has seen more");
    assert_eq!(memory.seen(genesis(1)), Ok(Some(head(2, 3, 4, 5))), "only higher heads are remembered");
    // The other broker's head says nothing about this one.
    assert_eq!(memory.check(genesis(2), &head(1, 1, 2, 9)), Ok(()));
    memory.replace(genesis(1), &head(1, 1, 1, 1)).unwrap();
    assert_eq!(memory.check(genesis(1), &head(1, 1, 1, 1)), Ok(()));
}

#[test]
fn a_file_that_is_none_is_an_error_and_not_forgotten() {
    let directory = Directory::new();
    let path = directory.root().join("heads.json");
    let memory = HeadMemory::new(&path);
    for text in ["", "{", "{}", "[]", r#"{"format": "other", "brokers": {}}"#, "\u{0}"] {
        fs::write(&path, text).unwrap();
        assert_eq!(
            memory.check(genesis(1), &head(1, 0, 0, 0)).unwrap_err().code(),
            "heads-malformed",
            "{text}"
        );
        assert_eq!(memory.remember(genesis(1), &head(1, 0, 0, 0)).unwrap_err().code(), "heads-malformed");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_broker_without_its_state_is_one_to_come_back_to_and_its_head_is_not_remembered() {
    let guard = HeadGuard::default();
    let judge = |head: StateHead| guard.accept(head).map_err(|error| (error.code(), error.retry()));
    assert_eq!(judge(StateHead::none()), Ok(()), "who has seen nothing has nothing to miss");
    assert_eq!(guard.seen(), None);
    assert_eq!(judge(head(3, 2, 10, 1)), Ok(()));
    assert_eq!(judge(StateHead::none()), Err(("broker-without-state", true)));
    assert_eq!(guard.seen(), Some(head(3, 2, 10, 1)));
    assert_eq!(judge(head(2, 2, 10, 1)), Err(("state-rolled-back", false)));
    assert_eq!(judge(head(4, 2, 11, 1)), Ok(()));
}

#[test]
fn many_at_once_lose_nothing() {
    let directory = Directory::new();
    let path = directory.root().join("heads.json");
    std::thread::scope(|scope| {
        for broker in 0..8 {
            let memory = HeadMemory::new(&path);
            scope.spawn(move || {
                for epoch in 1..=20 {
                    memory.remember(genesis(broker), &head(epoch, 0, 0, 0)).unwrap();
                }
            });
        }
    });
    let memory = HeadMemory::new(&path);
    for broker in 0..8 {
        assert_eq!(memory.seen(genesis(broker)), Ok(Some(head(20, 0, 0, 0))));
    }
}

proptest! {
    #[test]
    fn of_two_different_heads_at_most_one_follows_the_other(
        a in (0u64..4, 0u64..4, 0u64..4, 0u8..3), b in (0u64..4, 0u64..4, 0u64..4, 0u8..3),
    ) {
        let (a, b) = (head(a.0, a.1, a.2, a.3), head(b.0, b.1, b.2, b.3));
        let both = follows(&a, &b).is_ok() && follows(&b, &a).is_ok();
        prop_assert_eq!(both, a == b);
    }

    #[test]
    fn any_file_is_read_or_refused(text in ".{0,200}") {
        let directory = Directory::new();
        let path = directory.root().join("heads.json");
        fs::write(&path, text).unwrap();
        let _ = HeadMemory::new(&path).seen(genesis(1));
    }
}

#[test]
fn the_head_of_an_answer_is_remembered_and_may_not_go_back() {
    let guard = HeadGuard::default();
    assert_eq!(guard.seen(), None);
    guard.observe(head(1, 1, 5, 5)).unwrap();
    assert_eq!(guard.observe(head(1, 1, 4, 4)).unwrap_err().code(), "state-rolled-back");
    assert_eq!(guard.observe(head(1, 1, 5, 6)).unwrap_err().code(), "state-forked");
    assert_eq!(guard.seen(), Some(head(1, 1, 5, 5)), "what is refused is not remembered");
    guard.observe(head(1, 2, 6, 6)).unwrap();
    assert_eq!(guard.seen(), Some(head(1, 2, 6, 6)));
}
