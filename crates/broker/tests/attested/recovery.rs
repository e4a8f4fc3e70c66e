//! The root key lives through the loss of its machine, and only those who were
//! named bring it back.

use std::{path::Path, sync::Arc};

use adytum_broker::{
    start::{
        opening::{self, Opening},
        standby::Cause,
    },
    store::{LockedStore, Store},
};
use adytum_evidence::{clock::SystemClock, verifier::Verifier};
use adytum_governance::{
    manifest::document::{Document, RecoveryTable},
    recovery::{arrangement::Arrangement, root_key::RootKey, sharing::RecoveryIdentity},
};
use adytum_sim::Platform;
use tempfile::TempDir;
use tonic::Code;

use crate::{
    fixture::{Fixture, RunningBroker, apply, execute, fetch, identity, policy, put, stable},
    standing_by::{Waiting, recovery, reopen, send, supply, unwrapped},
    succession::{NEXT, ask, authorisation, authorise},
};

fn keys() -> [RecoveryIdentity; 3] {
    std::array::from_fn(|_| RecoveryIdentity::generate())
}

/// Two platforms are trusted: the present one and the one that follows it.
fn document(fixture: &Fixture, version: u64, next: &Platform, recovery: RecoveryTable) -> Document {
    let mut document = fixture.document(version);
    document.trust.simulation_roots.push(next.root_certificate_pem().to_owned());
    document.recovery = Some(recovery);
    document
}

fn table(threshold: u8, keys: &[RecoveryIdentity]) -> RecoveryTable {
    RecoveryTable::shares(threshold, keys.iter().map(RecoveryIdentity::recipient))
}

/// A broker in this directory with "ssl_config", which 2 of these 3 can recover.
async fn provisioned(
    fixture: &Fixture,
    home: &Path,
    next: &Platform,
    keys: &[RecoveryIdentity],
) -> RunningBroker {
    let running = fixture.start_in(home).await;
    let owner = fixture.owner(running.address).await;
    let manifest = fixture.signed(&document(fixture, 1, next, table(2, keys)));
    execute(&owner, fixture.command(&owner, 0, apply(&manifest))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"open sesame"))).await.unwrap();
    running
}

fn verifier(platform: &Arc<Platform>) -> Verifier {
    let roots = vec![platform.trust_root().unwrap()];
    Verifier::new(roots, Arc::new(platform.collateral_source()), Arc::new(SystemClock))
}

