//! A host that puts an older state back, or runs two brokers from one copy; and
//! the wait for an owner after an unplanned restart.

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use adytum_api::broker::{
    GetSecretsRequest, GetStatusRequest, SignedCommand,
    broker_administration_client::BrokerAdministrationClient, command, key_broker_client::KeyBrokerClient,
};
use adytum_broker::store::{self, LockedStore};
use adytum_evidence::claims::Claims;
use adytum_governance::{
    audit::record::{decode, describe},
    head::StateHead,
    heads::{HeadGuard, HeadMemory},
    manifest::document::{OwnersTable, PlannedRestart, UnplannedRestart},
    pin::BrokerPin,
};
use adytum_ratls::{
    configuration::ConnectorConfiguration,
    connector::{AttestedConnector, AttestedSession},
    error::{Refusal, SessionError},
    limits::Limits,
    session::LocalAttestation,
};
use adytum_signing::OwnerSigningKey;
use bytes::Bytes;
use tempfile::TempDir;
use tonic::{Code, Request, Status};

use crate::fixture::{Fixture, RunningBroker, apply, execute, fetch, head, identity, policy, put, stable};

/// A replica that renews: it remembers, while it runs, what it saw.
struct Renewing {
    guard: Arc<HeadGuard>,
    connector: AttestedConnector,
}

impl Renewing {
    fn new(fixture: &Fixture) -> Self {
        let genesis = fixture.genesis.digest();
        let pin = BrokerPin { policy: policy(identity("broker")), genesis, occlum: BTreeSet::new() };
        let guard = Arc::<HeadGuard>::default();
        let seen = Arc::clone(&guard);
        let attester = fixture.attester("serving");
        let connector = AttestedConnector::new(ConnectorConfiguration {
            verifier: fixture.verifier(),
            judge: Arc::new(move |claims: &Claims, announcement: &[u8]| {
                let announced = pin.judge(claims, announcement);
                let announced =
                    announced.map_err(|error| Refusal::verdict(error.code(), error.to_string()))?;
                seen.accept(announced.head).map_err(|error| Refusal {
                    retry: error.retry(),
                    ..Refusal::verdict(error.code(), error.to_string())
                })
            }),
            local: Some(LocalAttestation { attester, announcement: Arc::new(Bytes::new) }),
            limits: Limits::default(),
        });
        Self { guard, connector }
    }

    async fn renew(&self, running: &RunningBroker) -> Result<Result<Vec<u8>, Status>, SessionError> {
        let seen = self.guard.seen().as_ref().map(Into::into);
        let session = self.connector.session(&running.address.to_string()).await?;
        let request = GetSecretsRequest { names: vec!["ssl_config".to_owned()], seen, ..Default::default() };
        let answer = KeyBrokerClient::new(session.channel).get_secrets(Request::new(request)).await;
        Ok(answer.map(|answer| answer.into_inner().secrets.remove(0).value))
    }
}

async fn start(fixture: &Fixture, directory: &Path) -> RunningBroker {
    crate::fixture::eventually("the directory is free", async || {
        LockedStore::open(directory, fixture.genesis.digest()).ok()
    })
    .await;
    fixture.start_in(directory).await
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::copy(from.join(store::FILE), to.join(store::FILE)).unwrap();
}

