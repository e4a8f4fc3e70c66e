//! The audit log over the wire: what an owner exports agrees with what the
//! broker attests.

use adytum_api::broker::{
    AuditRecord, GetStatusRequest, ReadAudit, audit_record::What,
    broker_administration_client::BrokerAdministrationClient, command,
};
use adytum_evidence::measurement::Sha256Digest;
use adytum_governance::{
    announcement::BrokerAnnouncement,
    audit::{
        checkpoint::CheckpointPublicKey,
        export::{Header, entry_line},
        record::{decode, describe},
        verify::{ExpectedLog, VerifiedLog, VerifyError, verify},
    },
    head::StateHead,
};
use adytum_ratls::{connector::AttestedSession, session::Peer};
use adytum_sim::{Platform, SimAttester};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tonic::{Code, Request};

use crate::fixture::{Fixture, RunningBroker, eventually, execute, fetch, put, stable};

fn head(session: &AttestedSession) -> StateHead {
    let Peer::Attested { announcement, .. } = &session.info.peer else { panic!("no evidence") };
    BrokerAnnouncement::decode(announcement).unwrap().head
}

fn pair(head: &StateHead) -> Option<(u64, Sha256Digest)> {
    head.audit_hash.map(|hash| (head.audit_size, hash))
}

/// The grants of a log in words, as JSON.
pub(crate) async fn grants(fixture: &Fixture, running: &RunningBroker) -> Vec<serde_json::Value> {
    let log = export(fixture, running).await;
    let grants = log.records.iter().filter(|record| matches!(record.what, Some(What::Grant(_))));
    grants.map(|record| serde_json::to_value(describe(record)).unwrap()).collect()
}

/// The log as an owner's tool gets it: its file, who signed it, its records.
struct Exported {
    text: String,
    key: CheckpointPublicKey,
    records: Vec<AuditRecord>,
}

async fn export(fixture: &Fixture, running: &RunningBroker) -> Exported {
    let owner = fixture.owner(running.address).await;
    let version = running.broker.state().manifest_version();
    let read = async |first| {
        let command = command::Command::ReadAudit(ReadAudit { first, count: 7 });
        execute(&owner, fixture.command(&owner, version, command)).await.unwrap()
    };
    let mut page = read(1).await;
    let mut client = BrokerAdministrationClient::new(owner.channel.clone());
    let status = client.get_status(Request::new(GetStatusRequest::default())).await.unwrap().into_inner();
    let key = CheckpointPublicKey::from_bytes(&status.audit_checkpoint_key).unwrap();
    let checkpoint = page.audit_checkpoint.take().unwrap();
    let (genesis, size) = (fixture.genesis.digest(), checkpoint.size);
    let mut lines = vec![Header { genesis, checkpoint_key: key, first: 1, checkpoint }.line()];
    let mut records = Vec::new();
    while (records.len() as u64) < size {
        for entry in page.audit.iter().filter(|entry| entry.number <= size) {
            lines.push(entry_line(entry).unwrap());
            records.push(decode(&entry.record).unwrap());
        }
        page = read(records.len() as u64 + 1).await;
    }
    Exported { text: lines.join("\n") + "\n", key, records }
}

fn check(exported: &Exported, head: &StateHead) -> Result<VerifiedLog, VerifyError> {
    let expected =
        ExpectedLog { head: pair(head), checkpoint_key: Some(exported.key), ..ExpectedLog::default() };
    verify(exported.text.as_bytes(), &expected)
}

