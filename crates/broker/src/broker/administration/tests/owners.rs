//! Owners that replace each other, and auditors.

use adytum_api::broker::{CommandResult, GetManifest, ListManifests, ReadAudit, RotateSecret, command};
use adytum_governance::{audit::events::Event, manifest::SignedManifest};
use adytum_signing::OwnerSigningKey;
use adytum_testkit::owners::owner as key;

use super::super::AdministrationError;
use crate::fixture::{Fixture, apply, broker, broker_with, list, owner_session, put, remove};

fn owners(threshold: usize, keys: &[&OwnerSigningKey]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| format!("\"{}\"", key.public_key())).collect();
    format!("[owners]\nthreshold = {threshold}\nkeys = [{}]\n", keys.join(", "))
}

const SECRET: &str = "[[secret]]\nname = \"key\"\nkind = \"opaque\"\nworkloads = [\"serving\"]\n";

fn signed(text: &str, keys: &[&OwnerSigningKey]) -> SignedManifest {
    let mut signed = SignedManifest::unsigned(text);
    keys.iter().for_each(|key| signed.sign(key).unwrap());
    signed
}

/// These keys, and nobody else, sign a command.
async fn by(
    fixture: &Fixture,
    command: command::Command,
    keys: &[&OwnerSigningKey],
) -> Result<CommandResult, AdministrationError> {
    let session = owner_session(u8::try_from(fixture.broker.store().head().audit_size % 90).unwrap());
    let version = fixture.broker.state().manifest_version();
    let command = fixture.sign(&session, version, command, keys);
    fixture.broker.execute(&session, command).await
}

async fn code(fixture: &Fixture, command: command::Command, keys: &[&OwnerSigningKey]) -> &'static str {
    by(fixture, command, keys).await.unwrap_err().code()
}

#[tokio::test]
async fn a_replaced_owner_is_a_stranger_at_once_and_cannot_come_back() {
    let fixture = broker(1, 1);
    let (old, new) = (&fixture.owners[0], &key());
    let first = signed(&fixture.text(1, SECRET), &[old]);
    by(&fixture, apply(&first), &[old]).await.unwrap();
    // What the old owner could have signed in advance, for later.
    let hoarded = signed(&fixture.text(9, SECRET), &[old]);
    let change = signed(&fixture.text(2, &format!("{SECRET}{}", owners(1, &[new]))), &[old]);
    // The new owner is nobody before it is in force.
    assert_eq!(code(&fixture, apply(&change), &[new]).await, "signature-by-stranger");
    by(&fixture, apply(&change), &[old]).await.unwrap();

    for command in [list(), put("key", b"x"), apply(&hoarded)] {
        assert_eq!(code(&fixture, command, &[old]).await, "signature-by-stranger");
    }
    assert_eq!(code(&fixture, apply(&hoarded), &[new]).await, "signature-by-stranger");
    // Earlier manifests, with signatures that were good at that time.
    for former in [&first, &change] {
        assert_eq!(code(&fixture, apply(former), &[new]).await, "signature-by-stranger");
    }
    assert_eq!(fixture.broker.state().manifest_version(), 2);
    by(&fixture, put("key", b"x"), &[new]).await.unwrap();
    // A manifest that says nothing of owners leaves them.
    by(&fixture, apply(&signed(&fixture.text(3, SECRET), &[new])), &[new]).await.unwrap();
    assert_eq!(code(&fixture, list(), &[old]).await, "signature-by-stranger");
    by(&fixture, list(), &[new]).await.unwrap();
}

#[tokio::test]
async fn the_others_replace_an_owner_whose_key_is_lost() {
    let fixture = broker(3, 2);
    let [a, b, lost] = fixture.owners.as_slice() else { panic!() };
    let next = &key();
    by(&fixture, apply(&signed(&fixture.text(1, SECRET), &[a, b])), &[a, b]).await.unwrap();
    let change = fixture.text(2, &format!("{SECRET}{}", owners(2, &[a, b, next])));
    assert_eq!(code(&fixture, apply(&signed(&change, &[a])), &[a, b]).await, "signatures-below-threshold");
    by(&fixture, apply(&signed(&change, &[a, b])), &[a, b]).await.unwrap();
    by(&fixture, put("key", b"x"), &[b, next]).await.unwrap();
    // The finder of the lost key has found nothing.
    assert_eq!(code(&fixture, put("key", b"y"), &[a, lost]).await, "signature-by-stranger");
}

#[tokio::test]
async fn the_threshold_is_the_one_in_force() {
    let fixture = broker(2, 1);
    let [a, b] = fixture.owners.as_slice() else { panic!() };
    let raise = signed(&fixture.text(1, &format!("{SECRET}{}", owners(2, &[a, b]))), &[a]);
    by(&fixture, apply(&raise), &[a]).await.unwrap();
    assert_eq!(code(&fixture, put("key", b"x"), &[a]).await, "signatures-below-threshold");
    by(&fixture, put("key", b"x"), &[a, b]).await.unwrap();
    let lower = fixture.text(2, &format!("{SECRET}{}", owners(1, &[a, b])));
    assert_eq!(code(&fixture, apply(&signed(&lower, &[a])), &[a, b]).await, "signatures-below-threshold");
    by(&fixture, apply(&signed(&lower, &[a, b])), &[a, b]).await.unwrap();
    by(&fixture, put("key", b"y"), &[b]).await.unwrap();
}