#[tokio::test]
async fn enough_shares_bring_everything_back_on_another_cpu() {
    let mut fixture = Fixture::new(1, 1);
    let (home, keys, other) = (TempDir::new().unwrap(), keys(), Platform::ephemeral().unwrap());
    provisioned(&fixture, home.path(), &other, &keys).await.stop().await;

    // The machine is lost; another one has its disk.
    let lost = std::mem::replace(&mut fixture.platform, other);
    let (waiting, awaiting) = Waiting::for_recovery(&fixture, home.path()).await;
    let owner = fixture.owner(waiting.address).await;
    let status = recovery(&owner).await;
    assert!(status.awaiting && !status.fenced && status.supplied.is_empty());
    assert_eq!(status.threshold, 2);
    let arrangement = Arrangement::decode(&status.arrangement).unwrap();
    // A broker made it, there and for this genesis.
    arrangement
        .verify(fixture.genesis.digest(), &verifier(&lost), &policy(identity("broker")))
        .await
        .unwrap();

    // Nothing else is answered.
    let expected = (Code::Unavailable, "awaiting-recovery".to_owned(), true);
    let replica = fixture.replica("serving", waiting.address).await.unwrap();
    assert_eq!(stable(&fetch(&replica, &["ssl_config"]).await.unwrap_err()), expected);
    let refused = execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"x"))).await.unwrap_err();
    assert_eq!(stable(&refused), expected);

    // One share is not enough, however often it comes.
    for _ in 0..3 {
        let status = send(&owner, supply(&arrangement, &keys[2])).await.unwrap();
        assert!(status.awaiting);
        assert_eq!(status.supplied, [keys[2].recipient().to_string()]);
    }
    assert!(awaiting.open().is_none());
    let status = send(&owner, supply(&arrangement, &keys[0])).await.unwrap();
    assert!(!status.awaiting && status.supplied.is_empty(), "the shares are wiped");
    awaiting.recovered().await;
    let late = send(&owner, supply(&arrangement, &keys[1])).await.unwrap_err();
    assert_eq!(stable(&late).1, "recovered-already");

    let recovered = awaiting.open().unwrap().unwrap();
    let running = fixture.start_with(recovered.store).await;
    waiting.stop().await;
    running.broker.record_recovery(&recovered.by).await.unwrap();
    let last = running.broker.store().records(1, 1000).unwrap().pop().unwrap();
    let last = format!("{:?}", adytum_governance::audit::record::decode(&last.bytes).unwrap());
    for holder in [&keys[0], &keys[2]] {
        assert!(last.contains("recover") && last.contains(holder.recipient().as_str()), "{last}");
    }
    running.broker.keep_arranged(true).await.unwrap();
    // Whether the disk was the newest, an owner says.
    assert!(running.broker.awaiting_confirmation());
    let replica = fixture.replica("serving", running.address).await.unwrap();
    let refused = fetch(&replica, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&refused).1, "awaiting-confirmation");
    fixture.confirm(&running).await;
    let answer = fetch(&replica, &["ssl_config"]).await.unwrap();
    assert_eq!((answer.secrets[0].value.as_slice(), answer.secrets[0].version), (&b"open sesame"[..], 1));
    running.stop().await;

    // It is this machine's now: it opens here without anybody, and not there.
    drop((owner, replica));
    let Ok(Opening::Open(opened)) = reopen(&fixture, "broker", home.path()).await else { panic!() };
    assert!(!opened.1.unconfirmed);
    drop(opened);
    fixture.platform = lost;
    let (waiting, awaiting) = Waiting::for_recovery(&fixture, home.path()).await;
    // Shares that were supplied once open nothing any more.
    let owner = fixture.owner(waiting.address).await;
    let refused = send(&owner, supply(&arrangement, &keys[0])).await.unwrap_err();
    assert_eq!(stable(&refused).1, "share-of-other-arrangement");
    assert_ne!(awaiting.arrangement().id(), arrangement.id());
    waiting.stop().await;
}

