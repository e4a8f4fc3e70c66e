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
        taking::{Handed, TakeOver, TakeOverError},
    },
    store::{FILE, Loaded, Store},
};
use adytum_evidence::{attester::Attester, clock::SystemClock, trust::Vendor};
use adytum_governance::{
    approval::OwnerApproval,
    authorisation::{Document, SignedAuthorisation},
    manifest::document::TrustTable,
};
use adytum_signing::OwnerSigningKey;
use adytum_sim::{Platform, SimAttester};
use tempfile::TempDir;
use tonic::{Code, Request};

use crate::{
    standing_by::{Waiting, recovery, reopen},
    world::{Running, World, apply, execute, fetch, identity, policy, put, stable},
};

pub(crate) const NEXT: &str = "broker, next version";

/// Leave for the code [`NEXT`], signed by all owners, for this world's broker.
pub(crate) fn authorisation(world: &World) -> SignedAuthorisation {
    let trust = TrustTable {
        vendors: vec![Vendor::Simulation],
        simulation_roots: vec![world.platform.root_certificate_pem().to_owned()],
    };
    let (present, next) = (policy(identity("broker")), policy(identity(NEXT)));
    let document = Document::new(world.genesis.digest(), trust, present, next);
    let mut signed = SignedAuthorisation::unsigned(document.to_toml().unwrap());
    world.owners.iter().for_each(|owner| signed.sign(world.genesis.digest(), owner));
    signed
}

pub(crate) fn authorise(signed: &SignedAuthorisation) -> command::Command {
    command::Command::AuthoriseUpgrade(AuthoriseUpgrade {
        authorisation: signed.text.clone().into_bytes(),
        signatures: signed.approvals.iter().map(OwnerApproval::to_wire).collect(),
    })
}

/// A broker in this directory with "ssl_config" that may hand over to [`NEXT`].
async fn authorised(world: &World, home: &Path) -> (Running, SignedAuthorisation) {
    let running = world.start_in(home).await;
    world.provision(&running).await;
    let owner = world.owner(running.address).await;
    let signed = authorisation(world);
    execute(&owner, world.command(&owner, 1, authorise(&signed))).await.unwrap();
    (running, signed)
}

pub(crate) async fn ask(
    world: &World,
    attester: Arc<dyn Attester>,
    from: SocketAddr,
    signed: &SignedAuthorisation,
) -> Result<Handed, TakeOverError> {
    let from = from.to_string();
    let take_over = TakeOver {
        from: &from,
        authorisation: signed,
        genesis: world.genesis.digest(),
        occlum: None,
        attester,
        collateral: Arc::new(world.platform.collateral_source()),
        clock: Arc::new(SystemClock),
    };
    take_over.ask().await
}

async fn open(handed: &Arc<Handed>, directory: &Path) -> Result<(Store, Loaded), TakeOverError> {
    let (handed, directory) = (handed.clone(), directory.to_owned());
    tokio::task::spawn_blocking(move || handed.open(&directory)).await.unwrap()
}

/// The successor goes on with the state.
async fn succeed(world: &World, handed: &Handed, store: (Store, Loaded)) -> Running {
    let broker = Broker::start(BrokerConfiguration {
        genesis: world.genesis.clone(),
        attester: world.attester(NEXT),
        collateral: Arc::new(world.platform.collateral_source()),
        clock: Arc::new(SystemClock),
        store,
        events: Arc::new(LoggedEvents::default()),
        occlum: None,
    })
    .unwrap();
    broker.succeed(handed).await.unwrap();
    world.serve(broker).await
}

fn refusal(result: Result<Handed, TakeOverError>) -> (Code, String, bool) {
    match result.unwrap_err() {
        TakeOverError::Refused(status) => stable(&status),
        other => panic!("{other}"),
    }
}

/// What a workload gets from a broker of this code.
async fn release(world: &World, program: &str, address: SocketAddr) -> Result<Vec<u8>, String> {
    let connector = world.connector(Some(world.attester("serving")), identity(program));
    let session = connector.session(&address.to_string()).await.unwrap();
    match fetch(&session, &["ssl_config"]).await {
        Ok(answer) => Ok(answer.secrets[0].value.clone()),
        Err(status) => Err(stable(&status).1),
    }
}

