//! A broker hands its root key to the one that the owners authorised, to no other,
//! and releases nothing afterwards.

use std::{net::SocketAddr, path::Path, sync::Arc};

use adytum_api::broker::{
    AuthoriseUpgrade, TakeOverRequest, broker_succession_client::BrokerSuccessionClient, command,
};
use adytum_broker::{
    Broker, BrokerConfiguration,
    audit::sink::LoggedEvents,
    start::{
        opening::Opening,
        standby::Cause,
        taking::{HandedRootKey, TakeOver, TakeOverError},
    },
    store::{FILE, LoadedState, Store},
};
use adytum_evidence::{attester::Attester, clock::SystemClock, trust::Vendor};
use adytum_governance::{
    approval::OwnerApproval,
    authorisation::{Document, SignedAuthorisation},
    manifest::document::TrustTable,
};
use adytum_signing::OwnerSigningKey;
use adytum_sim::{Platform, SimAttester};
use adytum_testkit::tee::ScriptedTee;
use tempfile::TempDir;
use tonic::{Code, Request};

use crate::{
    fixture::{Fixture, RunningBroker, apply, execute, fetch, identity, policy, put, stable},
    standing_by::{Waiting, recovery, reopen},
};

pub(crate) const NEXT: &str = "broker, next version";

/// Leave for the code [`NEXT`], signed by all owners, for this fixture's broker.
pub(crate) fn authorisation(fixture: &Fixture) -> SignedAuthorisation {
    let trust = TrustTable {
        vendors: vec![Vendor::Simulation],
        simulation_roots: vec![fixture.platform.root_certificate_pem().to_owned()],
        ..TrustTable::default()
    };
    let (present, next) = (policy(identity("broker")), policy(identity(NEXT)));
    let document = Document::new(fixture.genesis.digest(), trust, present, next);
    let mut signed = SignedAuthorisation::unsigned(document.to_toml().unwrap());
    fixture.owners.iter().for_each(|owner| signed.sign(fixture.genesis.digest(), owner));
    signed
}

pub(crate) fn authorise(signed: &SignedAuthorisation) -> command::Command {
    command::Command::AuthoriseUpgrade(AuthoriseUpgrade {
        authorisation: signed.text.clone().into_bytes(),
        signatures: signed.approvals.iter().map(OwnerApproval::to_wire).collect(),
    })
}

/// A broker in this directory with "ssl_config" that may hand over to [`NEXT`].
async fn authorised(fixture: &Fixture, home: &Path) -> (RunningBroker, SignedAuthorisation) {
    let running = fixture.start_in(home).await;
    fixture.provision(&running).await;
    let owner = fixture.owner(running.address).await;
    let signed = authorisation(fixture);
    execute(&owner, fixture.command(&owner, 1, authorise(&signed))).await.unwrap();
    (running, signed)
}

pub(crate) async fn ask(
    fixture: &Fixture,
    attester: Arc<dyn Attester>,
    from: SocketAddr,
    signed: &SignedAuthorisation,
) -> Result<HandedRootKey, TakeOverError> {
    let from = from.to_string();
    let take_over = TakeOver {
        from: &from,
        authorisation: signed,
        genesis: fixture.genesis.digest(),
        occlum: None,
        attester,
        collateral: Arc::new(fixture.platform.collateral_source()),
        clock: Arc::new(SystemClock),
    };
    take_over.ask().await
}

async fn open(handed: &Arc<HandedRootKey>, directory: &Path) -> Result<(Store, LoadedState), TakeOverError> {
    let (handed, directory) = (handed.clone(), directory.to_owned());
    tokio::task::spawn_blocking(move || handed.open(&directory)).await.unwrap()
}

