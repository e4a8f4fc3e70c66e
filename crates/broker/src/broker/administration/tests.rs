//! Commands, and who may give them.

mod made_secrets;
mod owners;

use std::collections::BTreeSet;

use adytum_api::broker::{GetManifest, command};
use adytum_governance::{
    command::SecretBytes,
    genesis::Genesis,
    manifest::SignedManifest,
    secrets::{SecretValue, StoredSecret},
};
use adytum_signing::OwnerSigningKey;
use tonic::{Code, Status};

use super::{changes::put_secret, *};
use crate::{
    broker::state::{MAXIMUM_TOTAL_LENGTH, State},
    fixture::{Fixture, apply, broker, encoded, list, names, owner_session, put, remove, workload_session},
};

async fn code(fixture: &Fixture, session: &SessionInfo, signed: SignedCommand) -> &'static str {
    let error = fixture.broker.execute(session, signed).await.unwrap_err();
    let logged = fixture.events.take();
    let [Event::CommandRefused { code, .. }] = logged.as_slice() else {
        panic!("one refusal is logged, got {logged:?}");
    };
    assert_eq!(*code, error.code());
    error.code()
}

fn versions(result: &CommandResult) -> Vec<(&str, u64)> {
    result.secrets.iter().map(|secret| (secret.name.as_str(), secret.version)).collect()
}

#[tokio::test]
async fn owners_provision_list_and_remove() {
    let fixture = broker(2, 2).with_manifest().await;
    let session = owner_session(3);
    let put_one = fixture.execute(&session, put("ssl_config", b"one")).await.unwrap();
    assert_eq!((put_one.secret_version, put_one.manifest_version), (1, 1));
    let put_two = fixture.execute(&session, put("ssl_config", b"two")).await.unwrap();
    assert_eq!(put_two.secret_version, 2);
    let listed = fixture.execute(&session, list()).await.unwrap();
    assert_eq!(versions(&listed), [("model_key", 0), ("spare", 0), ("ssl_config", 2)]);
    assert_eq!(listed.secrets[2].workloads, ["serving"]);

    fixture.execute(&session, remove("ssl_config")).await.unwrap();
    let again = fixture.execute(&session, remove("ssl_config")).await.unwrap_err();
    assert_eq!(again.code(), "command-replayed");
    let again = fixture.execute(&owner_session(4), remove("ssl_config")).await.unwrap_err();
    assert_eq!(again.code(), "secret-has-no-value");
    let third = fixture.execute(&session, put("ssl_config", b"three")).await.unwrap();
    assert_eq!(third.secret_version, 3, "versions go on after a removal");
}

#[tokio::test]
async fn the_manifest_is_shown_to_an_owner_and_not_in_the_status() {
    let fixture = broker(2, 2).with_manifest().await;
    let status = fixture.broker.status();
    assert_eq!((status.manifest_version, status.epoch), (1, 1));
    assert_eq!(
        Genesis::parse(std::str::from_utf8(&status.genesis).unwrap()).unwrap(),
        *fixture.broker.genesis()
    );
    let public = format!("{status:?}");
    assert!(!public.contains("serving") && !public.contains("model_key"));
    let session = owner_session(3);
    let show = command::Command::GetManifest(GetManifest::default());
    let signed = fixture.sign(&session, 1, show.clone(), &[&fixture.owners[0]]);
    let shown = fixture.broker.execute(&session, signed).await.unwrap();
    assert_eq!(shown.manifest, fixture.manifest(1).text.as_bytes());
    assert_eq!(shown.manifest_signatures.len(), 2);
    let stranger = OwnerSigningKey::generate().unwrap();
    fixture.events.take();
    let signed = fixture.sign(&session, 1, show, &[&stranger]);
    assert_eq!(code(&fixture, &session, signed).await, "signature-by-stranger");
}

#[tokio::test]
async fn a_command_is_for_one_session_broker_state_and_body() {
    let fixture = broker(1, 1).with_manifest().await;
    let session = owner_session(3);
    let sign = |command| fixture.sign(&session, 1, command, &[&fixture.owners[0]]);
    fixture.events.take();

    // Replayed into another session.
    let signed = sign(put("ssl_config", b"one"));
    assert_eq!(code(&fixture, &owner_session(4), signed.clone()).await, "signature-invalid");
    // Replayed to another broker of the same owner.
    let other = adytum_governance::command::sign(
        &session.request_binding,
        Genesis::create([fixture.owners[0].public_key()], 1).unwrap().digest(),
        1,
        put("ssl_config", b"one"),
        &[&fixture.owners[0]],
    );
    assert_eq!(code(&fixture, &session, other).await, "signature-invalid");
    // Another body, or another manifest version, under the signature.
    let body = encoded(put("ssl_config", b"forged"));
    assert_eq!(code(&fixture, &session, SignedCommand { body, ..signed.clone() }).await, "signature-invalid");
    let moved = SignedCommand { manifest_version: 2, ..signed.clone() };
    assert_eq!(code(&fixture, &session, moved).await, "signature-invalid");
    // Signed for a manifest that is not in force.
    for version in [0, 2] {
        let stale = fixture.sign(&session, version, put("ssl_config", b"one"), &[&fixture.owners[0]]);
        assert_eq!(code(&fixture, &session, stale).await, "command-stale-manifest-version");
    }
    // Nothing of all that had an effect; the genuine one has, once.
    assert_eq!(fixture.broker.state().total_length(), 0);
    fixture.broker.execute(&session, signed.clone()).await.unwrap();
    fixture.events.take();
    assert_eq!(code(&fixture, &session, signed).await, "command-replayed");
}

