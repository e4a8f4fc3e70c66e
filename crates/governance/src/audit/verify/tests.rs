//! Every way of tampering with an export is found, and the record is named.

use adytum_api::broker::{AuditCheckpoint, AuditStart, audit_record::What};
use adytum_evidence::{clock::UnixSeconds, measurement::Sha256Digest};
use proptest::prelude::*;

use super::{ExpectedLog, VerifyError, verify};
use crate::{
    audit::{
        checkpoint::{CheckpointKey, CheckpointPublicKey},
        events::{Event, Protocol, Who},
        export::{Header, line, parse},
        record::{StoredRecord, decode, encode, record_hash, what},
    },
    genesis::GenesisDigest,
};

const TIME: UnixSeconds = UnixSeconds(1_800_000_000);

fn genesis(byte: u8) -> GenesisDigest {
    GenesisDigest(Sha256Digest([byte; 32]))
}

fn granted(secret: &str) -> Event {
    Event::Granted {
        who: Who { address: "127.0.0.1:1".parse().unwrap(), protocol: Protocol::Session, attested: None },
        secret: Some(secret.parse().unwrap()),
        secret_version: 1,
        rule: "workload serving".into(),
        manifest_version: 1,
    }
}

/// Of a broker with that genesis: its export's lines, its key, its head.
struct Log {
    lines: Vec<String>,
    key: CheckpointPublicKey,
    head: (u64, Sha256Digest),
}

/// A log as a broker keeps it: its start, grants, and a checkpoint after every four
/// records.
fn log(byte: u8) -> Log {
    let (genesis, key) = (genesis(byte), CheckpointKey::generate().unwrap());
    let start = AuditStart {
        genesis: genesis.0.0.to_vec(),
        epoch: 1,
        checkpoint_key: key.public_key().0.to_vec(),
        program: "a broker".into(),
    };
    let grants = (0..12).map(|n| what(&granted(&format!("secret-{n}"))));
    let mut lines = vec![String::new()];
    let (mut head, mut signed) = ((0, None), 0);
    let mut append = |head: (u64, Option<Sha256Digest>), what: What| {
        let (number, bytes) = (head.0 + 1, encode(TIME, what));
        lines.push(line(number, head.1, &bytes).unwrap());
        (number, Some(record_hash(number, head.1, &bytes)))
    };
    for what in std::iter::once(What::Start(start)).chain(grants) {
        head = append(head, what);
        if head.0 >= signed + 4 {
            signed = head.0;
            head = append(head, What::Checkpoint(key.sign(genesis, head.0, head.1.unwrap())));
        }
    }
    let head = (head.0, head.1.unwrap());
    let checkpoint = key.sign(genesis, head.0, head.1);
    lines[0] = Header { genesis, checkpoint_key: key.public_key(), first: 1, checkpoint }.line();
    Log { lines, key: key.public_key(), head }
}

fn text(lines: &[String]) -> String {
    lines.join("\n") + "\n"
}

fn check(lines: &[String], expected: &ExpectedLog) -> Result<u64, (&'static str, Option<u64>)> {
    let found = verify(text(lines).as_bytes(), expected);
    found.map(|verified| verified.size).map_err(|error| (error.code(), error.number()))
}

/// Held against nothing but itself.
fn alone(lines: &[String]) -> Result<u64, (&'static str, Option<u64>)> {
    check(lines, &ExpectedLog::default())
}

fn records(log: &Log) -> Vec<StoredRecord> {
    log.lines[1..].iter().map(|line| parse(line).unwrap()).collect()
}

/// The export of somebody who links these records again, as anybody can, and
/// writes this first line.
fn relinked(header: &Header, records: &[Vec<u8>]) -> Vec<String> {
    let mut lines = vec![header.line()];
    let mut previous = None;
    for (number, bytes) in (1..).zip(records) {
        lines.push(line(number, previous, bytes).unwrap());
        previous = Some(parse(lines.last().unwrap()).unwrap().hash);
    }
    lines
}