#[tokio::test]
async fn wrong_shares_are_refused_and_named() {
    let mut fixture = Fixture::new(1, 1);
    let (home, keys, other) = (TempDir::new().unwrap(), keys(), Platform::ephemeral().unwrap());
    let running = provisioned(&fixture, home.path(), &other, &keys).await;
    let owner = fixture.owner(running.address).await;
    let former = Arrangement::decode(&recovery(&owner).await.arrangement).unwrap();
    // [recovery] changes: another holder for the third one.
    let thief = RecoveryIdentity::generate();
    let next = [&keys[0], &keys[1], &thief].map(RecoveryIdentity::recipient);
    let document = document(&fixture, 2, &other, RecoveryTable::shares(2, next));
    execute(&owner, fixture.command(&owner, 1, apply(&fixture.signed(&document)))).await.unwrap();
    let present = Arrangement::decode(&recovery(&owner).await.arrangement).unwrap();
    assert_ne!(present.id(), former.id());
    // A broker with its key takes no share.
    let refused = send(&owner, supply(&present, &keys[0])).await.unwrap_err();
    assert_eq!(stable(&refused).1, "not-awaiting-recovery");
    drop(owner);
    running.stop().await;

    // A share of another broker of the same owners.
    let (elsewhere, theirs) = (Fixture::new(1, 1), TempDir::new().unwrap());
    let running = provisioned(&elsewhere, theirs.path(), &other, &keys).await;
    let owner = elsewhere.owner(running.address).await;
    let foreign = Arrangement::decode(&recovery(&owner).await.arrangement).unwrap();
    running.stop().await;

    fixture.platform = other;
    let (waiting, awaiting) = Waiting::for_recovery(&fixture, home.path()).await;
    let session = fixture.owner(waiting.address).await;
    let own = supply(&present, &keys[0]);
    let of = |arrangement: &Arrangement, share: Vec<u8>| {
        let mut request = own.clone();
        (request.arrangement, request.share) = (arrangement.id().to_vec(), share);
        request
    };
    let share = |arrangement, key| unwrapped(arrangement, key).expose().to_vec();
    let wrapped = present.share_of(&keys[0].recipient()).unwrap().wrapped.clone();
    let mut stranger = own.clone();
    stranger.recipient = keys[2].recipient().to_string();
    let mut flipped = own.share.clone();
    flipped[20] ^= 1;
    for (request, code) in [
        // Shares of the previous recipients, sent as what they are, and passed off as new.
        (of(&former, share(&former, &keys[0])), "share-of-other-arrangement"),
        (of(&present, share(&former, &keys[0])), "share-wrong"),
        (supply(&foreign, &keys[0]), "share-of-other-arrangement"),
        (of(&present, share(&foreign, &keys[0])), "share-wrong"),
        // The replaced holder, and another holder's share under this name.
        (stranger, "share-recipient-unknown"),
        (of(&present, share(&present, &keys[1])), "share-wrong"),
        (of(&present, flipped), "share-wrong"),
        (of(&present, vec![7; 33]), "share-wrong"),
        // A thief with the wrapped share and without the identity.
        (of(&present, wrapped), "share-malformed"),
        (of(&present, Vec::new()), "share-malformed"),
    ] {
        let refused = send(&session, request).await.unwrap_err();
        assert_eq!(stable(&refused).1, code);
        if code == "share-wrong" {
            assert!(refused.message().contains(&keys[0].recipient().to_string()), "{refused}");
        }
    }
    assert!(keys[0].unwrap(&present.share_of(&thief.recipient()).unwrap().wrapped).is_err());
    assert!(awaiting.status().supplied.is_empty(), "none of them counts");
    send(&session, own.clone()).await.unwrap();
    assert!(!send(&session, supply(&present, &thief)).await.unwrap().awaiting);
    waiting.stop().await;
}