#[tokio::test]
async fn an_old_file_restored_is_refused_by_owners_and_renewing_replicas() {
    let fixture = Fixture::new(1, 1);
    let home = TempDir::new().unwrap();
    let (state, yesterday) = (home.path().join("state"), home.path().join("yesterday"));
    let memory = HeadMemory::new(home.path().join("heads.json"));
    let genesis = fixture.genesis.digest();
    let running = start(&fixture, &state).await;
    fixture.provision(&running).await;
    running.stop().await;
    start(&fixture, &state).await.stop().await;
    copy(&state, &yesterday);

    // Today the manifest is replaced, and a replica and an owner see it.
    let running = start(&fixture, &state).await;
    let replica = Renewing::new(&fixture);
    assert_eq!(replica.renew(&running).await.unwrap().unwrap(), b"open sesame");
    let owner = fixture.owner(running.address).await;
    let applied =
        execute(&owner, fixture.command(&owner, 1, apply(&fixture.signed(&fixture.document(2))))).await;
    let acknowledged: StateHead = applied.unwrap().head.unwrap().try_into().unwrap();
    assert_eq!((acknowledged.epoch, acknowledged.manifest_version), (3, 2));
    memory.remember(genesis, &acknowledged).unwrap();
    assert_eq!(replica.renew(&running).await.unwrap().unwrap(), b"open sesame");
    running.stop().await;

    // The host puts yesterday's file back. The broker can't know.
    let running = start(&fixture, &yesterday).await;
    let owner = fixture.owner(running.address).await;
    let error = memory.check(genesis, &head(&owner)).unwrap_err();
    assert_eq!(error.code(), "state-rolled-back");
    let text = error.to_string();
    assert!(text.contains("manifest version 2") && text.contains("manifest version 1"), "{text}");
    let refused = replica.renew(&running).await.unwrap_err();
    assert_eq!(refused.code(), "state-rolled-back", "{refused}");
    assert!(!refused.retry());
    // Also when the file is exchanged behind a session's handshake: the broker
    // itself says that it does not continue what was seen.
    let seen = Some((&acknowledged).into());
    let mut client = BrokerAdministrationClient::new(owner.channel.clone());
    let refused =
        client.get_status(Request::new(GetStatusRequest { seen, recovery: false })).await.unwrap_err();
    assert_eq!(stable(&refused), (Code::FailedPrecondition, "state-rolled-back".to_owned(), false));
    running.stop().await;

    // With today's file all is well.
    let running = start(&fixture, &state).await;
    assert_eq!(replica.renew(&running).await.unwrap().unwrap(), b"open sesame");
    memory.check(genesis, &head(&fixture.owner(running.address).await)).unwrap();
    running.stop().await;
}