#[test]
fn a_whole_export_verifies() {
    let log = log(1);
    let size = log.head.0;
    assert_eq!(alone(&log.lines), Ok(size));
    let expected = ExpectedLog {
        genesis: Some(genesis(1)),
        checkpoint_key: Some(log.key),
        head: Some(log.head),
        first: None,
    };
    assert_eq!(check(&log.lines, &expected), Ok(size));
    // The head that an owner saw some time ago.
    let earlier = records(&log)[4].clone();
    let expected = ExpectedLog { head: Some((5, earlier.hash)), ..expected };
    assert_eq!(check(&log.lines, &expected), Ok(size));
    let verified = verify(text(&log.lines).as_bytes(), &expected).unwrap();
    assert!(verified.checkpoints >= 3, "{}", verified.checkpoints);
}

#[test]
fn each_flipped_bit_of_each_byte_is_found_at_its_record() {
    let log = log(1);
    let good = text(&log.lines).into_bytes();
    let mut line = 0u64;
    for at in 0..good.len() {
        for mask in [0x01, 0x20, 0x80] {
            let mut bytes = good.clone();
            bytes[at] ^= mask;
            let error = verify(bytes.as_slice(), &ExpectedLog::default()).unwrap_err();
            match line {
                // The first line is about all of them.
                0 => {}
                // A line feed that is none joins the line with the next.
                number => assert_eq!(error.number(), Some(number), "byte {at}: {error}"),
            }
        }
        line += u64::from(good[at] == b'\n');
        // Three verifications for every byte of it would take long.
        if line > 6 {
            break;
        }
    }
}

#[test]
fn a_record_that_is_dropped_repeated_or_moved_is_named() {
    let log = log(1);
    let size = log.head.0;
    for number in 1..=size {
        let at = usize::try_from(number).unwrap();
        let mut dropped = log.lines.clone();
        dropped.remove(at);
        let wanted = if number == size { "audit-truncated" } else { "audit-record-missing" };
        assert_eq!(alone(&dropped), Err((wanted, Some(number))));

        let mut repeated = log.lines.clone();
        repeated.insert(at, log.lines[at].clone());
        let wanted = if number == size {
            Err(("audit-record-reordered", Some(size + 1)))
        } else {
            Err(("audit-record-reordered", Some(number + 1)))
        };
        assert_eq!(alone(&repeated), wanted);

        if number < size {
            let mut swapped = log.lines.clone();
            swapped.swap(at, at + 1);
            assert_eq!(alone(&swapped), Err(("audit-record-reordered", Some(number))));
        }
    }
    let mut moved = log.lines.clone();
    let first = moved.remove(2);
    moved.push(first);
    assert_eq!(alone(&moved), Err(("audit-record-reordered", Some(2))));
}

#[test]
fn a_log_that_was_cut_off_is_found() {
    let log = log(1);
    let size = log.head.0;
    let whole = text(&log.lines);
    for kept in 0..size {
        let lines = &log.lines[..=usize::try_from(kept).unwrap()];
        assert_eq!(alone(lines), Err(("audit-truncated", Some(kept + 1))));
    }
    // In the middle of the last line.
    let error = verify(&whole.as_bytes()[..whole.len() - 30], &ExpectedLog::default()).unwrap_err();
    assert_eq!((error.code(), error.number()), ("audit-truncated", Some(size)));
    assert_eq!(verify(&b""[..], &ExpectedLog::default()).unwrap_err().code(), "audit-export-malformed");

    // Cut off at a record that the broker did sign a checkpoint over: only what
    // an owner remembers from an attested session tells.
    let (number, checkpoint) = signed_inside(&log);
    let header = Header { checkpoint: checkpoint.clone(), ..Header::parse(&log.lines[0]).unwrap() };
    let mut lines = log.lines[..=usize::try_from(checkpoint.size).unwrap()].to_vec();
    lines[0] = header.line();
    assert!(checkpoint.size < number);
    assert_eq!(alone(&lines), Ok(checkpoint.size));
    let expected = ExpectedLog { head: Some(log.head), ..ExpectedLog::default() };
    assert_eq!(check(&lines, &expected), Err(("audit-truncated", Some(checkpoint.size + 1))));
}