#[tokio::test]
async fn what_the_host_put_in_the_place_of_an_arrangement_is_noticed() {
    let fixture = Fixture::new(1, 1);
    let (home, keys, other) = (TempDir::new().unwrap(), keys(), Platform::ephemeral().unwrap());
    let running = provisioned(&fixture, home.path(), &other, &keys).await;
    let owner = fixture.owner(running.address).await;
    let genuine = recovery(&owner).await.arrangement;

    // The host's own program makes a store with a root key that the host knows, and
    // wraps shares of it to the very recipients: a holder must not supply them.
    let (forger, theirs) = (&fixture, TempDir::new().unwrap());
    let sealing = forger.attester("the host's program").sealing_key().unwrap();
    let locked = LockedStore::open(theirs.path(), fixture.genesis.digest()).unwrap();
    let Ok(Opening::Open(store)) = opening::open(locked, sealing) else { panic!() };
    let forging = forger.start_program("the host's program", *store).await;
    let session = forger
        .connector(None, identity("the host's program"))
        .session(&forging.address.to_string())
        .await
        .unwrap();
    let manifest = fixture.signed(&document(&fixture, 1, &other, table(2, &keys)));
    execute(&session, fixture.command(&session, 0, apply(&manifest))).await.unwrap();
    let forged = Arrangement::decode(&recovery(&session).await.arrangement).unwrap();
    // It opens with the holder's key, as anything does that is encrypted to it.
    unwrapped(&forged, &keys[0]);
    let verify = async |arrangement: &Arrangement, genesis| {
        let (verifier, policy) = (verifier(&fixture.platform), policy(identity("broker")));
        arrangement.verify(genesis, &verifier, &policy).await.map(drop).map_err(|error| error.code())
    };
    let genesis = fixture.genesis.digest();
    assert_eq!(verify(&forged, genesis).await, Err("recovery-by-other-program"));
    // The genuine evidence with other shares, and for another genesis.
    let genuine_one = Arrangement::decode(&genuine).unwrap();
    assert_eq!(verify(&genuine_one, genesis).await, Ok(()));
    assert_eq!(
        verify(&genuine_one, Fixture::new(1, 1).genesis.digest()).await,
        Err("recovery-evidence-not-bound")
    );
    let mut mixed = <adytum_api::broker::RecoveryArrangement as prost::Message>::decode(&*genuine).unwrap();
    let other_one =
        <adytum_api::broker::RecoveryArrangement as prost::Message>::decode(&*forged.encode()).unwrap();
    mixed.shares[0] = other_one.shares[0].clone();
    let mixed = Arrangement::decode(&prost::Message::encode_to_vec(&mixed)).unwrap();
    assert_eq!(verify(&mixed, genesis).await, Err("recovery-evidence-not-bound"));
    // On a platform that nobody trusts.
    let elsewhere = genuine_one.verify(genesis, &verifier(&other), &policy(identity("broker"))).await;
    assert_eq!(elsewhere.unwrap_err().code(), "untrusted-root");
    forging.stop().await;
    drop(owner);

    // In the genuine broker's file, the next start sees that it is not its own.
    running.broker.store().set_envelope("recovery", &forged.encode()).unwrap();
    running.stop().await;
    let Ok(Opening::Open(store)) = reopen(&fixture, "broker", home.path()).await else { panic!() };
    let running = fixture.start_with(*store).await;
    running.broker.keep_arranged(false).await.unwrap();
    let owner = fixture.owner(running.address).await;
    let renewed = Arrangement::decode(&recovery(&owner).await.arrangement).unwrap();
    assert_eq!(verify(&renewed, genesis).await, Ok(()));
    // And leaves alone what is.
    running.broker.keep_arranged(false).await.unwrap();
    assert_eq!(recovery(&owner).await.arrangement, renewed.encode());
    running.stop().await;
}

#[tokio::test]
async fn no_secret_is_kept_that_nobody_could_recover() {
    let fixture = Fixture::new(1, 1);
    let home = TempDir::new().unwrap();
    let running = fixture.start_in(home.path()).await;
    let owner = fixture.owner(running.address).await;
    let mut silent = fixture.document(1);
    silent.recovery = None;
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&silent)))).await.unwrap();
    let refused = execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"x"))).await.unwrap_err();
    let expected = (Code::FailedPrecondition, "recovery-not-arranged".to_owned(), false);
    assert_eq!(stable(&refused), expected);
    assert!(refused.message().contains("[recovery]"), "{refused}");
    // Said by name, it is the owners' business.
    execute(&owner, fixture.command(&owner, 1, apply(&fixture.signed(&fixture.document(2))))).await.unwrap();
    execute(&owner, fixture.command(&owner, 2, put("ssl_config", b"x"))).await.unwrap();
    // It can't be dropped in silence while there are secrets.
    silent.version = 3;
    let refused =
        execute(&owner, fixture.command(&owner, 2, apply(&fixture.signed(&silent)))).await.unwrap_err();
    assert_eq!(stable(&refused), expected);
    assert!(recovery(&owner).await.arrangement.is_empty());
    running.stop().await;

    // A state that ends with the process anyway asks for nothing.
    let running = fixture.start().await;
    let owner = fixture.owner(running.address).await;
    silent.version = 1;
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&silent)))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"x"))).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn the_root_key_is_its_own_and_a_store_without_shares_stays_shut_elsewhere() {
    let mut fixture = Fixture::new(1, 1);
    let home = TempDir::new().unwrap();
    let running = fixture.start_in(home.path()).await;
    fixture.provision(&running).await;
    running.stop().await;
    // It is not the sealing key.
    let sealing = fixture.attester("broker").sealing_key().unwrap().unwrap();
    let shut = Store::open(home.path(), fixture.genesis.digest(), &RootKey(sealing.0)).map(drop).unwrap_err();
    assert_eq!(shut.code(), "store-unsealing");
    fixture.platform = Platform::ephemeral().unwrap();
    let error = reopen(&fixture, "broker", home.path()).await.unwrap_err();
    assert_eq!(error.code(), "store-unsealing");
}