/// The successor goes on with the state.
async fn succeed(fixture: &Fixture, handed: &HandedRootKey, store: (Store, LoadedState)) -> RunningBroker {
    let broker = Broker::start(BrokerConfiguration {
        genesis: fixture.genesis.clone(),
        attester: fixture.attester(NEXT),
        collateral: Arc::new(fixture.platform.collateral_source()),
        clock: Arc::new(SystemClock),
        store,
        events: Arc::new(LoggedEvents::default()),
        occlum: None,
    })
    .unwrap();
    broker.succeed(handed).await.unwrap();
    fixture.serve(broker).await
}

fn refusal(result: Result<HandedRootKey, TakeOverError>) -> (Code, String, bool) {
    match result.unwrap_err() {
        TakeOverError::Refused(status) => stable(&status),
        other => panic!("{other}"),
    }
}

/// What a workload gets from a broker of this code.
async fn release(fixture: &Fixture, program: &str, address: SocketAddr) -> Result<Vec<u8>, String> {
    let connector = fixture.connector(Some(fixture.attester("serving")), identity(program));
    let session = connector.session(&address.to_string()).await.unwrap();
    match fetch(&session, &["ssl_config"]).await {
        Ok(answer) => Ok(answer.secrets[0].value.clone()),
        Err(status) => Err(stable(&status).1),
    }
}

#[tokio::test]
async fn the_authorised_successor_goes_on_and_the_former_broker_is_fenced() {
    let fixture = Fixture::new(2, 2);
    let home = TempDir::new().unwrap();
    let (former, signed) = authorised(&fixture, home.path()).await;
    let replica = fixture.replica("serving", former.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();

    let handed = Arc::new(ask(&fixture, fixture.attester(NEXT), former.address, &signed).await.unwrap());
    // On sessions that were open, and on new ones.
    let refused = fetch(&replica, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&refused), (Code::Unavailable, "fenced".to_owned(), true));
    assert_eq!(release(&fixture, "broker", former.address).await, Err("fenced".into()));
    let owner = fixture.owner(former.address).await;
    let refused = execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"x"))).await.unwrap_err();
    assert_eq!(stable(&refused).1, "fenced");
    let fenced = former.broker.handed_over().await;
    let head = former.broker.store().head();

    // The successor takes up the very directory.
    let store = open(&handed, home.path()).await.unwrap();
    let next = succeed(&fixture, &handed, store).await;
    assert_eq!(release(&fixture, NEXT, next.address).await, Ok(b"open sesame".to_vec()));
    assert!(!next.broker.awaiting_confirmation());
    // A peer that has seen the previous state sees that this is its continuation.
    next.broker.continues(&head).await.unwrap();
    let log = next.broker.store().records(1, 1000).unwrap();
    let commands: Vec<String> = log
        .iter()
        .filter_map(|record| adytum_governance::audit::record::decode(&record.bytes)?.what)
        .filter_map(|what| match what {
            adytum_api::broker::audit_record::What::Command(command) => Some(command.command),
            _ => None,
        })
        .collect();
    assert_eq!(commands, ["apply-manifest", "put-secret", "authorise-upgrade", "hand-over", "take-over"]);
    former.crash().await;
    next.stop().await;
    drop((owner, replica));

    // Nothing is left for the previous code, on its machine or through its fence.
    let error = reopen(&fixture, "broker", home.path()).await.unwrap_err();
    assert_eq!(error.code(), "store-unsealing");
    let waiting = Waiting::start(&fixture, "broker", Cause::Fenced(fenced)).await;
    assert_eq!(release(&fixture, "broker", waiting.address).await, Err("fenced".into()));
    assert!(recovery(&fixture.owner(waiting.address).await).await.fenced);
    waiting.stop().await;
    let Ok(Opening::Open(store)) = reopen(&fixture, NEXT, home.path()).await else { panic!() };
    let next = fixture.start_program(NEXT, *store).await;
    assert_eq!(release(&fixture, NEXT, next.address).await, Ok(b"open sesame".to_vec()));
    next.stop().await;
}