/// The first checkpoint among the records.
fn signed_inside(log: &Log) -> (u64, AuditCheckpoint) {
    let found = records(log).into_iter().find_map(|record| match decode(&record.bytes)?.what {
        Some(What::Checkpoint(checkpoint)) => Some((record.number, checkpoint)),
        _ => None,
    });
    found.unwrap()
}

#[test]
fn two_logs_spliced_are_found_at_the_seam() {
    let [one, two] = [log(1), log(1)];
    for seam in 2..usize::try_from(one.head.0).unwrap() {
        let spliced = [&one.lines[..seam], &two.lines[seam..]].concat();
        assert_eq!(alone(&spliced), Err(("audit-record-not-linked", Some(seam as u64))));
    }
}

#[test]
fn a_history_that_was_rewritten_and_linked_anew_is_found() {
    let log = log(1);
    let header = Header::parse(&log.lines[0]).unwrap();
    let size = log.head.0;
    let mut bytes: Vec<Vec<u8>> = records(&log).into_iter().map(|record| record.bytes).collect();
    bytes[2] = encode(TIME, what(&granted("another")));
    // The first checkpoint after it no longer fits.
    let (number, _) = signed_inside(&log);
    assert_eq!(alone(&relinked(&header, &bytes)), Err(("audit-checkpoint-forged", Some(number))));
    // Without checkpoints among the records, the one over the end does not.
    bytes.retain(|bytes| !matches!(decode(bytes).unwrap().what, Some(What::Checkpoint(_))));
    let thief = CheckpointKey::generate().unwrap();
    let shorter = bytes.len() as u64;
    let end = |lines: &[String]| parse(lines.last().unwrap()).unwrap().hash;
    let lines = relinked(&header, &bytes);
    assert_eq!(alone(&lines), Err(("audit-truncated", Some(shorter + 1))));
    let mut forged = header.clone();
    forged.checkpoint = thief.sign(genesis(1), shorter, end(&lines));
    assert_eq!(alone(&relinked(&forged, &bytes)), Err(("audit-checkpoint-forged", Some(shorter))));
    // The thief names his own key.
    forged.checkpoint_key = thief.public_key();
    assert_eq!(alone(&relinked(&forged, &bytes)), Err(("audit-other-checkpoint-key", Some(1))));
    // And writes it into the first record too: a log that is whole in itself, and
    // not this broker's.
    let mut start = decode(&bytes[0]).unwrap();
    if let Some(What::Start(start)) = &mut start.what {
        start.checkpoint_key = thief.public_key().0.to_vec();
    }
    bytes[0] = encode(UnixSeconds(start.time), start.what.unwrap());
    let lines = relinked(&forged, &bytes);
    forged.checkpoint = thief.sign(genesis(1), shorter, end(&lines));
    let lines = relinked(&forged, &bytes);
    assert_eq!(alone(&lines), Ok(shorter));
    let by_key = ExpectedLog { checkpoint_key: Some(log.key), ..ExpectedLog::default() };
    assert_eq!(check(&lines, &by_key), Err(("audit-other-checkpoint-key", Some(1))));
    let by_head = ExpectedLog { head: Some(log.head), ..ExpectedLog::default() };
    assert_eq!(check(&lines, &by_head), Err(("audit-truncated", Some(shorter + 1))));
    let early = records(&log)[3].clone();
    let by_head = ExpectedLog { head: Some((4, early.hash)), ..ExpectedLog::default() };
    assert_eq!(check(&lines, &by_head), Err(("audit-head-differs", Some(4))));
    assert!(size > shorter);
}

