//! A host that puts an older state back, or runs two brokers from one copy; and
//! the wait for an owner after an unplanned restart.

use std::{path::Path, sync::Arc};

use adytum_api::{
    broker::{
        ConfirmState, GetSecretsRequest, GetStatusRequest,
        broker_administration_client::BrokerAdministrationClient, command,
        key_broker_client::KeyBrokerClient,
    },
    refusal::RefusalKind,
};
use adytum_broker::store::{self, LockedStore};
use adytum_evidence::claims::Claims;
use adytum_governance::{
    announcement::BrokerAnnouncement,
    head::StateHead,
    heads::{HeadGuard, HeadMemory},
    manifest::document::{PlannedRestart, UnplannedRestart},
    pin::BrokerPin,
};
use adytum_ratls::{
    configuration::ConnectorConfiguration,
    connector::{AttestedConnector, AttestedSession},
    error::{Refusal, SessionError},
    limits::Limits,
    session::{LocalAttestation, Peer},
};
use bytes::Bytes;
use tempfile::TempDir;
use tonic::{Code, Request, Status};

use crate::world::{Running, World, apply, execute, fetch, identity, policy, put, stable};

/// A replica that renews: it remembers, while it runs, what it saw.
struct Renewing {
    guard: Arc<HeadGuard>,
    connector: AttestedConnector,
}

impl Renewing {
    fn new(world: &World) -> Self {
        let pin = BrokerPin { policy: policy(identity("broker")), genesis: world.genesis.digest() };
        let guard = Arc::<HeadGuard>::default();
        let seen = Arc::clone(&guard);
        let attester = world.attester("serving");
        let connector = AttestedConnector::new(ConnectorConfiguration {
            verifier: world.verifier(),
            judge: Arc::new(move |claims: &Claims, announcement: &[u8]| {
                let announced = pin.judge(claims, announcement);
                let announced =
                    announced.map_err(|error| Refusal::verdict(error.code(), error.to_string()))?;
                seen.accept(announced.head).map_err(|error| Refusal {
                    code: error.code().to_owned(),
                    message: error.to_string(),
                    retry: error.retry(),
                    kind: RefusalKind::Verdict,
                })
            }),
            local: Some(LocalAttestation { attester, announcement: Arc::new(Bytes::new) }),
            limits: Limits::default(),
        });
        Self { guard, connector }
    }

    async fn renew(&self, running: &Running) -> Result<Result<Vec<u8>, Status>, SessionError> {
        let seen = self.guard.seen().as_ref().map(Into::into);
        let session = self.connector.session(&running.address.to_string()).await?;
        let request = GetSecretsRequest { names: vec!["ssl_config".to_owned()], seen, ..Default::default() };
        let answer = KeyBrokerClient::new(session.channel).get_secrets(Request::new(request)).await;
        Ok(answer.map(|answer| answer.into_inner().secrets.remove(0).value))
    }
}

fn head(session: &AttestedSession) -> StateHead {
    let Peer::Attested { announcement, .. } = &session.info.peer else { panic!("no evidence") };
    BrokerAnnouncement::decode(announcement).unwrap().head
}

async fn start(world: &World, directory: &Path) -> Running {
    crate::world::eventually("the directory is free", async || {
        LockedStore::open(directory, world.genesis.digest()).ok()
    })
    .await;
    world.start_in(directory).await
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::copy(from.join(store::FILE), to.join(store::FILE)).unwrap();
}

#[tokio::test]
async fn an_old_file_restored_is_refused_by_owners_and_renewing_replicas() {
    let world = World::new(1, 1);
    let home = TempDir::new().unwrap();
    let (state, yesterday) = (home.path().join("state"), home.path().join("yesterday"));
    let memory = HeadMemory::new(home.path().join("heads.json"));
    let genesis = world.genesis.digest();
    let running = start(&world, &state).await;
    world.provision(&running).await;
    running.stop().await;
    start(&world, &state).await.stop().await;
    copy(&state, &yesterday);

    // Today the manifest is replaced, and a replica and an owner see it.
    let running = start(&world, &state).await;
    let replica = Renewing::new(&world);
    assert_eq!(replica.renew(&running).await.unwrap().unwrap(), b"open sesame");
    let owner = world.owner(running.address).await;
    let applied = execute(&owner, world.command(&owner, 1, apply(&world.signed(&world.document(2))))).await;
    let acknowledged: StateHead = applied.unwrap().head.unwrap().try_into().unwrap();
    assert_eq!((acknowledged.epoch, acknowledged.manifest_version), (3, 2));
    memory.remember(genesis, &acknowledged).unwrap();
    assert_eq!(replica.renew(&running).await.unwrap().unwrap(), b"open sesame");
    running.stop().await;

    // The host puts yesterday's file back. The broker can't know.
    let running = start(&world, &yesterday).await;
    let owner = world.owner(running.address).await;
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
    let running = start(&world, &state).await;
    assert_eq!(replica.renew(&running).await.unwrap().unwrap(), b"open sesame");
    memory.check(genesis, &head(&world.owner(running.address).await)).unwrap();
    running.stop().await;
}