#[tokio::test]
async fn the_authorised_successor_goes_on_and_the_former_broker_is_fenced() {
    let world = World::new(2, 2);
    let home = TempDir::new().unwrap();
    let (former, signed) = authorised(&world, home.path()).await;
    let replica = world.replica("serving", former.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();

    let handed = Arc::new(ask(&world, world.attester(NEXT), former.address, &signed).await.unwrap());
    // On sessions that were open, and on new ones.
    let refused = fetch(&replica, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&refused), (Code::Unavailable, "fenced".to_owned(), true));
    assert_eq!(release(&world, "broker", former.address).await, Err("fenced".into()));
    let owner = world.owner(former.address).await;
    let refused = execute(&owner, world.command(&owner, 1, put("ssl_config", b"x"))).await.unwrap_err();
    assert_eq!(stable(&refused).1, "fenced");
    let fenced = former.broker.handed_over().await;
    let head = former.broker.store().head();

    // The successor takes up the very directory.
    let store = open(&handed, home.path()).await.unwrap();
    let next = succeed(&world, &handed, store).await;
    assert_eq!(release(&world, NEXT, next.address).await, Ok(b"open sesame".to_vec()));
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
    let error = reopen(&world, "broker", home.path()).await.unwrap_err();
    assert_eq!(error.code(), "store-unsealing");
    let waiting = Waiting::start(&world, "broker", Cause::Fenced(fenced)).await;
    assert_eq!(release(&world, "broker", waiting.address).await, Err("fenced".into()));
    assert!(recovery(&world.owner(waiting.address).await).await.fenced);
    waiting.stop().await;
    let Ok(Opening::Open(store)) = reopen(&world, NEXT, home.path()).await else { panic!() };
    let next = world.start_program(NEXT, *store).await;
    assert_eq!(release(&world, NEXT, next.address).await, Ok(b"open sesame".to_vec()));
    next.stop().await;
}