#[test]
fn forged_checkpoints_are_found() {
    let log = log(1);
    let header = Header::parse(&log.lines[0]).unwrap();
    let thief = CheckpointKey::generate().unwrap();
    let last = records(&log).last().unwrap().hash;
    for checkpoint in [
        thief.sign(genesis(1), log.head.0, last),
        AuditCheckpoint { hash: vec![0; 32], ..header.checkpoint.clone() },
        AuditCheckpoint { size: log.head.0 + 1, ..header.checkpoint.clone() },
        AuditCheckpoint { signature: Vec::new(), ..header.checkpoint.clone() },
    ] {
        let mut lines = log.lines.clone();
        let size = checkpoint.size;
        lines[0] = Header { checkpoint, ..header.clone() }.line();
        assert_eq!(alone(&lines), Err(("audit-checkpoint-forged", Some(size))));
    }
    // Among the records, linked again.
    let (number, genuine) = signed_inside(&log);
    let at = usize::try_from(number).unwrap() - 1;
    for forged in [
        thief.sign(genesis(1), genuine.size, last),
        AuditCheckpoint { size: genuine.size - 1, ..genuine.clone() },
        AuditCheckpoint { size: u64::MAX, ..genuine.clone() },
    ] {
        let mut bytes: Vec<Vec<u8>> = records(&log).into_iter().map(|record| record.bytes).collect();
        bytes[at] = encode(UnixSeconds(1_800_000_000), What::Checkpoint(forged));
        assert_eq!(alone(&relinked(&header, &bytes)), Err(("audit-checkpoint-forged", Some(number))));
    }
}

#[test]
fn another_brokers_log_is_told() {
    let [one, two] = [log(1), log(2)];
    let expected = ExpectedLog { genesis: Some(genesis(1)), ..ExpectedLog::default() };
    assert_eq!(check(&two.lines, &expected), Err(("audit-other-broker", Some(1))));
    let expected = ExpectedLog { head: Some(one.head), ..ExpectedLog::default() };
    assert_eq!(check(&two.lines, &expected), Err(("audit-head-differs", Some(one.head.0))));
    // Under the first line of the expected broker.
    let mut lines = two.lines.clone();
    lines[0] = one.lines[0].clone();
    assert_eq!(alone(&lines), Err(("audit-other-broker", Some(1))));
    // With its genesis written into the first line: the signature is over it.
    let header = Header { genesis: genesis(1), ..Header::parse(&two.lines[0]).unwrap() };
    lines[0] = header.line();
    assert_eq!(alone(&lines), Err(("audit-checkpoint-forged", Some(two.head.0))));
}

#[test]
fn a_log_without_its_beginning_is_taken_only_where_that_was_said() {
    let log = log(1);
    let header = Header { first: 4, ..Header::parse(&log.lines[0]).unwrap() };
    let mut lines = vec![header.line()];
    lines.extend_from_slice(&log.lines[4..]);
    assert_eq!(alone(&lines), Err(("audit-record-missing", Some(1))));
    let expected = ExpectedLog { first: Some(4), ..ExpectedLog::default() };
    assert_eq!(check(&lines, &expected), Ok(log.head.0));
    let expected = ExpectedLog { first: Some(4), head: Some((2, log.head.1)), ..ExpectedLog::default() };
    assert_eq!(check(&lines, &expected), Err(("audit-record-missing", Some(2))));
    // Linked again from its second record on, it has no broker's start.
    let bytes: Vec<Vec<u8>> = records(&log).into_iter().skip(1).map(|record| record.bytes).collect();
    let header = Header { first: 1, ..header };
    assert_eq!(alone(&relinked(&header, &bytes)), Err(("audit-no-start", Some(1))));
}

proptest! {
    #[test]
    fn any_bytes_are_no_export(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(verify(bytes.as_slice(), &ExpectedLog::default()).is_err());
    }

    #[test]
    fn any_text_is_no_line(text in "[ -~]{0,300}") {
        prop_assert!(parse(&text).is_none());
        prop_assert!(Header::parse(&text).is_err());
    }
}

#[test]
fn an_endless_line_does_not_fill_the_memory() {
    let endless = std::io::BufReader::new(std::io::repeat(b'x'));
    assert!(matches!(verify(endless, &ExpectedLog::default()), Err(VerifyError::Header { .. })));
}