#[tokio::test]
async fn too_few_owners_strangers_and_workloads_change_nothing() {
    let fixture = broker(2, 2).with_manifest().await;
    let session = owner_session(3);
    let [a, b] = fixture.owners.as_slice() else { panic!() };
    let thief = OwnerSigningKey::generate().unwrap();
    let signed = |keys: &[&OwnerSigningKey]| fixture.sign(&session, 1, put("ssl_config", b"x"), keys);
    fixture.events.take();
    assert_eq!(code(&fixture, &session, signed(&[])).await, "signature-missing");
    assert_eq!(code(&fixture, &session, signed(&[a])).await, "signatures-below-threshold");
    assert_eq!(code(&fixture, &session, signed(&[a, a])).await, "signature-by-same-owner-twice");
    assert_eq!(code(&fixture, &session, signed(&[a, &thief])).await, "signature-by-stranger");
    assert_eq!(code(&fixture, &session, signed(&[&thief])).await, "signature-by-stranger");
    // An attested workload that holds both owners' keys.
    let workload = workload_session(1);
    let stolen = fixture.sign(&workload, 1, put("ssl_config", b"x"), &[a, b]);
    assert_eq!(code(&fixture, &workload, stolen).await, "command-from-workload");
    assert_eq!(fixture.broker.state().total_length(), 0);
    // Reading needs one owner, any.
    for owner in [a, b] {
        let signed = fixture.sign(&session, 1, list(), &[owner]);
        assert!(fixture.broker.execute(&session, signed).await.is_ok());
    }
}

#[tokio::test]
async fn a_manifest_needs_its_own_signatures_besides_the_commands() {
    let fixture = broker(2, 2).with_manifest().await;
    let session = owner_session(3);
    let execute = async |manifest: &SignedManifest| {
        fixture.execute(&session, apply(manifest)).await.map_err(|error| error.code())
    };
    let mut lone = fixture.manifest(2);
    lone.approvals.truncate(1);
    assert_eq!(execute(&lone).await.unwrap_err(), "signatures-below-threshold");
    assert_eq!(execute(&fixture.manifest(1)).await.unwrap_err(), "manifest-replayed");
    assert_eq!(execute(&fixture.manifest(4)).await.unwrap().manifest_version, 4);
    assert_eq!(execute(&fixture.manifest(3)).await.unwrap_err(), "manifest-older");
    let other = broker(2, 2).manifest(5);
    assert_eq!(execute(&other).await.unwrap_err(), "manifest-other-genesis");
    assert_eq!(fixture.broker.state().manifest_version(), 4);
}

#[tokio::test]
async fn secrets_are_checked_before_they_are_taken() {
    let fixture = broker(1, 1);
    let session = owner_session(3);
    let execute =
        async |command| fixture.execute(&session, command).await.map(|_| ()).map_err(|error| error.code());
    assert_eq!(execute(put("ssl_config", b"x")).await, Err("secret-not-in-manifest"));
    execute(apply(&fixture.manifest(1))).await.unwrap();
    assert_eq!(execute(put("unnamed", b"x")).await, Err("secret-not-in-manifest"));
    assert_eq!(execute(put("ssl_config", b"")).await, Err("secret-value-empty"));
    assert_eq!(execute(put("ssl_config", &[0; 64 * 1024 + 1])).await, Err("secret-value-too-long"));
    assert_eq!(execute(put("ssl_config", &[0; 64 * 1024])).await, Ok(()));
    assert_eq!(execute(put("model_key", b"sesame")).await, Err("secret-value-not-an-age-identity"));
    assert_eq!(execute(put("../x", b"x")).await, Err("name-malformed"));
}

