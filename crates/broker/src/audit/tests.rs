use std::{sync::Arc, time::Duration};

use adytum_api::broker::{AuditRecord, ReadAudit, audit_record::What, command};
use adytum_evidence::{
    clock::{FixedClock, UnixSeconds},
    measurement::Sha256Digest,
};
use adytum_governance::{
    audit::{
        events::{AttestedWho, CommandName, Event, Protocol, Who},
        export::{Header, line},
        record::{MAXIMUM_RECORD_LENGTH, decode, encode, what},
        verify::{ExpectedLog, VerifiedLog, verify},
    },
    command::MAXIMUM_AUDIT_PAGE,
    genesis::GenesisDigest,
};
use adytum_signing::OwnerSigningKey;
use proptest::prelude::*;
use tonic::{Code, Status};

use super::log::{AuditLimits, AuditLog};
use crate::{
    fixture::{
        Fixture, apply, broker, broker_limited, broker_with, in_memory, list, names, owner_session, put,
        remove, workload_session,
    },
    store::{Disk, Store},
};

/// Everything that is in a log, decoded.
async fn records(log: &AuditLog) -> Vec<AuditRecord> {
    let mut records = Vec::new();
    loop {
        let next = records.len() as u64 + 1;
        let (page, checkpoint) = log.read(next, MAXIMUM_AUDIT_PAGE).await.unwrap();
        records.extend(page.iter().map(|record| decode(&record.bytes).unwrap()));
        if records.len() as u64 >= checkpoint.unwrap().size {
            return records;
        }
    }
}

/// The log as a file.
async fn exported(log: &AuditLog, genesis: GenesisDigest) -> String {
    let mut lines = Vec::new();
    let (_, checkpoint) = log.read(1, 1).await.unwrap();
    let checkpoint = checkpoint.unwrap();
    let checkpoint_key = log.checkpoint_key().unwrap();
    while (lines.len() as u64) < checkpoint.size {
        let (page, _) = log.read(lines.len() as u64 + 1, MAXIMUM_AUDIT_PAGE).await.unwrap();
        lines.extend(page.iter().map(|one| line(one.number, one.previous, &one.bytes).unwrap()));
    }
    lines.truncate(usize::try_from(checkpoint.size).unwrap());
    lines.insert(0, Header { genesis, checkpoint_key, first: 1, checkpoint }.line());
    lines.join("\n") + "\n"
}

fn log_in(disk: &Disk, genesis: GenesisDigest, epoch: u64, limits: AuditLimits) -> AuditLog {
    log_on(disk.open(genesis).0, genesis, epoch, limits)
}

fn log_on(store: Store, genesis: GenesisDigest, epoch: u64, limits: AuditLimits) -> AuditLog {
    let clock = Arc::new(FixedClock::new(UnixSeconds(1_800_000_000)));
    AuditLog::open(store, clock, genesis, epoch, limits).unwrap()
}

fn genesis(byte: u8) -> GenesisDigest {
    GenesisDigest(Sha256Digest([byte; 32]))
}

fn granted(secret: &str) -> Event {
    let who = AttestedWho {
        claims_digest: Sha256Digest([3; 32]),
        tee: "sgx".into(),
        measurement: hex::encode([1; 32]),
        mr_enclave: None,
        platform: "00".into(),
    };
    Event::Granted {
        who: Who {
            address: "127.0.0.1:1".parse().unwrap(),
            protocol: Protocol::Session,
            attested: Some(who),
        },
        secret: Some(secret.parse().unwrap()),
        secret_version: 1,
        rule: "workload serving".into(),
        manifest_version: 1,
    }
}

async fn provisioned(fixture: Fixture) -> Fixture {
    let fixture = fixture.with_manifest().await;
    fixture.execute(&owner_session(2), put("ssl_config", b"open sesame")).await.unwrap();
    fixture
}