#[tokio::test]
async fn of_two_brokers_on_one_copied_store_a_replica_follows_one() {
    let fixture = Fixture::new(1, 1);
    let home = TempDir::new().unwrap();
    let (one, two) = (home.path().join("one"), home.path().join("two"));
    let running = start(&fixture, &one).await;
    fixture.provision(&running).await;
    running.broker.store().append_audit(vec![b"common".to_vec()]).await.unwrap();
    running.stop().await;
    copy(&one, &two);

    let (one, two) = (start(&fixture, &one).await, start(&fixture, &two).await);
    let common = one.broker.store().head().audit_size;
    one.broker.store().append_audit(vec![b"one".to_vec()]).await.unwrap();
    let replica = Renewing::new(&fixture);
    assert_eq!(replica.renew(&one).await.unwrap().unwrap(), b"open sesame");
    let of_one = replica.guard.seen().unwrap();
    assert!(of_one.audit_size > common);

    // Not beyond what was seen: refused for being lower, or for the other hash.
    while two.broker.store().head().audit_size < of_one.audit_size {
        let refused = replica.renew(&two).await.unwrap_err();
        assert_eq!(refused.code(), "state-rolled-back", "{refused}");
        two.broker.store().append_audit(vec![b"two".to_vec()]).await.unwrap();
    }
    let refused = replica.renew(&two).await.unwrap_err();
    assert_eq!(refused.code(), "state-forked", "{refused}");
    let text = refused.to_string();
    let hash = |head: &StateHead| head.audit_hash.unwrap().to_string();
    assert!(text.contains(&hash(&of_one)) && text.contains(&hash(&two.broker.store().head())), "{text}");

    // Beyond it, only the broker's own log can tell, and it is asked.
    two.broker.store().append_audit(vec![b"two".to_vec(), b"and more".to_vec()]).await.unwrap();
    let refused = replica.renew(&two).await.unwrap().unwrap_err();
    assert_eq!(stable(&refused), (Code::FailedPrecondition, "state-forked".to_owned(), false));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn after_an_unplanned_restart_nothing_is_released_until_the_owners_confirm() {
    // Two of three owners must agree to changes, and to a confirmation.
    let fixture = Fixture::new(3, 2);
    let home = TempDir::new().unwrap();
    let running = start(&fixture, home.path()).await;
    fixture.provision(&running).await;
    assert!(!running.broker.awaiting_confirmation());
    running.crash().await;

    for planned in [false, true] {
        // A shutdown in good order does not confirm what nobody confirmed.
        let running = start(&fixture, home.path()).await;
        assert!(running.broker.awaiting_confirmation(), "after a planned restart: {planned}");
        let replica = fixture.replica("serving", running.address).await.unwrap();
        let refused = fetch(&replica, &["ssl_config"]).await.unwrap_err();
        assert_eq!(stable(&refused), (Code::Unavailable, "awaiting-confirmation".to_owned(), true));
        running.stop().await;
    }

    let running = start(&fixture, home.path()).await;
    let owner = fixture.owner(running.address).await;
    let refused = execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"next"))).await.unwrap_err();
    assert_eq!(stable(&refused).1, "awaiting-confirmation");
    let status = running.broker.status();
    assert!(status.awaiting_confirmation);
    // The confirmed state must be this one.
    let now = head(&owner);
    let all: Vec<_> = fixture.owners.iter().map(|key| (key, None)).collect();
    let confirm =
        |head: &StateHead| fixture.command(&owner, 1, fixture.confirmation(&running, head, None, &all));
    let mut other = now.clone();
    other.epoch -= 1;
    let refused = execute(&owner, confirm(&other)).await.unwrap_err();
    assert_eq!(stable(&refused).1, "confirmation-stale");
    other.epoch += 2;
    let refused = execute(&owner, confirm(&other)).await.unwrap_err();
    assert_eq!(stable(&refused).1, "state-rolled-back");
    let thief = OwnerSigningKey::generate().unwrap();
    let [a, b, _] = fixture.owners.as_slice() else { panic!() };
    // A stranger's word is none, and one owner's is not enough.
    for (signers, sender, code) in [
        (vec![(&thief, None)], a, "signature-by-stranger"),
        (vec![(a, None)], a, "signatures-below-threshold"),
        (vec![(a, None), (a, None)], a, "signatures-below-threshold"),
        (vec![(a, None), (b, None)], &thief, "signature-by-stranger"),
        (vec![], a, "signature-missing"),
    ] {
        let confirm = fixture.confirmation(&running, &now, None, &signers);
        let refused = execute(&owner, by(&fixture, &owner, 1, confirm, sender)).await.unwrap_err();
        assert_eq!(stable(&refused).1, code);
        assert!(running.broker.awaiting_confirmation());
    }
    // A confirmation for another start, or another broker, does not count.
    let mut carried = fixture.confirmation(&running, &now, None, &[(a, None), (b, None)]);
    let command::Command::ConfirmState(confirm) = &mut carried else { panic!() };
    confirm.challenge[0] ^= 1;
    let refused = execute(&owner, by(&fixture, &owner, 1, carried, a)).await.unwrap_err();
    assert_eq!(stable(&refused).1, "confirmation-other-start");
    // Two sign, and one of them brings it.
    let confirm = fixture.confirmation(&running, &now, None, &[(a, None), (b, Some(&now))]);
    execute(&owner, by(&fixture, &owner, 1, confirm, b)).await.unwrap();
    let replica = fixture.replica("serving", running.address).await.unwrap();
    assert_eq!(fetch(&replica, &["ssl_config"]).await.unwrap().secrets[0].value, b"open sesame");
    running.stop().await;
    let running = start(&fixture, home.path()).await;
    assert!(!running.broker.awaiting_confirmation(), "it stays confirmed");
    running.stop().await;
}

/// One owner's command.
fn by(
    fixture: &Fixture,
    session: &AttestedSession,
    version: u64,
    command: command::Command,
    key: &OwnerSigningKey,
) -> SignedCommand {
    let (binding, genesis) = (&session.info.request_binding, fixture.genesis.digest());
    adytum_governance::command::sign(binding, genesis, version, command, &[key])
}

