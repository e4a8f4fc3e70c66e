//! Nothing is sent before the broker has proved that it is the expected one.

use adytum_governance::genesis::Genesis;
use adytum_sim::Platform;
use tokio::net::TcpListener;

use crate::stage::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_that_is_meant_verifies() {
    let stage = Stage::new(1, 1).await;
    let verify = stage.pinned(&["broker", "verify", &stage.address]);
    let said = succeeds(verify.clone()).await;
    assert!(said.contains("is the expected broker"), "{said}");
    assert!(said.contains(&stage.genesis.digest().to_string()) && said.contains(&"b0".repeat(32)), "{said}");
    assert!(said.contains("simulated and protects nothing"), "{said}");

    let policy = format!("vendors = [\"simulation\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{IDENTITY}\"]\n");
    let policy = stage.write("policy.toml", &policy);
    let mut by_policy = without(verify.clone(), "--broker-measurement");
    by_policy.extend(["--policy".into(), policy, "--json".into()]);
    let json = succeeds(by_policy).await;
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["broker"]["genesis"], stage.genesis.digest().to_string());
    assert_eq!(parsed["claims"]["vendor"], "simulation");

    let mut by_directory = verify;
    by_directory.extend(["--collateral".into(), stage.path("platform/collateral")]);
    succeeds(by_directory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_broker_is_refused() {
    let stage = Stage::new(1, 1).await;
    let verify = stage.pinned(&["broker", "verify", &stage.address]);

    let message = fails(with(verify.clone(), "--broker-measurement", &"b1".repeat(32))).await;
    assert!(message.contains("policy-refused") && message.contains(&"b0".repeat(32)), "{message}");

    let other = Genesis::found(stage.genesis.owners().iter().copied(), 1).unwrap();
    let other = stage.write("other.toml", &other.to_toml());
    let message = fails(with(verify.clone(), "--genesis", &other)).await;
    assert!(message.contains("genesis-mismatch"), "{message}");

    // Not trusted by name: neither by default, nor another platform's root.
    let mut untrusting = without(verify.clone(), "--trust-simulation");
    untrusting.extend(["--collateral".into(), stage.path("platform/collateral")]);
    let message = fails(untrusting).await;
    assert!(message.contains("simulat") && message.contains("root"), "{message}");
    Platform::create(stage.path("elsewhere")).unwrap();
    fails(with(verify.clone(), "--trust-simulation", &stage.path("elsewhere/root.pem"))).await;

    let policy = format!("vendors = [\"simulation\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{IDENTITY}\"]\n");
    let policy = stage.write("policy.toml", &policy);
    let mut untrusting = without(without(verify, "--trust-simulation"), "--broker-measurement");
    untrusting.extend(["--broker-policy".into(), policy]);
    assert!(fails(untrusting).await.contains("--trust-simulation"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_flags_and_places_say_what_to_do() {
    let stage = Stage::new(1, 1).await;
    let verify = stage.pinned(&["broker", "verify", &stage.address]);
    let message =
        fails(without(with(verify.clone(), "--genesis", &stage.path("nowhere")), "--trust-simulation")).await;
    assert!(message.contains("nowhere can't be read"), "{message}");
    let message = fails(without(verify.clone(), "--trust-simulation")).await;
    assert!(message.contains("--collateral"), "{message}");
    let message = fails(with(verify.clone(), "--trust-simulation", &stage.path("owner0.pem"))).await;
    assert!(message.contains("no simulated platform's root"), "{message}");
    // A policy that any code passes.
    let policy = stage.write("policy.toml", "vendors = [\"intel\"]\ntee = [\"sgx\"]\n");
    let mut loose = without(verify.clone(), "--broker-measurement");
    loose.extend(["--policy".into(), policy]);
    assert!(fails(loose).await.contains("pins no code"));

    // Nobody there: a port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let mut nobody = verify;
    nobody[2] = free.clone();
    let message = fails(nobody).await;
    assert!(message.contains(&free) && message.contains("refused"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_does_not_know_is_no_good_news() {
    let stage = Stage::new(1, 1).await;
    let owner = stage.path("owner0.pem");
    let manifest = stage.write("manifest.toml", &stage.manifest(1));
    succeeds(stage.pinned(&["manifest", "apply", &manifest, "--owner", &owner])).await;
    let mut forecast = stage.pinned(&["broker", "forecast", "--broker", &stage.address, "--owner", &owner]);
    let said = succeeds(forecast.clone()).await;
    assert!(said.contains("NO FORECAST  workload digits"), "{said}");
    assert!(said.contains("nothing that is known of"), "{said}");
    forecast.push("--json".into());
    let parsed: serde_json::Value = serde_json::from_str(&succeeds(forecast.clone()).await).unwrap();
    assert_eq!(parsed["unseen"][0], "digits");
    // It names workloads, so it is for owners and auditors.
    let stranger = stage.path("stranger.pem");
    succeeds(["owner", "new", "--out", &stranger].map(str::to_owned).to_vec()).await;
    fails(with(forecast, "--owner", &stranger)).await;
}

/// A broker takes a date that owners signed for the time: no tool signs one of the future.
#[tokio::test(flavor = "multi_thread")]
async fn a_date_in_the_future_is_not_signed() {
    let stage = Stage::new(1, 1).await;
    let owner = stage.path("owner0.pem");
    let text = stage
        .manifest(1)
        .replace("tee = [\"sgx\"]\n", "tee = [\"sgx\"]\ncollateral_not_before = \"2999-01-01\"\n");
    let manifest = stage.write("manifest.toml", &text);
    let said = succeeds(["manifest", "check", &manifest].map(str::to_owned).to_vec()).await;
    assert!(said.contains("WARNING   collateral_not_before is 2999-01-01"), "{said}");
    assert!(said.contains("no minimum_tcb_evaluation_data_number"), "{said}");
    for command in [
        ["manifest", "sign", &manifest, "--owner", &owner].map(str::to_owned).to_vec(),
        stage.pinned(&["manifest", "apply", &manifest, "--owner", &owner]),
    ] {
        let message = fails(command).await;
        assert!(message.contains("2999-01-01"), "{message}");
    }
}