#[tokio::test]
async fn each_grant_refusal_and_command_has_its_record_and_no_value_is_in_one() {
    let fixture = provisioned(broker(2, 2)).await;
    fixture.broker.release(&workload_session(1), &names(&["ssl_config"])).await.unwrap();
    fixture.broker.release(&workload_session(1), &names(&["spare"])).await.unwrap_err();
    fixture.broker.release(&workload_session(9), &names(&["../x"])).await.unwrap_err();
    fixture.execute(&owner_session(3), list()).await.unwrap();
    let lone = fixture.sign(&owner_session(3), 1, put("ssl_config", b"x"), &[&fixture.owners[1]]);
    fixture.broker.execute(&owner_session(3), lone).await.unwrap_err();
    let found = records(fixture.broker.audit()).await;
    let what: Vec<&What> = found.iter().map(|record| record.what.as_ref().unwrap()).collect();
    let [
        What::Start(start),
        What::Command(applied),
        What::Command(stored),
        What::Grant(grant),
        What::Refusal(refused),
        What::Refusal(malformed),
        What::Command(listed),
        What::Command(lone),
    ] = what.as_slice()
    else {
        panic!("{what:#?}");
    };
    assert_eq!((start.epoch, start.genesis.as_slice()), (1, &fixture.broker.genesis_digest().0.0[..]));
    assert_eq!(start.checkpoint_key, fixture.broker.status().audit_checkpoint_key);
    assert_eq!(
        (applied.command.as_str(), applied.owners.len(), applied.manifest_version),
        ("apply-manifest", 2, 1)
    );
    assert_eq!((stored.command.as_str(), stored.secret.as_str()), ("put-secret", "ssl_config"));
    assert_eq!(
        (grant.secret.as_str(), grant.secret_version, grant.rule.as_str()),
        ("ssl_config", 1, "workload serving")
    );
    let peer = grant.peer.as_ref().unwrap();
    assert_eq!((peer.measurement.as_str(), peer.claims_digest.len()), (hex::encode([1; 32]).as_str(), 32));
    assert_eq!((refused.secret.as_str(), refused.code.as_str()), ("spare", "secret-refused"));
    assert!(refused.reason.contains("not workload other: mr_enclave"), "{}", refused.reason);
    assert_eq!((malformed.code.as_str(), malformed.peer.is_some()), ("name-malformed", true));
    assert_eq!(listed.command, "list-secrets");
    assert_eq!((lone.code.as_str(), lone.owners.len()), ("signatures-below-threshold", 1));
    assert_eq!(lone.owners[0], fixture.owners[1].public_key().0);
    assert!(found.iter().all(|record| record.time > 1_700_000_000));
    let text = exported(fixture.broker.audit(), fixture.broker.genesis_digest()).await;
    assert!(!text.contains("sesame") && !text.contains(&hex::encode("sesame")));
}

#[tokio::test]
async fn a_grant_whose_record_can_not_be_kept_is_not_released() {
    let disk = Disk::default();
    let fixture = provisioned(broker_with(1, 1, |genesis| disk.open(genesis), None)).await;
    let before = fixture.broker.store().head();
    fixture.events.take();
    disk.fill(true);
    let error = fixture.broker.release(&workload_session(1), &names(&["ssl_config"])).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("audit-unavailable", true));
    assert_eq!(Status::from(error).code(), Code::Unavailable);
    assert!(fixture.events.take().is_empty(), "nothing says that it was granted");
    // Nor does an owner read without a record.
    let error = fixture.execute(&owner_session(4), list()).await.unwrap_err();
    assert_eq!(error.code(), "audit-unavailable");
    assert_eq!(fixture.broker.store().head(), before);
    disk.fill(false);
    fixture.broker.release(&workload_session(1), &names(&["ssl_config"])).await.unwrap();
    assert_eq!(fixture.broker.store().head().audit_size, before.audit_size + 1);
}

