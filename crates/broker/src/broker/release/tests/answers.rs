//! Answers differ for peers that may know the reason, and are alike for all others.

use std::collections::BTreeSet;

use adytum_api::refusal::{KIND, RefusalKind};
use tonic::{Code, Status};

use super::super::*;
use crate::{
    fixture::{Fixture, broker_with, names, owner_session, put, remove, workload_session},
    store::Disk,
};

/// "mine" has a value, "empty" has none, "gone" was removed, "other" is another
/// workload's.
async fn provisioned(disk: &Disk) -> Fixture {
    let fixture = broker_with(1, 1, |genesis| disk.open(genesis), None);
    let secret = |name: &str, workload: &str| {
        format!("[[secret]]\nname = \"{name}\"\nkind = \"opaque\"\nworkloads = [\"{workload}\"]\n")
    };
    let certificate =
        "[secret.certificate]\ndns_names = [\"localhost\"]\nusages = [\"server\"]\nlifetime = \"1d\"\n";
    let body = [
        secret("mine", "serving"),
        secret("empty", "serving"),
        secret("gone", "serving"),
        secret("other", "other"),
        secret("tls", "serving").replace("opaque", "tls-certificate"),
        certificate.to_owned(),
    ];
    fixture.install(1, &body.concat()).await.unwrap();
    for name in ["mine", "gone", "other"] {
        fixture.execute(&owner_session(2), put(name, b"sesame")).await.unwrap();
    }
    fixture.execute(&owner_session(2), remove("gone")).await.unwrap();
    fixture
}

async fn ask(fixture: &Fixture, session: &SessionInfo, request: &broker::GetSecretsRequest) -> Status {
    fixture.broker.release(session, request).await.unwrap_err().into()
}

/// All of a status that a peer sees.
fn seen(status: &Status) -> (Code, String, String, String) {
    let text = |key| status.metadata().get(key).unwrap().to_str().unwrap().to_owned();
    assert_eq!(status.metadata().len(), 3);
    let kind = RefusalKind::from_name(&text(KIND));
    // What a workload is refused for what it is, and only that, is a verdict.
    let judged = !matches!(status.code(), Code::InvalidArgument | Code::Unavailable);
    assert_eq!(kind == Some(RefusalKind::Verdict), judged, "{status:?}");
    (status.code(), text("adytum-code"), text("adytum-retry"), status.message().to_owned())
}

#[tokio::test]
async fn a_workload_is_told_what_is_wrong_each_by_a_code_of_its_own() {
    let disk = Disk::default();
    let fixture = provisioned(&disk).await;
    let many: Vec<String> = (0..33).map(|number| format!("secret-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let noise = broker::GetSecretsRequest { certificate_request: b"noise".to_vec(), ..names(&["tls"]) };
    let table = [
        (names(&["nothing"]), Code::NotFound, "secret-unknown", false),
        (names(&["other"]), Code::PermissionDenied, "secret-refused", false),
        (names(&["gone"]), Code::PermissionDenied, "secret-removed", false),
        (names(&["empty"]), Code::FailedPrecondition, "secret-has-no-value", true),
        (names(&many), Code::InvalidArgument, "too-many-names", false),
        (names(&["../x"]), Code::InvalidArgument, "name-malformed", false),
        (names(&["mine", "mine"]), Code::InvalidArgument, "name-duplicate", false),
        (noise, Code::InvalidArgument, "certificate-request-malformed", false),
    ];
    let mut codes = BTreeSet::new();
    for (request, code, stable, retry) in table {
        let (found, found_stable, found_retry, message) =
            seen(&ask(&fixture, &workload_session(1), &request).await);
        assert_eq!((found, found_stable.as_str(), found_retry == "true"), (code, stable, retry), "{message}");
        assert!(codes.insert(found_stable) && !message.contains("sesame"));
    }
    assert!(fixture.broker.release(&workload_session(1), &names(&["mine"])).await.is_ok());
    // A full disk is no refusal of this peer.
    disk.fill(true);
    let (code, stable, retry, _) = seen(&ask(&fixture, &workload_session(1), &names(&["mine"])).await);
    assert_eq!((code, retry.as_str()), (Code::Unavailable, "true"));
    assert!(codes.insert(stable.clone()), "{stable}");
    disk.fill(false);
    assert!(fixture.broker.release(&workload_session(1), &names(&["mine"])).await.is_ok());
}

#[tokio::test]
async fn who_is_no_workload_can_not_tell_what_there_is() {
    let disk = Disk::default();
    let fixture = provisioned(&disk).await;
    let noise = broker::GetSecretsRequest { certificate_request: b"noise".to_vec(), ..names(&["tls"]) };
    let requests = ["mine", "empty", "gone", "other", "tls", "nothing"].map(|name| names(&[name]));
    let requests: Vec<_> = requests.into_iter().chain([noise]).collect();
    // Without evidence; with evidence that is no workload's; with evidence on a root
    // that nobody trusts any more.
    let mut untrusted = workload_session(1);
    if let Peer::Attested { claims, .. } = &mut untrusted.peer {
        claims.root_key_id = adytum_evidence::measurement::RootKeyId([9; 48]);
    }
    for (session, stable) in [
        (owner_session(5), "evidence-required"),
        (workload_session(9), "policy-refused"),
        (untrusted, "evidence-not-trusted"),
    ] {
        let mut answers = Vec::new();
        for request in &requests {
            answers.push(seen(&ask(&fixture, &session, request).await));
        }
        assert_eq!(answers[0].1, stable);
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        for name in ["mine", "empty", "gone", "nothing"] {
            assert!(!answers[0].3.contains(name), "{}", answers[0].3);
        }
    }
}

#[tokio::test]
async fn what_was_decided_before_a_revocation_is_not_given_out_after_it() {
    let fixture = std::sync::Arc::new(provisioned(&Disk::default()).await);
    let ((there, is_there), (go_on, wait)) =
        (tokio::sync::oneshot::channel(), tokio::sync::oneshot::channel());
    *fixture.events.hold.lock().unwrap() = Some((there, wait));
    let asking = {
        let fixture = fixture.clone();
        tokio::spawn(async move { fixture.broker.release(&workload_session(1), &names(&["mine"])).await })
    };
    // The grant is recorded, and not given out yet.
    is_there.await.unwrap();
    fixture.execute(&owner_session(3), remove("mine")).await.unwrap();
    go_on.send(()).unwrap();
    let refused = asking.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), "secret-removed");
}
