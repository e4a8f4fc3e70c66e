//! State that outlives the process.

use std::{fs, sync::Arc};

use adytum_broker::{
    Broker, BrokerConfiguration,
    audit::sink::LoggedEvents,
    broker::StartError,
    start::opening,
    store::{Change, FILE, LoadedState, LockedStore, Store},
};
use adytum_evidence::{attester::Attester, clock::SystemClock};
use adytum_governance::genesis::Genesis;
use adytum_signing::OwnerSigningKey;
use adytum_sim::{Platform, SimAttester};
use tempfile::TempDir;

use crate::fixture::{Fixture, execute, fetch, identity, put};

fn restart(fixture: &Fixture, store: (Store, LoadedState)) -> Result<Arc<Broker>, StartError> {
    Broker::start(BrokerConfiguration {
        genesis: fixture.genesis.clone(),
        attester: fixture.attester("broker"),
        collateral: Arc::new(fixture.platform.collateral_source()),
        clock: Arc::new(SystemClock),
        store,
        events: Arc::new(LoggedEvents::default()),
        occlum: None,
    })
}

#[tokio::test]
async fn manifest_secrets_and_versions_survive_a_restart() {
    let fixture = Fixture::new(1, 1);
    let directory = TempDir::new().unwrap();
    let running = fixture.start_in(directory.path()).await;
    fixture.provision(&running).await;
    assert_eq!(running.broker.announcement().head.epoch, 1);
    running.stop().await;

    let running = eventually_started(&fixture, &directory).await;
    assert_eq!(running.broker.announcement().head.epoch, 2);
    assert_eq!(running.broker.announcement().head.manifest_version, 1);
    let replica = fixture.replica("serving", running.address).await.unwrap();
    let answer = fetch(&replica, &["ssl_config"]).await.unwrap();
    assert_eq!((answer.secrets[0].value.as_slice(), answer.secrets[0].version), (&b"open sesame"[..], 1));
    let owner = fixture.owner(running.address).await;
    let put = execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"next"))).await.unwrap();
    assert_eq!(put.secret_version, 2);
    running.stop().await;

    // Not a word of it is readable on the disk.
    let bytes = fs::read(directory.path().join(FILE)).unwrap();
    for text in ["open sesame", "next", "ssl_config", "serving"] {
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
}

/// The previous server's connections may hold the broker, and so the directory's
/// lock, a moment longer.
async fn eventually_started(fixture: &Fixture, directory: &TempDir) -> crate::fixture::RunningBroker {
    let digest = fixture.genesis.digest();
    crate::fixture::eventually("the directory is free", async || {
        LockedStore::open(directory.path(), digest).ok()
    })
    .await;
    fixture.start_in(directory.path()).await
}

#[tokio::test]
async fn state_that_was_changed_or_is_anothers_is_an_error_and_not_an_empty_broker() {
    let fixture = Fixture::new(1, 1);
    let directory = TempDir::new().unwrap();
    let open = |genesis, attester: &dyn Attester| {
        LockedStore::open(directory.path(), genesis)
            .and_then(|locked| opening::open(locked, attester.sealing_key().unwrap()))
            .map(drop)
            .map_err(|error| error.code())
    };
    let (broker, genesis) = (fixture.attester("broker"), fixture.genesis.digest());
    assert_eq!(open(genesis, &*broker), Ok(()));
    let path = directory.path().join(FILE);
    let good = fs::read(&path).unwrap();

    // Every page has something of it.
    let flipped: Vec<u8> =
        good.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at % 512 == 300)).collect();
    fs::write(&path, &flipped).unwrap();
    assert_eq!(open(genesis, &*broker), Err("store-damaged"));
    fs::write(&path, &good).unwrap();

    // Another broker of the same owner on the same machine.
    let owner = OwnerSigningKey::generate().unwrap();
    let other = Genesis::create([owner.public_key()], 1).unwrap().digest();
    assert_eq!(open(other, &*broker), Err("store-other-genesis"));

    // Another binary of the broker, and another machine.
    for attester in [
        fixture.attester("broker, one byte changed"),
        Arc::new(SimAttester::new(Platform::ephemeral().unwrap(), identity("broker"))),
    ] {
        assert_eq!(open(genesis, &*attester), Err("store-unsealing"));
    }
    assert_eq!(open(genesis, &*broker), Ok(()));
}

#[tokio::test]
async fn a_manifest_in_the_state_is_admitted_anew() {
    // Someone with the sealing key (the same code, once fooled) wrote a manifest
    // that the owners did not sign.
    let fixture = Fixture::new(1, 1);
    let directory = TempDir::new().unwrap();
    let (store, _) = fixture.store(directory.path());
    let mut forged = fixture.signed(&fixture.document(1));
    forged.text.push_str("# changed\n");
    store.commit(Change { manifest: Some((1, forged)), ..Change::default() }).await.unwrap();
    drop(store);
    let error = restart(&fixture, fixture.store(directory.path())).err().unwrap();
    assert_eq!(error.code(), "signature-invalid");
}