#[tokio::test]
async fn a_change_and_its_record_are_kept_together_or_neither_is() {
    let disk = Disk::default();
    let fixture = provisioned(broker_with(1, 1, |genesis| disk.open(genesis), None)).await;
    let size = fixture.broker.store().head().audit_size;
    disk.record();
    fixture.execute(&owner_session(3), put("ssl_config", b"two")).await.unwrap();
    let syncs = disk.operations();
    let one = syncs.iter().filter(|one| format!("{one:?}") == "Sync").count();
    disk.record();
    fixture.broker.store().append_audit(vec![vec![1]]).await.unwrap();
    let alone = disk.operations().iter().filter(|one| format!("{one:?}") == "Sync").count();
    assert_eq!(one, alone, "one transaction, not two");
    assert_eq!(fixture.broker.store().head().audit_size, size + 2);
}

#[tokio::test]
async fn strangers_do_not_grow_the_log() {
    let fixture = provisioned(broker(1, 1)).await;
    let size = fixture.broker.store().head().audit_size;
    let thief = OwnerSigningKey::generate().unwrap();
    let owner = &fixture.owners[0];
    for n in 0..300u16 {
        let session = owner_session(u8::try_from(n % 250).unwrap());
        let by_thief = fixture.sign(&session, 1, put("ssl_config", &n.to_be_bytes()), &[&thief]);
        fixture.broker.execute(&session, by_thief).await.unwrap_err();
        // An owner's genuine command, seen on another session.
        let replayed = fixture.sign(&owner_session(251), 1, list(), &[owner]);
        fixture.broker.execute(&session, replayed).await.unwrap_err();
        fixture.broker.release(&session, &names(&["ssl_config"])).await.unwrap_err();
        fixture.broker.audit().count("evidence-invalid");
    }
    assert_eq!(fixture.broker.store().head().audit_size, size, "no record for any of 1200");
    fixture.broker.audit().summarise().await.unwrap();
    fixture.broker.audit().summarise().await.unwrap();
    assert_eq!(fixture.broker.store().head().audit_size, size + 1, "one for all of them");
    let found = records(fixture.broker.audit()).await;
    let Some(What::Summary(summary)) = &found.last().unwrap().what else { panic!("{found:?}") };
    let counts: Vec<_> = summary.counts.iter().map(|one| (one.code.as_str(), one.count)).collect();
    let wanted = ["evidence-invalid", "evidence-required", "signature-by-stranger", "signature-invalid"];
    assert_eq!(counts, wanted.map(|code| (code, 300)));
}

#[tokio::test]
async fn counts_are_summarised_by_interval_and_survive_a_full_disk() {
    let disk = Disk::default();
    let interval = |interval| AuditLimits { summary_interval: interval, ..AuditLimits::default() };
    let log = log_in(&disk, genesis(1), 1, interval(Duration::from_secs(3600)));
    log.begin().await.unwrap();
    log.count("evidence-invalid");
    let moment = Duration::from_millis(20);
    assert!(tokio::time::timeout(moment, log.keep_summarising()).await.is_err());
    assert_eq!(records(&log).await.len(), 1, "not before the interval is over");
    disk.fill(true);
    assert!(log.summarise().await.is_err());
    disk.fill(false);
    log.count("evidence-invalid");
    log.summarise().await.unwrap();
    drop(log);

    let log = Arc::new(log_in(&disk, genesis(1), 2, interval(Duration::from_millis(1))));
    log.count("evidence-invalid");
    let task = tokio::spawn({
        let log = log.clone();
        async move { log.keep_summarising().await }
    });
    while records(&log).await.len() < 4 {
        tokio::task::yield_now().await;
    }
    // Nothing more to say.
    assert!(tokio::time::timeout(moment, log.keep_summarising()).await.is_err());
    task.abort();
    let counts: Vec<_> = records(&log)
        .await
        .into_iter()
        .filter_map(|record| match record.what {
            Some(What::Summary(summary)) => Some(summary.counts[0].count),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [2, 1]);
}

#[tokio::test]
async fn refusals_leave_space_for_grants_and_a_full_log_stops_them_but_no_owner() {
    let limits = AuditLimits { records: 30, kept_for_grants: 15, ..AuditLimits::default() };
    let disk = Disk::default();
    let fixture = provisioned(broker_limited(1, 1, |genesis| disk.open(genesis), None, limits)).await;
    let size = || fixture.broker.store().head().audit_size;
    // A genuine TEE that is no workload asks and asks.
    for _ in 0..100 {
        let error = fixture.broker.release(&workload_session(9), &names(&["ssl_config"])).await.unwrap_err();
        assert_eq!(error.code(), "policy-refused");
    }
    assert_eq!(size(), 15);
    // One owner, who alone can change nothing, reads and reads.
    for _ in 0..20 {
        fixture.execute(&owner_session(6), list()).await.unwrap();
    }
    assert_eq!(size(), 15);
    while size() < 30 {
        fixture.broker.release(&workload_session(1), &names(&["ssl_config"])).await.unwrap();
    }
    let error = fixture.broker.release(&workload_session(1), &names(&["ssl_config"])).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("audit-full", false));
    let status = Status::from(error);
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("--audit-limit"), "{}", status.message());
    assert_eq!(fixture.broker.audit().summarise().await.unwrap_err().code(), "audit-full");
    // The most important thing then: an owner can take a secret away.
    fixture.execute(&owner_session(7), remove("ssl_config")).await.unwrap();
    fixture.execute(&owner_session(7), apply(&fixture.manifest(2))).await.unwrap();
    assert_eq!(size(), 32);
}

