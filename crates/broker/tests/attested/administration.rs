//! Owners and thieves, over the wire.

use adytum_api::broker::{
    GetStatusRequest, SignedCommand, broker_administration_client::BrokerAdministrationClient,
};
use adytum_governance::genesis::Genesis;
use adytum_signing::OwnerSigningKey;
use tonic::{Code, Request};

use crate::fixture::{Fixture, apply, execute, fetch, put, stable};

#[tokio::test]
async fn a_signed_command_is_void_on_another_session_and_another_broker() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let [first, second] = [fixture.owner(running.address).await, fixture.owner(running.address).await];
    let command = fixture.command(&first, 1, put("ssl_config", b"stolen"));
    let status = execute(&second, command.clone()).await.unwrap_err();
    assert_eq!(stable(&status), (Code::PermissionDenied, "signature-invalid".into(), false));

    // Another broker of the same owner: same key, another genesis.
    let mut other = Fixture::new(1, 1);
    other.owners = vec![OwnerSigningKey::from_pem(&fixture.owners[0].to_pem().unwrap()).unwrap()];
    other.genesis = Genesis::create([other.owners[0].public_key()], 1).unwrap();
    let elsewhere = other.start().await;
    other.provision(&elsewhere).await;
    let session = other.owner(elsewhere.address).await;
    let status = execute(&session, command.clone()).await.unwrap_err();
    assert_eq!(stable(&status).1, "signature-invalid");

    execute(&first, command.clone()).await.unwrap();
    let status = execute(&first, command).await.unwrap_err();
    assert_eq!(stable(&status), (Code::Aborted, "command-replayed".into(), false));
    running.stop().await;
    elsewhere.stop().await;
}

#[tokio::test]
async fn changed_bodies_stale_versions_and_strangers_are_refused() {
    let fixture = Fixture::new(2, 2);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let owner = fixture.owner(running.address).await;
    let good = fixture.command(&owner, 1, put("ssl_config", b"new"));
    let forged = fixture.command(&owner, 1, put("ssl_config", b"forged")).body;
    let changed = SignedCommand { body: forged, ..good.clone() };
    let stale = fixture.command(&owner, 0, put("ssl_config", b"new"));
    let mut lone = good.clone();
    lone.signatures.truncate(1);
    let mut unsigned = good.clone();
    unsigned.signatures.clear();
    let thief = OwnerSigningKey::generate().unwrap();
    let stranger = adytum_governance::command::sign(
        &owner.info.request_binding,
        fixture.genesis.digest(),
        1,
        put("ssl_config", b"new"),
        &[&fixture.owners[0], &thief],
    );
    for (command, code, stable_code) in [
        (changed, Code::PermissionDenied, "signature-invalid"),
        (stale, Code::Aborted, "command-stale-manifest-version"),
        (lone, Code::PermissionDenied, "signatures-below-threshold"),
        (unsigned, Code::Unauthenticated, "signature-missing"),
        (stranger, Code::PermissionDenied, "signature-by-stranger"),
    ] {
        let status = execute(&owner, command).await.unwrap_err();
        assert_eq!(stable(&status), (code, stable_code.to_owned(), false));
    }
    let replica = fixture.replica("serving", running.address).await.unwrap();
    assert_eq!(fetch(&replica, &["ssl_config"]).await.unwrap().secrets[0].value, b"open sesame");
    running.stop().await;
}

#[tokio::test]
async fn a_workload_gives_no_commands_even_with_the_owners_keys() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let replica = fixture.replica("serving", running.address).await.unwrap();
    let status = execute(&replica, fixture.command(&replica, 1, put("ssl_config", b"x"))).await.unwrap_err();
    assert_eq!(stable(&status), (Code::PermissionDenied, "command-from-workload".into(), false));
    running.stop().await;
}

#[tokio::test]
async fn an_older_manifest_does_not_come_back() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let owner = fixture.owner(running.address).await;
    let second = apply(&fixture.signed(&fixture.document(2)));
    execute(&owner, fixture.command(&owner, 1, second.clone())).await.unwrap();
    for (manifest, code) in
        [(apply(&fixture.signed(&fixture.document(1))), "manifest-older"), (second, "manifest-replayed")]
    {
        let status = execute(&owner, fixture.command(&owner, 2, manifest)).await.unwrap_err();
        assert_eq!(stable(&status), (Code::FailedPrecondition, code.to_owned(), false));
    }
    running.stop().await;
}

#[tokio::test]
async fn the_status_is_public_and_says_nothing_of_names() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let owner = fixture.owner(running.address).await;
    let mut client = BrokerAdministrationClient::new(owner.channel.clone());
    let status = client.get_status(Request::new(GetStatusRequest::default())).await.unwrap().into_inner();
    let founded = Genesis::parse(std::str::from_utf8(&status.genesis).unwrap()).unwrap();
    assert_eq!(founded.digest(), fixture.genesis.digest());
    assert_eq!((status.manifest_version, status.epoch), (1, 1));
    assert!(!format!("{status:?}").contains("ssl_config"));
    running.stop().await;
}