#[tokio::test]
async fn a_tee_without_a_sealing_key_has_its_state_back_after_a_recovery() {
    let fixture = Fixture::new(1, 1);
    let (home, keys, other) = (TempDir::new().unwrap(), keys(), Platform::ephemeral().unwrap());
    let open = || opening::open(LockedStore::open(home.path(), fixture.genesis.digest()).unwrap(), None);
    let Ok(Opening::Open(store)) = open() else { panic!() };
    let running = fixture.start_with(*store).await;
    let owner = fixture.owner(running.address).await;
    let manifest = fixture.signed(&document(&fixture, 1, &other, table(1, &keys)));
    execute(&owner, fixture.command(&owner, 0, apply(&manifest))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"open sesame"))).await.unwrap();
    drop(owner);
    running.stop().await;
    for _ in 0..2 {
        let awaiting = crate::fixture::eventually("the directory is free", async || open().ok()).await;
        let Opening::Awaiting(awaiting) = awaiting else { panic!() };
        let cause = Cause::Awaiting(awaiting.into());
        let Cause::Awaiting(awaiting) = &cause else { panic!() };
        let from = "127.0.0.1:1".parse().unwrap();
        awaiting.supply(from, supply(awaiting.arrangement(), &keys[1])).unwrap();
        let (store, loaded) = awaiting.open().unwrap().unwrap().store;
        assert!(loaded.unconfirmed);
        assert_eq!(loaded.snapshot.secrets["ssl_config"].value.as_ref().unwrap().expose(), b"open sesame");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_state_whose_successor_was_lost_comes_back_by_shares_and_stays() {
    let (fixture, other, keys) = (Fixture::new(1, 1), Platform::ephemeral().unwrap(), keys());
    let home = TempDir::new().unwrap();
    let running = provisioned(&fixture, home.path(), &other, &keys).await;
    let owner = fixture.owner(running.address).await;
    let signed = authorisation(&fixture);
    execute(&owner, fixture.command(&owner, 1, authorise(&signed))).await.unwrap();
    drop(owner);
    // The successor has the key, and its machine is gone before it takes the state up.
    drop(ask(&fixture, fixture.attester(NEXT), running.address, &signed).await.unwrap());
    running.crash().await;
    assert!(matches!(reopen(&fixture, "broker", home.path()).await, Ok(Opening::Fenced(_))));

    let third = || Some(adytum_evidence::attester::SealingKey(zeroize::Zeroizing::new([7; 32])));
    let open = || opening::open(LockedStore::open(home.path(), fixture.genesis.digest()).ok()?, third()).ok();
    let awaiting = crate::fixture::eventually("the directory is free", async || open()).await;
    let Opening::Awaiting(awaiting) = awaiting else { panic!("{awaiting:?}") };
    for key in &keys[..2] {
        awaiting.supply("127.0.0.1:1".parse().unwrap(), supply(awaiting.arrangement(), key)).unwrap();
    }
    let recovered = awaiting.open().unwrap().unwrap();
    let running = fixture.start_with(recovered.store).await;
    running.broker.record_recovery(&recovered.by).await.unwrap();
    assert!(running.broker.awaiting_confirmation());
    fixture.confirm(&running).await;
    running.stop().await;
    let again = crate::fixture::eventually("the directory is free", async || open()).await;
    assert!(matches!(again, Opening::Open(_)), "{again:?}");
}