#[tokio::test]
async fn nobody_else_gets_the_root_key() {
    let world = World::new(2, 2);
    let home = TempDir::new().unwrap();
    let running = world.start_in(home.path()).await;
    world.provision(&running).await;
    let signed = authorisation(&world);
    let next = || world.attester(NEXT);
    let denied = |code: &str| (Code::PermissionDenied, code.to_owned(), false);

    // The document alone, before the owners have given it to the broker.
    let asked = ask(&world, next(), running.address, &signed).await;
    assert_eq!(refusal(asked), denied("upgrade-not-authorised"));
    // One of two owners; a thief; another program than the one signed for.
    let owner = world.owner(running.address).await;
    let mut one = signed.clone();
    one.approvals.pop();
    let mut forged = one.clone();
    forged.sign(world.genesis.digest(), &OwnerSigningKey::generate().unwrap());
    let mut changed = signed.clone();
    changed.text =
        changed.text.replace(&identity(NEXT).to_string(), &identity("the host's program").to_string());
    for (bad, code) in [
        (&one, "signatures-below-threshold"),
        (&forged, "signature-by-stranger"),
        (&changed, "signature-invalid"),
    ] {
        let refused = execute(&owner, world.command(&owner, 1, authorise(bad))).await.unwrap_err();
        assert_eq!(stable(&refused), denied(code));
    }
    // What owners signed for another broker of theirs.
    let mut elsewhere = World::new(1, 1);
    let mut foreign = authorisation(&elsewhere);
    world.owners.iter().for_each(|owner| foreign.sign(elsewhere.genesis.digest(), owner));
    let refused = execute(&owner, world.command(&owner, 1, authorise(&foreign))).await.unwrap_err();
    assert_eq!(stable(&refused).1, "upgrade-authorisation-other-genesis");

    execute(&owner, world.command(&owner, 1, authorise(&signed))).await.unwrap();
    // Another program; the right one on a platform that the manifest does not trust.
    let thief = world.attester("the host's program");
    assert_eq!(refusal(ask(&world, thief, running.address, &signed).await), denied("upgrade-policy-refused"));
    let untrusted = Arc::new(SimAttester::new(Platform::ephemeral().unwrap(), identity(NEXT)));
    assert!(matches!(ask(&world, untrusted, running.address, &signed).await, Err(TakeOverError::Session(_))));
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
    let without_claims = world.replica(NEXT, running.address).await.unwrap();
    let mut client = BrokerSuccessionClient::new(without_claims.channel.clone());
    let refused = client.take_over(Request::new(request)).await.unwrap_err();
    assert_eq!(stable(&refused).1, "announcement-malformed");
    // A broker of another genesis that somebody else created with the right code.
    elsewhere.platform = world.platform.clone();
    let mut lured = authorisation(&elsewhere);
    lured.text =
        lured.text.replace(&elsewhere.genesis.digest().to_string(), &world.genesis.digest().to_string());
    assert_eq!(lured.text, signed.text);
    let asked = ask(&elsewhere, next(), running.address, &lured).await;
    assert!(matches!(asked, Err(TakeOverError::Authorisation(_))), "{asked:?}");
    // And this one does not take a key from a broker of other code: a host's program
    // could keep a copy.
    let impostor =
        world.start_program("the host's program", Store::in_memory(world.genesis.digest()).unwrap());
    let impostor = impostor.await;
    let asked = ask(&world, next(), impostor.address, &signed).await;
    let Err(TakeOverError::Session(error)) = asked else { panic!("{asked:?}") };
    assert_eq!(error.code(), "policy-refused");
    impostor.stop().await;

    // After all that the broker goes on; and what was authorised can be taken back.
    assert_eq!(release(&world, "broker", running.address).await, Ok(b"open sesame".to_vec()));
    let withdraw = command::Command::AuthoriseUpgrade(AuthoriseUpgrade::default());
    execute(&owner, world.command(&owner, 1, withdraw)).await.unwrap();
    let asked = ask(&world, next(), running.address, &signed).await;
    assert_eq!(refusal(asked), denied("upgrade-not-authorised"));
    assert_eq!(release(&world, "broker", running.address).await, Ok(b"open sesame".to_vec()));
    running.stop().await;
}

/// A process may die at any step: the one successor gets the key again, no other does,
/// and the previous broker never releases a secret.
#[tokio::test]
async fn a_death_at_any_step_leaves_one_broker_that_comes_to_release() {
    let world = World::new(1, 1);
    let home = TempDir::new().unwrap();
    let (former, signed) = authorised(&world, home.path()).await;
    let before = TempDir::new().unwrap();
    std::fs::copy(home.path().join(FILE), before.path().join(FILE)).unwrap();

    // The answer is lost and the previous broker dies with it.
    drop(ask(&world, world.attester(NEXT), former.address, &signed).await.unwrap());
    former.crash().await;
    let found = reopen(&world, "broker", home.path()).await.unwrap();
    let Opening::Fenced(fenced) = found else { panic!("{found:?}") };
    let waiting = Waiting::start(&world, "broker", Cause::Fenced(fenced.into())).await;
    assert_eq!(release(&world, "broker", waiting.address).await, Err("fenced".into()));

    // The same code on another machine is another successor.
    let other_cpu = Arc::new(OtherCpu(SimAttester::new(world.platform.clone(), identity(NEXT))));
    let asked = ask(&world, other_cpu, waiting.address, &signed).await;
    assert_eq!(refusal(asked), (Code::FailedPrecondition, "fenced".to_owned(), false));

    // The successor gets the key again, opens the store, and dies before it has
    // taken the fence away.
    let handed = Arc::new(ask(&world, world.attester(NEXT), waiting.address, &signed).await.unwrap());
    let stale = open(&handed, before.path()).await.unwrap_err();
    assert!(matches!(stale, TakeOverError::NotTheNewest { .. }), "a copy from before the fence: {stale}");
    let empty = open(&handed, &home.path().join("nothing")).await.unwrap_err();
    assert!(matches!(empty, TakeOverError::NotTheNewest { .. }), "{empty}");
    drop(open(&handed, home.path()).await.unwrap());
    assert!(matches!(reopen(&world, "broker", home.path()).await, Ok(Opening::Fenced(_))));
    assert_eq!(reopen(&world, NEXT, home.path()).await.unwrap_err().code(), "store-unsealing");

    // Again, now to the end, and dies right after.
    let handed = Arc::new(ask(&world, world.attester(NEXT), waiting.address, &signed).await.unwrap());
    let store = open(&handed, home.path()).await.unwrap();
    let next = succeed(&world, &handed, store).await;
    next.crash().await;
    waiting.stop().await;
    assert_eq!(reopen(&world, "broker", home.path()).await.unwrap_err().code(), "store-unsealing");
    let Ok(Opening::Open(store)) = reopen(&world, NEXT, home.path()).await else { panic!() };
    let (store, mut loaded) = *store;
    assert!(loaded.unconfirmed, "it was killed, as any broker may be");
    loaded.unconfirmed = false;
    let next = world.start_program(NEXT, (store, loaded)).await;
    assert_eq!(release(&world, NEXT, next.address).await, Ok(b"open sesame".to_vec()));
    next.stop().await;
}