#[tokio::test]
async fn an_export_agrees_with_what_the_broker_attests_and_a_restart_goes_on_with_it() {
    let fixture = Fixture::new(1, 1);
    let directory = TempDir::new().unwrap();
    let running = fixture.start_in(directory.path()).await;
    fixture.provision(&running).await;
    let replica = fixture.replica("serving", running.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();
    let tampered = fixture.replica("servinG", running.address).await.unwrap();
    fetch(&tampered, &["ssl_config"]).await.unwrap_err();
    let seen = head(&fixture.owner(running.address).await);
    assert_eq!(seen.audit_size, 5, "start, manifest, secret, grant, refusal");
    let first = export(&fixture, &running).await;
    check(&first, &seen).unwrap();
    assert!(matches!(&first.records[3].what, Some(What::Grant(grant)) if grant.secret == "ssl_config"));
    assert!(
        matches!(&first.records[4].what, Some(What::Refusal(refused)) if refused.code == "secret-refused")
    );
    running.stop().await;
    drop((replica, tampered));

    let digest = fixture.genesis.digest();
    eventually("the directory is free", async || {
        adytum_broker::store::LockedStore::open(directory.path(), digest).ok()
    })
    .await;
    let running = fixture.start_in(directory.path()).await;
    let second = export(&fixture, &running).await;
    assert_eq!(second.key, first.key);
    // The head from before the restart is in it.
    check(&second, &seen).unwrap();
    assert_eq!(second.records[..first.records.len()], first.records);
    // The file of before is cut off for who has seen the broker since.
    let later = head(&fixture.owner(running.address).await);
    assert_eq!(check(&first, &later).unwrap_err().code(), "audit-truncated");

    // Another broker of the same people.
    let mut other = Fixture::new(1, 1);
    other.owners =
        vec![adytum_signing::OwnerSigningKey::from_pem(&fixture.owners[0].to_pem().unwrap()).unwrap()];
    other.genesis = adytum_governance::genesis::Genesis::create([other.owners[0].public_key()], 1).unwrap();
    let elsewhere = other.start().await;
    let foreign = export(&other, &elsewhere).await;
    let expected = ExpectedLog { genesis: Some(digest), ..ExpectedLog::default() };
    assert_eq!(verify(foreign.text.as_bytes(), &expected).unwrap_err().code(), "audit-other-broker");
    running.stop().await;
    elsewhere.stop().await;
}

#[tokio::test]
async fn strangers_floods_do_not_grow_the_log() {
    let fixture = Fixture::new(1, 1);
    let directory = TempDir::new().unwrap();
    let running = fixture.start_in(directory.path()).await;
    fixture.provision(&running).await;
    let before = running.broker.announcement().head;
    // No TLS at all.
    for _ in 0..60 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
    }
    // Genuine evidence of a platform that nobody here trusts.
    for _ in 0..10 {
        let foreign = SimAttester::new(Platform::ephemeral().unwrap(), crate::fixture::identity("serving"));
        assert!(fixture.replica_with(std::sync::Arc::new(foreign), running.address).await.is_err());
    }
    // Tools without evidence, with a key that belongs to no owner.
    let thief = Fixture::new(1, 1);
    for n in 0..20u8 {
        let session = fixture.owner(running.address).await;
        fetch(&session, &["ssl_config"]).await.unwrap_err();
        let command = adytum_governance::command::sign(
            &session.info.request_binding,
            fixture.genesis.digest(),
            1,
            put("ssl_config", &[n]),
            &[&thief.owners[0]],
        );
        let status = execute(&session, command).await.unwrap_err();
        assert_eq!(stable(&status), (Code::PermissionDenied, "signature-by-stranger".into(), false));
    }
    assert_eq!(running.broker.announcement().head, before);
    running.stop().await;

    let digest = fixture.genesis.digest();
    eventually("the directory is free", async || {
        adytum_broker::store::LockedStore::open(directory.path(), digest).ok()
    })
    .await;
    let running = fixture.start_in(directory.path()).await;
    let records = export(&fixture, &running).await.records;
    let summaries: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.what {
            Some(What::Summary(summary)) => Some(summary),
            _ => None,
        })
        .collect();
    let [summary] = summaries.as_slice() else { panic!("one summary for all of it: {records:#?}") };
    let count = |code| summary.counts.iter().find(|one| one.code == code).map_or(0, |one| one.count);
    assert_eq!((count("evidence-required"), count("signature-by-stranger")), (20, 20), "{summary:?}");
    let handshakes: u64 = summary.counts.iter().map(|one| one.count).sum::<u64>() - 40;
    assert!(handshakes >= 10, "{summary:?}");
    running.stop().await;
}