#[tokio::test]
async fn nobody_else_gets_the_root_key() {
    let fixture = Fixture::new(2, 2);
    let home = TempDir::new().unwrap();
    let running = fixture.start_in(home.path()).await;
    fixture.provision(&running).await;
    let signed = authorisation(&fixture);
    let next = || fixture.attester(NEXT);
    let denied = |code: &str| (Code::PermissionDenied, code.to_owned(), false);

    // The document alone, before the owners have given it to the broker.
    let asked = ask(&fixture, next(), running.address, &signed).await;
    assert_eq!(refusal(asked), denied("upgrade-not-authorised"));
    // One of two owners; a thief; another program than the one signed for.
    let owner = fixture.owner(running.address).await;
    let mut one = signed.clone();
    one.approvals.pop();
    let mut forged = one.clone();
    forged.sign(fixture.genesis.digest(), &OwnerSigningKey::generate().unwrap());
    let mut changed = signed.clone();
    changed.text =
        changed.text.replace(&identity(NEXT).to_string(), &identity("the host's program").to_string());
    for (bad, code) in [
        (&one, "signatures-below-threshold"),
        (&forged, "signature-by-stranger"),
        (&changed, "signature-invalid"),
    ] {
        let refused = execute(&owner, fixture.command(&owner, 1, authorise(bad))).await.unwrap_err();
        assert_eq!(stable(&refused), denied(code));
    }
    // What owners signed for another broker of theirs.
    let mut elsewhere = Fixture::new(1, 1);
    let mut foreign = authorisation(&elsewhere);
    fixture.owners.iter().for_each(|owner| foreign.sign(elsewhere.genesis.digest(), owner));
    let refused = execute(&owner, fixture.command(&owner, 1, authorise(&foreign))).await.unwrap_err();
    assert_eq!(stable(&refused).1, "upgrade-authorisation-other-genesis");

    execute(&owner, fixture.command(&owner, 1, authorise(&signed))).await.unwrap();
    // Another program; the right one on a platform that the manifest does not trust.
    let thief = fixture.attester("the host's program");
    assert_eq!(
        refusal(ask(&fixture, thief, running.address, &signed).await),
        denied("upgrade-policy-refused")
    );
    let untrusted = Arc::new(SimAttester::new(Platform::ephemeral().unwrap(), identity(NEXT)));
    assert!(matches!(
        ask(&fixture, untrusted, running.address, &signed).await,
        Err(TakeOverError::Session(_))
    ));
    // The right program that does not attest, and one that is a workload.
    let request = TakeOverRequest {
        authorisation: adytum_evidence::measurement::Sha256Digest::of_bytes(signed.text.as_bytes())
            .0
            .to_vec(),
        successor: vec![1; 32],
    };
    let mut client = BrokerSuccessionClient::new(owner.channel.clone());
    let refused = client.take_over(Request::new(request.clone())).await.unwrap_err();
    assert_eq!(stable(&refused).1, "evidence-required");
    let without_claims = fixture.replica(NEXT, running.address).await.unwrap();
    let mut client = BrokerSuccessionClient::new(without_claims.channel.clone());
    let refused = client.take_over(Request::new(request)).await.unwrap_err();
    assert_eq!(stable(&refused).1, "announcement-malformed");
    // A broker of another genesis that somebody else created with the right code.
    elsewhere.platform = fixture.platform.clone();
    let mut lured = authorisation(&elsewhere);
    lured.text =
        lured.text.replace(&elsewhere.genesis.digest().to_string(), &fixture.genesis.digest().to_string());
    assert_eq!(lured.text, signed.text);
    let asked = ask(&elsewhere, next(), running.address, &lured).await;
    assert!(matches!(asked, Err(TakeOverError::Authorisation(_))), "{asked:?}");
    // And this one does not take a key from a broker of other code: a host's program
    // could keep a copy.
    let impostor =
        fixture.start_program("the host's program", Store::in_memory(fixture.genesis.digest()).unwrap());
    let impostor = impostor.await;
    let asked = ask(&fixture, next(), impostor.address, &signed).await;
    let Err(TakeOverError::Session(error)) = asked else { panic!("{asked:?}") };
    assert_eq!(error.code(), "policy-refused");
    impostor.stop().await;

    // After all that the broker goes on; and what was authorised can be taken back.
    assert_eq!(release(&fixture, "broker", running.address).await, Ok(b"open sesame".to_vec()));
    let withdraw = command::Command::AuthoriseUpgrade(AuthoriseUpgrade::default());
    execute(&owner, fixture.command(&owner, 1, withdraw)).await.unwrap();
    let asked = ask(&fixture, next(), running.address, &signed).await;
    assert_eq!(refusal(asked), denied("upgrade-not-authorised"));
    assert_eq!(release(&fixture, "broker", running.address).await, Ok(b"open sesame".to_vec()));
    running.stop().await;
}