/// The platform's evidence with another sealing key.
struct OtherCpu(SimAttester);

#[async_trait::async_trait]
impl Attester for OtherCpu {
    async fn evidence(
        &self,
        report_data: adytum_evidence::measurement::ReportData,
    ) -> Result<adytum_evidence::evidence::Evidence, adytum_evidence::attester::AttesterError> {
        self.0.evidence(report_data).await
    }

    fn sealing_key(
        &self,
    ) -> Result<Option<adytum_evidence::attester::SealingKey>, adytum_evidence::attester::AttesterError> {
        Ok(Some(adytum_evidence::attester::SealingKey(zeroize::Zeroizing::new([9; 32]))))
    }

    fn platform(&self) -> adytum_evidence::attester::TeePlatform {
        adytum_evidence::attester::TeePlatform::Simulation
    }
}

/// Grants that are on their way when the fence falls are either before it in the
/// log or refused.
#[tokio::test(flavor = "multi_thread")]
async fn no_grant_comes_after_the_fence() {
    let world = Arc::new(World::new(1, 1));
    let home = TempDir::new().unwrap();
    let (former, signed) = authorised(&world, home.path()).await;
    let mut busy = Vec::new();
    for _ in 0..8 {
        let replica = world.replica("serving", former.address).await.unwrap();
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
    let handed = Arc::new(ask(&world, world.attester(NEXT), former.address, &signed).await.unwrap());
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
    let world = World::new(1, 1);
    let home = TempDir::new().unwrap();
    let (running, signed) = authorised(&world, home.path()).await;
    running.crash().await;
    let Ok(Opening::Open(store)) = reopen(&world, "broker", home.path()).await else { panic!() };
    let running = world.start_with(*store).await;
    let asked = ask(&world, world.attester(NEXT), running.address, &signed).await;
    assert_eq!(refusal(asked), (Code::Unavailable, "awaiting-confirmation".to_owned(), true));
    // A manifest may have replaced what the authorisation rests on.
    let owner = world.owner(running.address).await;
    let refused = execute(&owner, world.command(&owner, 1, apply(&world.signed(&world.document(2))))).await;
    assert_eq!(stable(&refused.unwrap_err()).1, "awaiting-confirmation");
    running.stop().await;
}

/// A successor whose connection breaks at whatever moment gets the key when it asks
/// again, from a broker that knows that it is fenced.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_leaves_no_broker_between() {
    for step in 0..12 {
        let world = World::new(1, 1);
        let home = TempDir::new().unwrap();
        let (former, signed) = authorised(&world, home.path()).await;
        let asked = ask(&world, world.attester(NEXT), former.address, &signed);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(20 + 4 * step), asked).await;
        let handed = ask(&world, world.attester(NEXT), former.address, &signed).await;
        handed.unwrap_or_else(|error| panic!("step {step}: {error}"));
        let fenced = former.broker.handed_over();
        tokio::time::timeout(std::time::Duration::from_secs(10), fenced)
            .await
            .expect("it knows that it is fenced");
        former.crash().await;
    }
}
