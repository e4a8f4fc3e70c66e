//! State that outlives the process.

use std::{fs, sync::Arc};

use adytum_broker::{
    Broker, BrokerConfiguration,
    broker::StartError,
    events::LoggedEvents,
    genesis::Genesis,
    store::{SealedFile, Store},
};
use adytum_evidence::clock::SystemClock;
use adytum_sealed::signing::OwnerSigningKey;
use adytum_sim::{Platform, SimAttester};
use tempfile::TempDir;

use crate::world::{World, execute, fetch, identity, put};

fn restart(world: &World, store: SealedFile) -> Result<Arc<Broker>, StartError> {
    Broker::start(BrokerConfiguration {
        genesis: world.genesis.clone(),
        attester: world.attester("broker"),
        collateral: Arc::new(world.platform.collateral_source()),
        clock: Arc::new(SystemClock),
        store: Box::new(store),
        events: Arc::new(LoggedEvents),
        reference: None,
    })
}

#[tokio::test]
async fn manifest_secrets_and_versions_survive_a_restart() {
    let world = World::new(1, 1);
    let directory = TempDir::new().unwrap();
    let running = world.start_in(directory.path()).await;
    world.provision(&running).await;
    assert_eq!(running.broker.claims().head.epoch, 1);
    running.stop().await;

    let running = eventually_started(&world, &directory).await;
    assert_eq!(running.broker.claims().head.epoch, 2);
    assert_eq!(running.broker.claims().head.manifest_version, 1);
    let replica = world.replica("serving", running.address).await.unwrap();
    let answer = fetch(&replica, &["ssl_config"]).await.unwrap();
    assert_eq!((answer.secrets[0].value.as_slice(), answer.secrets[0].version), (&b"open sesame"[..], 1));
    let owner = world.owner(running.address).await;
    let put = execute(&owner, world.command(&owner, 1, put("ssl_config", b"next"))).await.unwrap();
    assert_eq!(put.secret_version, 2);
    running.stop().await;

    // Not a word of it is readable on the disk.
    let bytes = fs::read(directory.path().join("state")).unwrap();
    for text in ["open sesame", "next", "ssl_config", "serving"] {
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
}

/// The former server's connections may hold the broker, and so the directory's
/// lock, a moment longer.
async fn eventually_started(world: &World, directory: &TempDir) -> crate::world::Running {
    let digest = world.genesis.digest();
    let key = world.attester("broker").sealing_key().unwrap().unwrap();
    crate::world::eventually("the directory is free", async || {
        SealedFile::open(directory.path(), digest, key.clone()).ok()
    })
    .await;
    world.start_in(directory.path()).await
}

#[tokio::test]
async fn state_that_was_changed_or_is_anothers_is_an_error_and_not_an_empty_broker() {
    let world = World::new(1, 1);
    let directory = TempDir::new().unwrap();
    restart(&world, world.store(directory.path())).unwrap();
    let path = directory.path().join("state");
    let good = fs::read(&path).unwrap();
    let code = |store: SealedFile| restart(&world, store).err().map(|error| error.code());

    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&path, &flipped).unwrap();
    assert_eq!(code(world.store(directory.path())), Some("store-unsealing"));
    fs::write(&path, &good).unwrap();

    // Another broker of the same owner on the same machine.
    let owner = OwnerSigningKey::generate().unwrap();
    let other = Genesis::found([owner.public_key()], 1).unwrap().digest();
    let key = world.attester("broker").sealing_key().unwrap().unwrap();
    let foreign = SealedFile::open(directory.path(), other, key).unwrap();
    assert_eq!(foreign.load().unwrap_err().code(), "store-other-genesis");
    drop(foreign);

    // Another binary of the broker, and another machine.
    for attester in [
        world.attester("broker, one byte changed"),
        Arc::new(SimAttester::new(Platform::ephemeral().unwrap(), identity("broker"))),
    ] {
        let key = attester.sealing_key().unwrap().unwrap();
        let store = SealedFile::open(directory.path(), world.genesis.digest(), key).unwrap();
        assert_eq!(code(store), Some("store-unsealing"));
    }
    assert_eq!(code(world.store(directory.path())), None);
}

#[tokio::test]
async fn a_manifest_in_the_state_is_admitted_anew() {
    // Someone with the sealing key (the same code, once fooled) wrote a manifest
    // that the owners did not sign.
    let world = World::new(1, 1);
    let directory = TempDir::new().unwrap();
    let store = world.store(directory.path());
    let mut forged = world.signed(&world.document(1));
    forged.text.push_str("# changed\n");
    let snapshot = adytum_broker::store::Snapshot { manifest: Some(forged), ..Default::default() };
    store.commit(&snapshot).unwrap();
    let error = restart(&world, store).err().unwrap();
    assert_eq!(error.code(), "manifest-signature-invalid");
}
