//! Nothing is sent before the broker has proved that it is the expected one.

use adytum_governance::genesis::Genesis;
use adytum_sim::Platform;
use adytum_testkit::ports::free_port;

use crate::fixture::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_that_is_meant_verifies() {
    let fixture = Fixture::new(1, 1).await;
    let verify = fixture.pinned(&["broker", "verify"]);
    let said = succeeds(verify.clone());
    assert!(said.contains("is the expected broker"), "{said}");
    assert!(
        said.contains(&fixture.genesis.digest().to_string()) && said.contains(&"b0".repeat(32)),
        "{said}"
    );
    assert!(said.contains("simulated and protects nothing"), "{said}");

    let policy = format!("vendors = [\"simulation\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{IDENTITY}\"]\n");
    let policy = fixture.write("policy.toml", &policy);
    let mut by_policy = without(verify.clone(), "--broker-measurement");
    by_policy.extend(["--policy".into(), policy, "--json".into()]);
    let json = succeeds(by_policy);
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["broker"]["genesis"], fixture.genesis.digest().to_string());
    assert_eq!(parsed["claims"]["vendor"], "simulation");

    let mut by_directory = verify;
    by_directory.extend(["--collateral".into(), fixture.path("platform/collateral")]);
    succeeds(by_directory);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_broker_is_refused() {
    let fixture = Fixture::new(1, 1).await;
    let verify = fixture.pinned(&["broker", "verify"]);

    let message = fails(77, with(verify.clone(), "--broker-measurement", &"b1".repeat(32)));
    assert!(message.contains("policy-refused") && message.contains(&"b0".repeat(32)), "{message}");

    let other = Genesis::create(fixture.genesis.owners().iter().copied(), 1).unwrap();
    let other = fixture.write("other.toml", other.to_toml());
    let message = fails(77, with(verify.clone(), "--genesis", &other));
    assert!(message.contains("genesis-mismatch"), "{message}");

    // Not trusted by name: neither by default, nor another platform's root.
    let mut untrusting = without(verify.clone(), "--trust-simulation");
    untrusting.extend(["--collateral".into(), fixture.path("platform/collateral")]);
    let message = fails(77, untrusting);
    assert!(message.contains("simulat") && message.contains("root"), "{message}");
    Platform::create(fixture.path("elsewhere")).unwrap();
    fails(77, with(verify.clone(), "--trust-simulation", &fixture.path("elsewhere/root.pem")));

    let policy = format!("vendors = [\"simulation\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{IDENTITY}\"]\n");
    let policy = fixture.write("policy.toml", &policy);
    let mut untrusting = without(without(verify, "--trust-simulation"), "--broker-measurement");
    untrusting.extend(["--broker-policy".into(), policy]);
    assert!(fails(78, untrusting).contains("--trust-simulation"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_flags_and_places_say_what_to_do() {
    let fixture = Fixture::new(1, 1).await;
    let verify = fixture.pinned(&["broker", "verify"]);
    let message =
        fails(78, without(with(verify.clone(), "--genesis", &fixture.path("nowhere")), "--trust-simulation"));
    assert!(message.contains("nowhere can't be read"), "{message}");
    let message = fails(78, without(verify.clone(), "--trust-simulation"));
    assert!(message.contains("--collateral"), "{message}");
    let message = fails(78, with(verify.clone(), "--trust-simulation", &fixture.path("owner0.pem")));
    assert!(message.contains("no simulated platform's root"), "{message}");
    // A policy that any code passes.
    let policy = fixture.write("policy.toml", "vendors = [\"intel\"]\ntee = [\"sgx\"]\n");
    let mut loose = without(verify.clone(), "--broker-measurement");
    loose.extend(["--policy".into(), policy]);
    assert!(fails(78, loose).contains("pins no code"));

    // Nobody there.
    let free = format!("127.0.0.1:{}", free_port());
    let mut nobody = verify;
    nobody[2] = free.clone();
    let message = fails(69, nobody);
    assert!(message.contains(&free) && message.contains("refused"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_does_not_know_is_no_good_news() {
    let fixture = Fixture::new(1, 1).await;
    let owner = fixture.path("owner0.pem");
    let manifest = fixture.write("manifest.toml", fixture.manifest(1));
    succeeds(fixture.pinned(&["manifest", "apply", &manifest, "--owner", &owner]));
    let mut forecast = fixture.pinned(&["broker", "forecast", "--owner", &owner]);
    let said = succeeds(forecast.clone());
    assert!(said.contains("NO FORECAST  workload digits"), "{said}");
    assert!(said.contains("nothing that is known of"), "{said}");
    forecast.push("--json".into());
    let parsed: serde_json::Value = serde_json::from_str(&succeeds(forecast.clone())).unwrap();
    assert_eq!(parsed["unseen"][0], "digits");
    // It names workloads, so it is for owners and auditors.
    let stranger = fixture.path("stranger.pem");
    succeeds(["owner", "new", "--out", &stranger].map(str::to_owned).to_vec());
    fails(77, with(forecast, "--owner", &stranger));
}

/// A broker takes a date that owners signed for the time: no tool signs one of the future.
#[tokio::test(flavor = "multi_thread")]
async fn a_date_in_the_future_is_not_signed() {
    let fixture = Fixture::new(1, 1).await;
    let owner = fixture.path("owner0.pem");
    let text = fixture
        .manifest(1)
        .replace("tee = [\"sgx\"]\n", "tee = [\"sgx\"]\ncollateral_not_before = \"2999-01-01\"\n");
    let manifest = fixture.write("manifest.toml", &text);
    let said = succeeds(["manifest", "check", &manifest].map(str::to_owned).to_vec());
    assert!(said.contains("WARNING   collateral_not_before is 2999-01-01"), "{said}");
    assert!(said.contains("no minimum_tcb_evaluation_data_number"), "{said}");
    for command in [
        ["manifest", "sign", &manifest, "--owner", &owner].map(str::to_owned).to_vec(),
        fixture.pinned(&["manifest", "apply", &manifest, "--owner", &owner]),
    ] {
        let message = fails(78, command);
        assert!(message.contains("2999-01-01"), "{message}");
    }
}