#[tokio::test]
async fn of_two_brokers_on_one_copied_store_a_replica_follows_one() {
    let world = World::new(1, 1);
    let home = TempDir::new().unwrap();
    let (one, two) = (home.path().join("one"), home.path().join("two"));
    let running = start(&world, &one).await;
    world.provision(&running).await;
    running.broker.store().append_audit(vec![b"common".to_vec()]).await.unwrap();
    running.stop().await;
    copy(&one, &two);

    let (one, two) = (start(&world, &one).await, start(&world, &two).await);
    let common = one.broker.store().head().audit_size;
    one.broker.store().append_audit(vec![b"one".to_vec()]).await.unwrap();
    let replica = Renewing::new(&world);
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

fn confirm(head: &StateHead) -> command::Command {
    command::Command::ConfirmState(ConfirmState { head: Some(head.into()) })
}

#[tokio::test]
async fn after_an_unplanned_restart_nothing_is_released_until_an_owner_confirms() {
    // Two of two owners must agree to changes; either may confirm.
    let world = World::new(2, 2);
    let home = TempDir::new().unwrap();
    let running = start(&world, home.path()).await;
    world.provision(&running).await;
    assert!(!running.broker.awaiting_confirmation());
    running.crash().await;

    for planned in [false, true] {
        // A shutdown in good order does not confirm what nobody confirmed.
        let running = start(&world, home.path()).await;
        assert!(running.broker.awaiting_confirmation(), "after a planned restart: {planned}");
        let replica = world.replica("serving", running.address).await.unwrap();
        let refused = fetch(&replica, &["ssl_config"]).await.unwrap_err();
        assert_eq!(stable(&refused), (Code::Unavailable, "awaiting-confirmation".to_owned(), true));
        running.stop().await;
    }

    let running = start(&world, home.path()).await;
    let owner = world.owner(running.address).await;
    let refused = execute(&owner, world.command(&owner, 1, put("ssl_config", b"next"))).await.unwrap_err();
    assert_eq!(stable(&refused).1, "awaiting-confirmation");
    let status = running.broker.status();
    assert!(status.awaiting_confirmation);
    // The confirmed state must be this one.
    let now = head(&owner);
    let mut other = now.clone();
    other.epoch -= 1;
    let refused = execute(&owner, world.command(&owner, 1, confirm(&other))).await.unwrap_err();
    assert_eq!(stable(&refused).1, "confirmation-stale");
    other.epoch += 2;
    let refused = execute(&owner, world.command(&owner, 1, confirm(&other))).await.unwrap_err();
    assert_eq!(stable(&refused).1, "state-rolled-back");
    // A stranger's word is none; one owner's is enough.
    let sign = |key| {
        let (binding, genesis) = (&owner.info.request_binding, world.genesis.digest());
        adytum_governance::command::sign(binding, genesis, 1, confirm(&now), &[key])
    };
    let thief = adytum_signing::OwnerSigningKey::generate().unwrap();
    let refused = execute(&owner, sign(&thief)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(running.broker.awaiting_confirmation());
    execute(&owner, sign(&world.owners[1])).await.unwrap();
    let replica = world.replica("serving", running.address).await.unwrap();
    assert_eq!(fetch(&replica, &["ssl_config"]).await.unwrap().secrets[0].value, b"open sesame");
    running.stop().await;
    let running = start(&world, home.path()).await;
    assert!(!running.broker.awaiting_confirmation(), "it stays confirmed");
    running.stop().await;
}

#[tokio::test]
async fn a_manifest_may_say_that_the_broker_serves_at_once() {
    let world = World::new(1, 1);
    let home = TempDir::new().unwrap();
    let running = start(&world, home.path()).await;
    let mut document = world.document(1);
    document.restart.unplanned = UnplannedRestart::Serve;
    let owner = world.owner(running.address).await;
    execute(&owner, world.command(&owner, 0, apply(&world.signed(&document)))).await.unwrap();
    execute(&owner, world.command(&owner, 1, put("ssl_config", b"open sesame"))).await.unwrap();
    running.crash().await;
    let running = start(&world, home.path()).await;
    assert!(!running.broker.awaiting_confirmation());
    let replica = world.replica("serving", running.address).await.unwrap();
    assert_eq!(fetch(&replica, &["ssl_config"]).await.unwrap().secrets[0].value, b"open sesame");
    running.stop().await;
}

#[tokio::test]
async fn a_copy_from_a_planned_shutdown_is_not_released_from_where_the_manifest_says_so() {
    let world = World::new(1, 1);
    let home = TempDir::new().unwrap();
    let running = start(&world, home.path()).await;
    let mut document = world.document(1);
    document.restart.planned = PlannedRestart::Wait;
    let owner = world.owner(running.address).await;
    execute(&owner, world.command(&owner, 0, apply(&world.signed(&document)))).await.unwrap();
    execute(&owner, world.command(&owner, 1, put("ssl_config", b"open sesame"))).await.unwrap();
    running.stop().await;
    let running = start(&world, home.path()).await;
    let replica = world.replica("serving", running.address).await.unwrap();
    let refused = fetch(&replica, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&refused).1, "awaiting-confirmation");
    let owner = world.owner(running.address).await;
    let now = head(&owner);
    execute(&owner, world.command(&owner, 1, confirm(&now))).await.unwrap();
    assert_eq!(fetch(&replica, &["ssl_config"]).await.unwrap().secrets[0].value, b"open sesame");
    running.stop().await;
}