#[tokio::test]
async fn a_secret_that_a_manifest_stops_naming_is_kept_and_released_to_nobody() {
    let fixture = broker(1, 1).with_manifest().await;
    let session = owner_session(3);
    fixture.execute(&session, put("ssl_config", b"one")).await.unwrap();
    let mut without = fixture.manifest(2);
    let start = without.text.find("[[secret]]\nname = \"ssl_config\"").unwrap();
    let end = start + without.text[start + 1..].find("[[secret]]").unwrap() + 1;
    without.text.replace_range(start..end, "");
    without.sign(&fixture.owners[0]).unwrap();
    fixture.execute(&session, apply(&without)).await.unwrap();
    let refused = fixture.broker.release(&workload_session(1), &names(&["ssl_config"])).await.unwrap_err();
    assert_eq!(refused.code(), "secret-unknown");
    let listed = fixture.execute(&session, list()).await.unwrap();
    let kept = listed.secrets.iter().find(|secret| secret.name == "ssl_config").unwrap();
    assert_eq!((kept.version, kept.workloads.len()), (1, 0));
    fixture.execute(&session, apply(&fixture.manifest(3))).await.unwrap();
    let released = fixture.broker.release(&workload_session(1), &names(&["ssl_config"])).await.unwrap();
    assert_eq!(released.secrets[0].value, b"one");
}

#[tokio::test]
async fn statuses_carry_code_and_retry() {
    let fixture = broker(1, 1);
    let error = fixture.execute(&owner_session(1), put("ssl_config", b"x")).await.unwrap_err();
    let status = Status::from(error);
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.metadata().get("adytum-code").unwrap(), "secret-not-in-manifest");
    assert_eq!(status.metadata().get("adytum-retry").unwrap(), "false");
}

#[tokio::test]
async fn what_is_not_committed_is_not_in_force_and_may_be_tried_again() {
    let disk = crate::store::Disk::default();
    let open = |genesis| disk.open(genesis);
    let fixture = crate::fixture::broker_with(1, 1, open, None).with_manifest().await;
    let session = owner_session(3);
    disk.fill(true);
    let error = fixture.execute(&session, put("ssl_config", b"one")).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("store-full", true));
    let error = fixture.execute(&session, apply(&fixture.manifest(2))).await.unwrap_err();
    assert_eq!(error.code(), "store-full");
    assert_eq!((fixture.broker.state().total_length(), fixture.broker.state().manifest_version()), (0, 1));
    disk.fill(false);
    let put = fixture.execute(&session, put("ssl_config", b"one")).await.unwrap();
    assert_eq!(put.secret_version, 1);
}

#[tokio::test]
async fn all_secrets_together_have_a_limit() {
    let fixture = broker(1, 1).with_manifest().await;
    let mut state = (*fixture.broker.state()).clone();
    let value = SecretValue::parse(
        adytum_governance::secrets::SecretKind::Opaque,
        zeroize::Zeroizing::new(vec![0; adytum_governance::secrets::MAXIMUM_VALUE_LENGTH]),
    )
    .unwrap();
    for n in 0..MAXIMUM_TOTAL_LENGTH / adytum_governance::secrets::MAXIMUM_VALUE_LENGTH {
        let kind = adytum_governance::secrets::SecretKind::Opaque;
        let stored = StoredSecret { kind, value: Some(value.clone()), version: 1, changed_by: Vec::new() };
        state.secrets.insert(format!("secret-{n}").parse().unwrap(), stored);
    }
    let put = |state: &State, name: &str, bytes: &[u8]| {
        let value = SecretBytes(zeroize::Zeroizing::new(bytes.to_vec()));
        put_secret(state, name.parse().unwrap(), value, &BTreeSet::new()).map_err(|error| error.code())
    };
    assert_eq!(put(&state, "ssl_config", b"x").err(), Some("secrets-too-large"));
    state.secrets.remove("secret-0");
    let next = put(&state, "ssl_config", &[0; 64 * 1024]).unwrap().next;
    // A new value takes the place of the old one.
    assert!(put(&next, "ssl_config", &[1; 64 * 1024]).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_changes_at_once_none_is_lost() {
    let fixture = broker(1, 1).with_manifest().await;
    let sessions: Vec<_> = (10..42).map(owner_session).collect();
    let values: Vec<_> = (0..32).map(|n| vec![n; 4]).collect();
    let fixture = Arc::new(fixture);
    let mut puts = tokio::task::JoinSet::new();
    for (session, value) in sessions.into_iter().zip(values) {
        let fixture = fixture.clone();
        puts.spawn(async move { fixture.execute(&session, put("ssl_config", &value)).await });
    }
    let results = puts.join_all().await;
    let mut versions: Vec<_> = results.into_iter().map(|put| put.unwrap().secret_version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=32).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_command_is_in_force_once_it_is_kept_although_its_connection_broke() {
    let fixture = broker(2, 2).with_manifest().await;
    let session = owner_session(3);
    let keys: Vec<_> = fixture.owners.iter().collect();
    let signed = fixture.sign(&session, 1, put("ssl_config", b"one"), &keys);
    {
        let mut asked = Box::pin(fixture.broker.execute(&session, signed));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(asked.as_mut().poll(&mut context).is_pending());
        // The connection breaks: nobody waits any more.
    }
    // The next command sees it in force, and so has the version after it.
    let next = fixture.execute(&session, put("ssl_config", b"two")).await.unwrap();
    assert_eq!(next.secret_version, 2);
}