/// Two of A, B and C must agree. A and B remove C and revoke the workload by manifest 2.
/// The host puts the state of manifest 1 back. Gives the fixture, the directory of that
/// state, and the head that A and B have seen.
async fn rolled_back(home: &TempDir) -> (Fixture, PathBuf, StateHead) {
    let fixture = Fixture::new(3, 2);
    let (state, copied) = (home.path().join("state"), home.path().join("copied"));
    let running = start(&fixture, &state).await;
    fixture.provision(&running).await;
    running.crash().await;
    crate::fixture::eventually("the directory is free", async || {
        LockedStore::open(&state, fixture.genesis.digest()).ok()
    })
    .await;
    copy(&state, &copied);

    let running = start(&fixture, &state).await;
    fixture.confirm(&running).await;
    let [a, b, _] = fixture.owners.as_slice() else { panic!() };
    let mut document = fixture.document(2);
    document.workloads[0].policy = policy(identity("another program"));
    let keys = vec![a.public_key(), b.public_key()];
    document.owners = Some(OwnersTable { threshold: Some(2), keys, auditors: Vec::new() });
    let owner = fixture.owner(running.address).await;
    let genesis = fixture.genesis.digest();
    let apply = apply(&fixture.signed(&document));
    let revoke = adytum_governance::command::sign(&owner.info.request_binding, genesis, 1, apply, &[a, b]);
    let seen: StateHead = execute(&owner, revoke).await.unwrap().head.unwrap().try_into().unwrap();
    let replica = fixture.replica("serving", running.address).await.unwrap();
    assert_eq!(fetch(&replica, &["ssl_config"]).await.unwrap_err().code(), Code::PermissionDenied);
    running.stop().await;
    (fixture, copied, seen)
}

#[tokio::test]
async fn a_removed_owner_brings_no_older_state_back() {
    let home = TempDir::new().unwrap();
    let (fixture, copied, seen) = rolled_back(&home).await;
    let [a, b, c] = fixture.owners.as_slice() else { panic!() };
    let running = start(&fixture, &copied).await;
    let owner = fixture.owner(running.address).await;
    let now = head(&owner);
    let mut lower = seen.clone();
    (lower.manifest_version, lower.audit_size, lower.audit_hash) = (1, now.audit_size + 1, seen.audit_hash);
    for (given_up, signers, code) in [
        // The removed owner's key alone, whatever it claims.
        (None, vec![(c, None)], "signatures-below-threshold"),
        (None, vec![(c, Some(&now))], "signatures-below-threshold"),
        (Some(&seen), vec![(c, None)], "signatures-below-threshold"),
        // With an owner who has seen manifest 2 and signs what the host shows.
        (None, vec![(c, None), (b, Some(&seen))], "confirmation-newer-seen"),
        (None, vec![(b, Some(&seen)), (a, Some(&seen))], "confirmation-newer-seen"),
        // With an owner whom C made give up another state than the one that was seen.
        (Some(&lower), vec![(c, None), (b, Some(&seen))], "confirmation-newer-than-given-up"),
        // Nothing is given up where the state goes on.
        (Some(&now), vec![(c, None), (b, None)], "confirmation-nothing-given-up"),
    ] {
        let confirm = fixture.confirmation(&running, &now, given_up, &signers);
        let refused = execute(&owner, by(&fixture, &owner, 1, confirm, c)).await.unwrap_err();
        assert_eq!(stable(&refused).1, code);
        assert!(running.broker.awaiting_confirmation());
        let replica = fixture.replica("serving", running.address).await.unwrap();
        let refused = fetch(&replica, &["ssl_config"]).await.unwrap_err();
        assert_eq!(stable(&refused).1, "awaiting-confirmation");
    }
    // B's word for giving a state up is none for a state's being the newest, and the
    // other way round: C can't use what B signed for anything else.
    let confirm = fixture.confirmation(&running, &now, Some(&seen), &[(c, None), (b, Some(&seen))]);
    let command::Command::ConfirmState(mut turned) = confirm else { panic!() };
    turned.given_up = None;
    let turned = command::Command::ConfirmState(turned);
    let refused = execute(&owner, by(&fixture, &owner, 1, turned, c)).await.unwrap_err();
    assert_eq!(stable(&refused).1, "signature-invalid");
    running.stop().await;
}