/// A process may die at any step: the one successor gets the key again, no other does,
/// and the previous broker never releases a secret.
#[tokio::test]
async fn a_death_at_any_step_leaves_one_broker_that_comes_to_release() {
    let fixture = Fixture::new(1, 1);
    let home = TempDir::new().unwrap();
    let (former, signed) = authorised(&fixture, home.path()).await;
    let before = TempDir::new().unwrap();
    std::fs::copy(home.path().join(FILE), before.path().join(FILE)).unwrap();

    // The answer is lost and the previous broker dies with it.
    drop(ask(&fixture, fixture.attester(NEXT), former.address, &signed).await.unwrap());
    former.crash().await;
    let found = reopen(&fixture, "broker", home.path()).await.unwrap();
    let Opening::Fenced(fenced) = found else { panic!("{found:?}") };
    let waiting = Waiting::start(&fixture, "broker", Cause::Fenced(fenced.into())).await;
    assert_eq!(release(&fixture, "broker", waiting.address).await, Err("fenced".into()));

    // The same code on another machine is another successor.
    let other_cpu = Arc::new(on_other_cpu(fixture.platform.clone()));
    let asked = ask(&fixture, other_cpu, waiting.address, &signed).await;
    assert_eq!(refusal(asked), (Code::FailedPrecondition, "fenced".to_owned(), false));

    // The successor gets the key again, opens the store, and dies before it has
    // taken the fence away.
    let handed = Arc::new(ask(&fixture, fixture.attester(NEXT), waiting.address, &signed).await.unwrap());
    let stale = open(&handed, before.path()).await.unwrap_err();
    assert!(matches!(stale, TakeOverError::NotTheNewest { .. }), "a copy from before the fence: {stale}");
    let empty = open(&handed, &home.path().join("nothing")).await.unwrap_err();
    assert!(matches!(empty, TakeOverError::NotTheNewest { .. }), "{empty}");
    drop(open(&handed, home.path()).await.unwrap());
    assert!(matches!(reopen(&fixture, "broker", home.path()).await, Ok(Opening::Fenced(_))));
    assert_eq!(reopen(&fixture, NEXT, home.path()).await.unwrap_err().code(), "store-unsealing");

    // Again, now to the end, and dies right after.
    let handed = Arc::new(ask(&fixture, fixture.attester(NEXT), waiting.address, &signed).await.unwrap());
    let store = open(&handed, home.path()).await.unwrap();
    let next = succeed(&fixture, &handed, store).await;
    next.crash().await;
    waiting.stop().await;
    assert_eq!(reopen(&fixture, "broker", home.path()).await.unwrap_err().code(), "store-unsealing");
    let Ok(Opening::Open(store)) = reopen(&fixture, NEXT, home.path()).await else { panic!() };
    let (store, mut loaded) = *store;
    assert!(loaded.unconfirmed, "it was killed, as any broker may be");
    loaded.unconfirmed = false;
    let next = fixture.start_program(NEXT, (store, loaded)).await;
    assert_eq!(release(&fixture, NEXT, next.address).await, Ok(b"open sesame".to_vec()));
    next.stop().await;
}