#[tokio::test]
async fn a_restart_goes_on_with_the_chain_and_the_key() {
    let disk = Disk::default();
    let limits = AuditLimits { checkpoint_every: 3, ..AuditLimits::default() };
    let mut keys = Vec::new();
    for epoch in 1..=3 {
        let log = log_in(&disk, genesis(1), epoch, limits);
        assert_eq!(log.checkpoint_key(), None, "not before it is kept");
        for _ in 0..5 {
            log.record(&[granted("model_key")]).await.unwrap();
        }
        keys.push(log.checkpoint_key().unwrap());
    }
    assert!(keys.iter().all(|key| *key == keys[0]));
    let log = log_in(&disk, genesis(1), 4, limits);
    log.begin().await.unwrap();
    let starts = records(&log).await;
    let starts = starts.iter().filter_map(|record| match &record.what {
        Some(What::Start(start)) => Some(start.epoch),
        _ => None,
    });
    assert_eq!(starts.collect::<Vec<_>>(), [1, 2, 3, 4]);
    let text = exported(&log, genesis(1)).await;
    let expected =
        ExpectedLog { genesis: Some(genesis(1)), checkpoint_key: Some(keys[0]), ..ExpectedLog::default() };
    let VerifiedLog { size, checkpoints, .. } = verify(text.as_bytes(), &expected).unwrap();
    assert!(size > 18 && checkpoints > 3, "{size} {checkpoints}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_each_is_in_the_chain_and_checkpoints_stand() {
    let limits = AuditLimits { checkpoint_every: 20, ..AuditLimits::default() };
    let log = Arc::new(log_in(&Disk::default(), genesis(1), 1, limits));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..300 {
        let log = log.clone();
        tasks.spawn(async move { log.record(&[granted(&format!("secret-{n}"))]).await.unwrap() });
    }
    tasks.join_all().await;
    let found = records(&log).await;
    let grants = found.iter().filter(|record| matches!(record.what, Some(What::Grant(_)))).count();
    let starts = found.iter().filter(|record| matches!(record.what, Some(What::Start(_)))).count();
    assert_eq!((grants, starts), (300, 1));
    let verified = verify(exported(&log, genesis(1)).await.as_bytes(), &ExpectedLog::default()).unwrap();
    assert!(verified.checkpoints > 2);
}

#[tokio::test]
async fn pages_are_bounded_and_are_read_by_any_one_owner_and_nobody_else() {
    let fixture = provisioned(broker(2, 2)).await;
    for _ in 0..300 {
        fixture.broker.release(&workload_session(1), &names(&["ssl_config"])).await.unwrap();
    }
    let session = owner_session(5);
    let read = async |first, count, key: &OwnerSigningKey| {
        let command = command::Command::ReadAudit(ReadAudit { first, count });
        let signed = fixture.sign(&session, 1, command, &[key]);
        fixture.broker.execute(&session, signed).await.map_err(|error| error.code())
    };
    let page = read(1, u32::MAX, &fixture.owners[1]).await.unwrap();
    assert_eq!((page.audit.len(), page.audit[0].number), (256, 1));
    let size = page.audit_checkpoint.unwrap().size;
    let last = read(0, 2, &fixture.owners[0]).await.unwrap();
    // The record of this very command is the last.
    assert_eq!(last.audit.iter().map(|one| one.number).collect::<Vec<_>>(), [size, size + 1]);
    for first in [size + 3, u64::MAX] {
        assert_eq!(read(first, 10, &fixture.owners[0]).await.unwrap().audit.len(), 0);
    }
    let thief = OwnerSigningKey::generate().unwrap();
    assert_eq!(read(1, 1, &thief).await.unwrap_err(), "signature-by-stranger");
}

#[tokio::test]
async fn a_log_in_memory_never_stops_grants() {
    let limits = AuditLimits { records: 3, kept_for_grants: 1, ..AuditLimits::default() };
    let log = log_on(in_memory(genesis(1)).0, genesis(1), 1, limits);
    for _ in 0..20 {
        log.record(&[granted("model_key")]).await.unwrap();
    }
}

#[test]
fn the_longest_events_fit_in_a_record() {
    let key = OwnerSigningKey::generate().unwrap().public_key();
    let long = "\u{1F512}".repeat(5000);
    let mut who = match granted("x") {
        Event::Granted { who, .. } => who,
        _ => unreachable!(),
    };
    let attested = who.attested.as_mut().unwrap();
    (attested.platform, attested.measurement, attested.tee) = (long.clone(), long.clone(), long.clone());
    let secret = Some("s".repeat(64).parse().unwrap());
    let (manifest_version, code) = (u64::MAX, "signature-by-same-owner-twice");
    let events = [
        Event::Refused {
            who: who.clone(),
            secret: secret.clone(),
            code,
            rule: long.clone(),
            manifest_version,
        },
        Event::Executed {
            who: who.clone(),
            owners: vec![key; 64],
            command: CommandName::ApplyManifest,
            changes: true,
            secret,
            manifest_version,
        },
        Event::CommandRefused {
            who: Who { attested: None, ..who },
            owners: vec![key; 64],
            command: Some(CommandName::ApplyManifest),
            code,
            reason: long,
            manifest_version,
        },
    ];
    for event in events {
        let bytes = encode(UnixSeconds(u64::MAX), what(&event));
        assert!(bytes.len() <= MAXIMUM_RECORD_LENGTH, "{}", bytes.len());
        assert_eq!(decode(&bytes).unwrap().what.unwrap(), what(&event));
    }
}

proptest! {
    #[test]
    fn a_record_has_one_encoding(at in 0usize..400, mask in 1u8.., extra in proptest::collection::vec(any::<u8>(), 1..20)) {
        let bytes = encode(UnixSeconds(5), what(&granted("model_key")));
        let longer = [bytes.as_slice(), &extra].concat();
        if let Some(read) = decode(&longer) {
            prop_assert_eq!(encode(UnixSeconds(read.time), read.what.unwrap()), longer);
        }
        let mut flipped = bytes.clone();
        flipped[at % bytes.len()] ^= mask;
        if let Some(read) = decode(&flipped) {
            prop_assert_eq!(encode(UnixSeconds(read.time), read.what.unwrap()), flipped);
        }
        // The same fields in another order.
        prop_assert!(decode(&[&bytes[2..], &bytes[..2]].concat()).is_none());
    }
}