#[tokio::test]
async fn as_many_owners_as_must_agree_restore_a_backup_and_that_is_recorded() {
    let home = TempDir::new().unwrap();
    let (fixture, copied, seen) = rolled_back(&home).await;
    let [a, b, _] = fixture.owners.as_slice() else { panic!() };
    let running = start(&fixture, &copied).await;
    let owner = fixture.owner(running.address).await;
    let now = head(&owner);
    // A's tool has seen less than B's.
    let confirm = fixture.confirmation(&running, &now, Some(&seen), &[(a, Some(&now)), (b, Some(&seen))]);
    execute(&owner, by(&fixture, &owner, 1, confirm, a)).await.unwrap();
    assert!(!running.broker.awaiting_confirmation());
    let last = running.broker.store().records(1, 1000).unwrap().pop().unwrap();
    let last = describe(&decode(&last.bytes).unwrap()).fields();
    let field = |name: &str| last.iter().find(|(field, _)| field == name).unwrap().1.clone();
    assert_eq!(field("command"), "accept-rollback");
    assert_eq!(field("reason"), format!("given up: {seen}; restored: {now}"));
    assert!([a, b].iter().all(|key| field("owners").contains(&key.public_key().to_string())));
    running.stop().await;
}

#[tokio::test]
async fn a_manifest_may_let_one_owner_confirm_but_not_give_a_state_up() {
    let fixture = Fixture::new(2, 2);
    let home = TempDir::new().unwrap();
    let running = start(&fixture, home.path()).await;
    let mut document = fixture.document(1);
    document.restart.confirm_by = NonZeroUsize::new(1);
    let owner = fixture.owner(running.address).await;
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&document)))).await.unwrap();
    running.crash().await;
    let running = start(&fixture, home.path()).await;
    let owner = fixture.owner(running.address).await;
    let (now, [a, _]) = (head(&owner), fixture.owners.as_slice()) else { panic!() };
    let mut newer = now.clone();
    newer.epoch += 1;
    let give_up = fixture.confirmation(&running, &now, Some(&newer), &[(a, Some(&newer))]);
    let refused = execute(&owner, by(&fixture, &owner, 1, give_up, a)).await.unwrap_err();
    assert_eq!(stable(&refused).1, "signatures-below-threshold");
    let newer_seen = fixture.confirmation(&running, &now, None, &[(a, Some(&newer))]);
    let refused = execute(&owner, by(&fixture, &owner, 1, newer_seen, a)).await.unwrap_err();
    assert_eq!(stable(&refused).1, "confirmation-newer-seen");
    assert!(running.broker.awaiting_confirmation());
    let confirm = fixture.confirmation(&running, &now, None, &[(a, None)]);
    execute(&owner, by(&fixture, &owner, 1, confirm, a)).await.unwrap();
    assert!(!running.broker.awaiting_confirmation());
    running.stop().await;
}

#[tokio::test]
async fn a_manifest_may_say_that_the_broker_serves_at_once() {
    let fixture = Fixture::new(1, 1);
    let home = TempDir::new().unwrap();
    let running = start(&fixture, home.path()).await;
    let mut document = fixture.document(1);
    document.restart.unplanned = UnplannedRestart::Serve;
    let owner = fixture.owner(running.address).await;
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&document)))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"open sesame"))).await.unwrap();
    running.crash().await;
    let running = start(&fixture, home.path()).await;
    assert!(!running.broker.awaiting_confirmation());
    let replica = fixture.replica("serving", running.address).await.unwrap();
    assert_eq!(fetch(&replica, &["ssl_config"]).await.unwrap().secrets[0].value, b"open sesame");
    running.stop().await;
}

#[tokio::test]
async fn a_copy_from_a_planned_shutdown_is_not_released_from_where_the_manifest_says_so() {
    let fixture = Fixture::new(1, 1);
    let home = TempDir::new().unwrap();
    let running = start(&fixture, home.path()).await;
    let mut document = fixture.document(1);
    document.restart.planned = PlannedRestart::Wait;
    let owner = fixture.owner(running.address).await;
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&document)))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"open sesame"))).await.unwrap();
    running.stop().await;
    let running = start(&fixture, home.path()).await;
    let replica = fixture.replica("serving", running.address).await.unwrap();
    let refused = fetch(&replica, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&refused).1, "awaiting-confirmation");
    fixture.confirm(&running).await;
    assert_eq!(fetch(&replica, &["ssl_config"]).await.unwrap().secrets[0].value, b"open sesame");
    running.stop().await;
}