/// The platform's evidence with another sealing key.
fn on_other_cpu(platform: Arc<Platform>) -> ScriptedTee {
    let attester = Arc::new(SimAttester::new(platform, identity(NEXT)));
    let evidence = move |report_data| {
        let attester = Arc::clone(&attester);
        async move { attester.evidence(report_data).await }
    };
    ScriptedTee::new(evidence).sealing_with([9; 32])
}

/// Grants that are on their way when the fence falls are either before it in the
/// log or refused.
#[tokio::test(flavor = "multi_thread")]
async fn no_grant_comes_after_the_fence() {
    let fixture = Arc::new(Fixture::new(1, 1));
    let home = TempDir::new().unwrap();
    let (former, signed) = authorised(&fixture, home.path()).await;
    let mut busy = Vec::new();
    for _ in 0..8 {
        let replica = fixture.replica("serving", former.address).await.unwrap();
        busy.push(tokio::spawn(async move {
            let mut granted = 0u64;
            loop {
                match fetch(&replica, &["ssl_config"]).await {
                    Ok(_) => granted += 1,
                    Err(_) => return granted,
                }
            }
        }));
    }
    let handed = Arc::new(ask(&fixture, fixture.attester(NEXT), former.address, &signed).await.unwrap());
    let mut granted = 0;
    for task in busy {
        granted += task.await.unwrap();
    }
    let (store, _) = open(&handed, home.path()).await.unwrap();
    let records = store.records(1, 1_000_000).unwrap();
    let what = |record: &adytum_governance::audit::record::StoredRecord| {
        adytum_governance::audit::record::decode(&record.bytes).unwrap().what.unwrap()
    };
    let is_grant = |record: &&adytum_governance::audit::record::StoredRecord| {
        matches!(what(record), adytum_api::broker::audit_record::What::Grant(_))
    };
    // A record may stand for an answer that was lost, never the other way round.
    assert!(records.iter().filter(is_grant).count() as u64 >= granted);
    let adytum_api::broker::audit_record::What::Command(last) = what(records.last().unwrap()) else {
        panic!()
    };
    assert_eq!(last.command, "hand-over");
    former.crash().await;
}

#[tokio::test]
async fn a_broker_that_awaits_confirmation_hands_nothing_over() {
    let fixture = Fixture::new(1, 1);
    let home = TempDir::new().unwrap();
    let (running, signed) = authorised(&fixture, home.path()).await;
    running.crash().await;
    let Ok(Opening::Open(store)) = reopen(&fixture, "broker", home.path()).await else { panic!() };
    let running = fixture.start_with(*store).await;
    let asked = ask(&fixture, fixture.attester(NEXT), running.address, &signed).await;
    assert_eq!(refusal(asked), (Code::Unavailable, "awaiting-confirmation".to_owned(), true));
    // A manifest may have replaced what the authorisation rests on.
    let owner = fixture.owner(running.address).await;
    let refused =
        execute(&owner, fixture.command(&owner, 1, apply(&fixture.signed(&fixture.document(2))))).await;
    assert_eq!(stable(&refused.unwrap_err()).1, "awaiting-confirmation");
    running.stop().await;
}

/// A successor whose connection breaks at whatever moment gets the key when it asks
/// again, from a broker that knows that it is fenced.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_leaves_no_broker_between() {
    for step in 0..12 {
        let fixture = Fixture::new(1, 1);
        let home = TempDir::new().unwrap();
        let (former, signed) = authorised(&fixture, home.path()).await;
        let asked = ask(&fixture, fixture.attester(NEXT), former.address, &signed);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(20 + 4 * step), asked).await;
        let handed = ask(&fixture, fixture.attester(NEXT), former.address, &signed).await;
        handed.unwrap_or_else(|error| panic!("step {step}: {error}"));
        let fenced = former.broker.handed_over();
        tokio::time::timeout(std::time::Duration::from_secs(10), fenced)
            .await
            .expect("it knows that it is fenced");
        former.crash().await;
    }
}
