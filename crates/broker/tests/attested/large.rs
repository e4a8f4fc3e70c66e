//! As many workloads and secrets as a large deployment has.

use adytum_api::broker::{ListSecrets, command};
use adytum_governance::{
    manifest::document::{SecretTable, WorkloadTable},
    secrets::SecretKind,
};
use tonic::Code;

use crate::fixture::{Fixture, apply, execute, fetch, identity, policy, put, stable};

const WORKLOADS: usize = 1000;
const SECRETS: usize = 10_000;

#[tokio::test]
async fn ten_thousand_secrets_of_a_thousand_workloads_are_served() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    let mut document = fixture.document(1);
    let workload = |number: usize| format!("program-{number}");
    document.workloads = (0..WORKLOADS)
        .map(|number| WorkloadTable {
            name: workload(number).parse().unwrap(),
            models: Vec::new(),
            policy: policy(identity(&workload(number))),
        })
        .collect();
    // Every second one is made by the broker.
    let kind = |number: usize| if number.is_multiple_of(2) { SecretKind::Random } else { SecretKind::Opaque };
    let secret = |number: usize| {
        let who = workload(number % WORKLOADS).parse().unwrap();
        SecretTable::new(format!("secret-{number}").parse().unwrap(), kind(number), vec![who])
    };
    document.secrets = (0..SECRETS).map(secret).collect();
    let owner = fixture.owner(running.address).await;
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&document)))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("secret-9999", b"the last"))).await.unwrap();

    let replica = fixture.replica("program-999", running.address).await.unwrap();
    let answer = fetch(&replica, &["secret-9999"]).await.unwrap();
    assert_eq!(answer.secrets[0].value, b"the last");
    let refused = stable(&fetch(&replica, &["secret-9998"]).await.unwrap_err());
    assert_eq!(refused, (Code::PermissionDenied, "secret-refused".into(), false));
    let other = fixture.replica("program-998", running.address).await.unwrap();
    assert_eq!(fetch(&other, &["secret-9998", "secret-998"]).await.unwrap().secrets.len(), 2);
    let stranger = fixture.replica("program-1000", running.address).await.unwrap();
    let status = fetch(&stranger, &["secret-9999"]).await.unwrap_err();
    assert_eq!(stable(&status).1, "policy-refused");
    assert!(status.message().contains("more workloads"), "{}", status.message());

    let list = command::Command::ListSecrets(ListSecrets {});
    let listed = execute(&owner, fixture.command(&owner, 1, list)).await.unwrap().secrets;
    assert_eq!(listed.len(), SECRETS);
    assert_eq!(listed.iter().filter(|secret| secret.version == 1).count(), SECRETS / 2 + 1);
    running.stop().await;
}
