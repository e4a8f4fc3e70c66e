//! Values that the broker makes, and who may have which for how long.

use adytum_api::broker::{RotateSecret, command};

use crate::fixture::{
    Fixture, broker, broker_with, list, names, owner_session, put, remove, workload_session,
};

/// Secrets of the workload "serving": "seed" (random), "key" (opaque, shorter lease).
fn body(kind: &str, more: &str) -> String {
    format!(
        "[[secret]]\nname = \"seed\"\nkind = \"{kind}\"\nworkloads = [\"serving\"]\n{more}\n\
         [[secret]]\nname = \"key\"\nkind = \"opaque\"\nworkloads = [\"serving\"]\nlease = \"90s\"\n\
         [leases]\nduration = \"10m\"\ngrace = \"5m\"\n"
    )
}

fn rotate(name: &str) -> command::Command {
    command::Command::RotateSecret(RotateSecret { name: name.to_owned() })
}

async fn seed(fixture: &Fixture) -> Result<(Vec<u8>, u64), &'static str> {
    let answer = fixture.broker.release(&workload_session(1), &names(&["seed"])).await;
    let mut answer = answer.map_err(|error| error.code())?;
    let secret = answer.secrets.remove(0);
    Ok((secret.value.clone(), secret.version))
}

#[tokio::test]
async fn random_values_are_made_with_the_manifest_that_names_them_and_differ() {
    let fixture = broker(1, 1);
    fixture.install(1, &body("random", "")).await.unwrap();
    let (first, version) = seed(&fixture).await.unwrap();
    assert_eq!((first.len(), version), (32, 1));
    // A manifest that changes nothing about it leaves it alone.
    fixture.install(2, &body("random", "lease = \"1m\"")).await.unwrap();
    assert_eq!(seed(&fixture).await.unwrap(), (first.clone(), 1));
    let rotated = fixture.execute(&owner_session(3), rotate("seed")).await.unwrap();
    assert_eq!(rotated.secret_version, 2);
    let (second, version) = seed(&fixture).await.unwrap();
    assert_eq!((second.len(), version), (32, 2));
    assert_ne!(first, second);
    fixture.install(3, &body("random", "length = 64")).await.unwrap();
    let (third, version) = seed(&fixture).await.unwrap();
    assert_eq!((third.len(), version), (64, 3));
    // Another broker makes another one.
    let other = broker(1, 1);
    other.install(1, &body("random", "")).await.unwrap();
    assert_ne!(seed(&other).await.unwrap().0, first);
}

#[tokio::test]
async fn nobody_uploads_what_the_broker_makes_and_nobody_rotates_what_owners_upload() {
    let fixture = broker(1, 1);
    fixture.install(1, &body("random", "")).await.unwrap();
    let execute = async |command| {
        fixture.execute(&owner_session(3), command).await.map(|_| ()).map_err(|error| error.code())
    };
    assert_eq!(execute(put("seed", &[7; 32])).await, Err("secret-value-not-uploaded"));
    assert_eq!(execute(rotate("key")).await, Err("secret-not-made-here"));
    assert_eq!(execute(rotate("nothing")).await, Err("secret-not-in-manifest"));
}

#[tokio::test]
async fn a_removed_value_is_refused_for_good_until_it_is_rotated() {
    let fixture = broker(1, 1);
    fixture.install(1, &body("random", "")).await.unwrap();
    let (first, _) = seed(&fixture).await.unwrap();
    fixture.execute(&owner_session(3), remove("seed")).await.unwrap();
    assert_eq!(seed(&fixture).await, Err("secret-removed"));
    // Another manifest does not bring it back.
    fixture.install(2, &body("random", "")).await.unwrap();
    assert_eq!(seed(&fixture).await, Err("secret-removed"));
    let listed = fixture.execute(&owner_session(4), list()).await.unwrap();
    let listed = listed.secrets.iter().find(|secret| secret.name == "seed").unwrap();
    assert_eq!(
        (listed.version, listed.removed, listed.lease_seconds, listed.grace_seconds),
        (0, true, 600, 300)
    );
    fixture.execute(&owner_session(5), rotate("seed")).await.unwrap();
    let (second, version) = seed(&fixture).await.unwrap();
    assert_eq!(version, 2);
    assert_ne!(first, second);
}

#[tokio::test]
async fn another_kind_is_another_value() {
    let fixture = broker(1, 1);
    fixture.install(1, &body("opaque", "")).await.unwrap();
    fixture.execute(&owner_session(3), put("seed", b"uploaded")).await.unwrap();
    fixture.install(2, &body("random", "")).await.unwrap();
    let (value, version) = seed(&fixture).await.unwrap();
    assert_eq!((value.len(), version), (32, 2));
}

#[tokio::test]
async fn made_values_survive_a_restart_and_are_made_whole_or_not_at_all() {
    let disk = crate::store::Disk::default();
    let fixture = broker_with(1, 1, |genesis| disk.open(genesis), None);
    fixture.install(1, "").await.unwrap();
    disk.fill(true);
    assert_eq!(fixture.install(2, &body("random", "")).await.unwrap_err().code(), "store-full");
    assert!(fixture.broker.state().secrets.is_empty());
    disk.fill(false);
    fixture.install(2, &body("random", "")).await.unwrap();
    let made = seed(&fixture).await.unwrap();
    let fixture = fixture.restarted(|genesis| disk.open(genesis));
    fixture.confirm().await;
    assert_eq!(seed(&fixture).await.unwrap(), made);
}

#[tokio::test]
async fn an_answer_has_the_least_lease_and_the_head_with_its_own_record() {
    let fixture = broker(1, 1);
    fixture.install(1, &body("random", "")).await.unwrap();
    fixture.execute(&owner_session(3), put("key", b"sesame")).await.unwrap();
    let ask = async |asked: &[&str]| {
        let answer = fixture.broker.release(&workload_session(1), &names(asked)).await.unwrap();
        assert_eq!(answer.head, Some((&fixture.broker.store().head()).into()));
        (answer.lease_seconds, answer.grace_seconds)
    };
    assert_eq!(ask(&["seed"]).await, (600, 300));
    assert_eq!(ask(&["seed", "key"]).await, (90, 300));
    assert_eq!(ask(&[]).await, (600, 300));
    let before = fixture.broker.store().head().audit_size;
    ask(&["seed", "key"]).await;
    assert_eq!(fixture.broker.store().head().audit_size, before + 2);
}

#[tokio::test]
async fn a_workload_that_a_manifest_drops_is_refused_at_its_next_request() {
    let fixture = broker(1, 1);
    fixture.install(1, &body("random", "")).await.unwrap();
    seed(&fixture).await.unwrap();
    fixture.install(2, &body("random", "").replace("\"serving\"", "\"other\"")).await.unwrap();
    assert_eq!(seed(&fixture).await, Err("secret-refused"));
    fixture.install_text(&fixture.text(3, "")).await.unwrap();
    assert_eq!(seed(&fixture).await, Err("secret-unknown"));
}