#[tokio::test]
async fn owners_in_force_survive_restarts() {
    let disk = crate::store::Disk::default();
    let fixture = broker_with(1, 1, |genesis| disk.open(genesis), None);
    let (old, second, third) = (&fixture.owners[0], &key(), &key());
    let to =
        |version, next: &OwnerSigningKey| fixture.text(version, &format!("{SECRET}{}", owners(1, &[next])));
    by(&fixture, apply(&signed(&fixture.text(1, SECRET), &[old])), &[old]).await.unwrap();
    by(&fixture, apply(&signed(&to(2, second), &[old])), &[old]).await.unwrap();
    by(&fixture, apply(&signed(&to(3, third), &[second])), &[second]).await.unwrap();
    let founder = OwnerSigningKey::from_pem(&old.to_pem().unwrap()).unwrap();
    let fixture = fixture.restarted(|genesis| disk.open(genesis));
    let confirm = |key: &OwnerSigningKey| fixture.confirmation(&[key]);
    for former in [&founder, second] {
        assert_eq!(code(&fixture, confirm(former), &[former]).await, "signature-by-stranger");
        assert_eq!(code(&fixture, confirm(former), &[third]).await, "signature-by-stranger");
        assert_eq!(code(&fixture, confirm(third), &[former]).await, "signature-by-stranger");
    }
    by(&fixture, confirm(third), &[third]).await.unwrap();
    by(&fixture, apply(&signed(&fixture.text(4, SECRET), &[third])), &[third]).await.unwrap();
    let fixture = fixture.restarted(|genesis| disk.open(genesis));
    assert_eq!(
        fixture.broker.state().role_changes.iter().map(|change| change.version).collect::<Vec<_>>(),
        [2, 3]
    );
    assert_eq!(code(&fixture, list(), &[&founder]).await, "signature-by-stranger");
    by(&fixture, list(), &[third]).await.unwrap();
}

#[tokio::test]
async fn auditors_read_and_change_nothing_and_every_try_is_recorded() {
    let fixture = broker(2, 2);
    let [a, b] = fixture.owners.as_slice() else { panic!() };
    let auditor = &key();
    let body = format!("{SECRET}[owners]\nauditors = [\"{}\"]\n", auditor.public_key());
    by(&fixture, apply(&signed(&fixture.text(1, &body), &[a, b])), &[a, b]).await.unwrap();
    for command in [
        list(),
        command::Command::GetManifest(GetManifest::default()),
        command::Command::ListManifests(ListManifests { before: 0, count: 9, changing_owners: false }),
        command::Command::ReadAudit(ReadAudit { first: 1, count: 10 }),
    ] {
        by(&fixture, command, &[auditor]).await.unwrap();
    }
    let next = signed(&fixture.text(2, SECRET), &[a, b]);
    fixture.events.take();
    for command in [
        put("key", b"x"),
        remove("key"),
        apply(&next),
        command::Command::RotateSecret(RotateSecret { name: "key".to_owned() }),
        command::Command::RotateCertificateAuthority(adytum_api::broker::RotateCertificateAuthority {}),
        fixture.confirmation(&[a, b]),
    ] {
        for keys in [&[auditor][..], &[a, b, auditor]] {
            let error = by(&fixture, command.clone(), keys).await.unwrap_err();
            assert_eq!(error.code(), "role-not-allowed");
            let events = fixture.events.take();
            let [Event::CommandRefused { owners, code: "role-not-allowed", .. }] = events.as_slice() else {
                panic!("{events:?}");
            };
            assert!(owners.contains(&auditor.public_key()), "the record names who tried");
            assert_eq!(tonic::Status::from(error).code(), tonic::Code::PermissionDenied);
        }
    }
    // An auditor's word makes no threshold of a manifest either.
    let lone = signed(&fixture.text(2, SECRET), &[a, auditor]);
    assert_eq!(code(&fixture, apply(&lone), &[a, b]).await, "signature-by-stranger");
    assert_eq!(code(&fixture, list(), &[&key()]).await, "signature-by-stranger");
    // The next manifest with [owners] and without him ends it.
    let change = signed(&fixture.text(2, &format!("{SECRET}{}", owners(2, &[a, b]))), &[a, b]);
    by(&fixture, apply(&change), &[a, b]).await.unwrap();
    assert_eq!(code(&fixture, list(), &[auditor]).await, "signature-by-stranger");
}

#[tokio::test]
async fn former_manifests_are_listed_and_shown() {
    let fixture = broker(1, 1);
    let next = &key();
    fixture.install(1, "").await.unwrap();
    fixture.install(3, &format!("{SECRET}{}", owners(1, &[&fixture.owners[0]]))).await.unwrap();
    let change = signed(&fixture.text(7, &owners(1, &[next])), &[&fixture.owners[0]]);
    by(&fixture, apply(&change), &[&fixture.owners[0]]).await.unwrap();
    let listed = async |before, count, changing_owners| {
        let list = command::Command::ListManifests(ListManifests { before, count, changing_owners });
        let result = by(&fixture, list, &[next]).await.unwrap();
        result
            .manifests
            .iter()
            .map(|one| (one.version, one.changes_owners, one.signers.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(0, 100, false).await, [(7, true, 1), (3, true, 1), (1, false, 1)]);
    assert_eq!(listed(0, 100, true).await, [(7, true, 1), (3, true, 1)]);
    assert_eq!(listed(7, 1, false).await, [(3, true, 1)]);
    assert_eq!(listed(1, 1, false).await, []);
    let get = |version| command::Command::GetManifest(GetManifest { version });
    for (asked, version) in [(0, 7), (7, 7), (3, 3), (1, 1)] {
        let shown = by(&fixture, get(asked), &[next]).await.unwrap();
        let text = String::from_utf8(shown.manifest).unwrap();
        assert!(text.contains(&format!("\nversion = {version}\n")), "{text}");
        assert_eq!(shown.manifest_version, 7);
    }
    assert_eq!(code(&fixture, get(2), &[next]).await, "manifest-version-unknown");
}
