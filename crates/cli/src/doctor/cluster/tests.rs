//! The checks over objects written by hand from the types of Kubernetes' API.

use serde_json::{Value, json};

use super::*;

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_pod_is_judged_by_what_it_waits_for() {
    let with = |status: Value| pod(&of(json!({"metadata": {"name": "a", "uid": "1"}, "status": status})));
    let ready = json!([{"type": "Ready", "status": "True", "lastProbeTime": null}]);
    let state = |status: Value| with(status).map(|finding| finding.state);
    assert_eq!(state(json!({"phase": "Running", "conditions": ready})), Some(State::Good));
    assert_eq!(state(json!({"phase": "Succeeded"})), None);
    assert_eq!(state(json!({"phase": "Failed", "reason": "Evicted"})), Some(State::Wrong));
    assert_eq!(state(json!({"phase": "Running", "conditions": []})), Some(State::Wrong));
    let killed = with(json!({"phase": "Running", "conditions": ready, "containerStatuses": [
        {"name": "c", "restartCount": 3, "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}]}))
    .unwrap();
    assert_eq!(killed.state, State::Warning);
    assert!(killed.found.contains("3 restarts; the last end: OOMKilled, exit code 137"), "{}", killed.found);
    let pull = with(json!({"phase": "Pending", "containerStatuses": [
        {"name": "c", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "x\u{1b}[2J"}}}]}))
    .unwrap();
    assert_eq!(pull.state, State::Wrong);
    assert!(!pull.found.contains('\u{1b}') && pull.remedy.unwrap().contains("image"));
    let homeless = with(json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "message": "Insufficient sgx.intel.com/epc"}]}));
    assert!(homeless.unwrap().found.contains("Insufficient"));
}

#[test]
fn a_deployment_asks_for_what_the_nodes_offer() {
    let asks = of(json!({"metadata": {"name": "d"}, "spec": {"template": {"spec": {
        "runtimeClassName": "kata-qemu-tdx", "nodeSelector": {"a": "b"},
        "containers": [{"resources": {"limits": {"sgx.intel.com/epc": "8000Mi", "memory": "1Gi"}}}]}}}}));
    let with = |epc: &str| {
        of::<Node>(json!({"metadata": {"name": "n", "labels": {"a": "b"}},
        "status": {"allocatable": {"sgx.intel.com/epc": epc}}}))
    };
    let class: RuntimeClass = of(json!({"metadata": {"name": "kata-qemu-tdx"}}));
    for enough in ["8000Mi", "8388608000", "8G", "8.4e9"] {
        assert_eq!(
            demands(&asks, &[with(enough)], std::slice::from_ref(&class)).is_empty(),
            enough != "8G",
            "{enough}"
        );
    }
    let little = demands(&asks, &[with("1000Mi"), with("0")], std::slice::from_ref(&class));
    assert!(little[0].found.contains("8000Mi") && little[0].found.contains("1000Mi"), "{}", little[0].found);
    assert_eq!(demands(&asks, &[with("0")], std::slice::from_ref(&class)).len(), 1);
    // The labels on one node and the device on another.
    let labels = of(json!({"metadata": {"name": "l", "labels": {"a": "b"}}}));
    let device =
        of(json!({"metadata": {"name": "e"}, "status": {"allocatable": {"sgx.intel.com/epc": "9Gi"}}}));
    let apart = demands(&asks, &[labels, device], &[class]);
    assert!(apart[0].found.contains("no node has all"), "{}", apart[0].found);
    assert_eq!(demands(&asks, &[], &[]).len(), 3);
    assert_eq!(hardware(&[with("1Gi")], &[]).state, State::Good);
    assert_eq!(hardware(&[with("0")], &[]).state, State::Absent);
    assert_eq!(deployment(&asks).state, State::Wrong);
    assert_eq!(network(&asks, &[]).state, State::Warning);
    assert_eq!(network(&asks, &[of(json!({"spec": {"podSelector": {}}}))]).state, State::Good);
}

#[test]
fn an_amount_is_read_as_kubernetes_writes_it() {
    let read = [
        (json!(2), Some(2.0)),
        (json!("2"), Some(2.0)),
        (json!("1500m"), Some(1.5)),
        (json!("1k"), Some(1e3)),
        (json!("1Ki"), Some(1024.0)),
        (json!("0.5Gi"), Some(536_870_912.0)),
        (json!("12e6"), Some(12e6)),
        (json!("x"), None),
        (json!("1Zz"), None),
        (json!(null), None),
    ];
    for (value, expected) in read {
        assert_eq!(quantity(&value), expected, "{value}");
    }
}

#[test]
fn a_selector_chooses_by_labels_and_expressions() {
    let labels = of(json!({"app": "replica"}));
    let chooses = |selector: Value| selects(&of(selector), &labels);
    let by = |operator: &str, key: &str| {
        chooses(json!({"matchExpressions": [{"key": key, "operator": operator, "values": ["replica", "x"]}]}))
    };
    assert!(by("In", "app") && by("NotIn", "other") && by("Exists", "app") && by("DoesNotExist", "other"));
    assert!(
        !by("In", "other") && !by("NotIn", "app") && !by("Exists", "other") && !by("DoesNotExist", "app")
    );
    assert!(!by("Later", "app"));
    assert!(!chooses(json!({"matchLabels": {"app": "replica"}, "matchExpressions": [
        {"key": "app", "operator": "NotIn", "values": ["replica"]}]})));
}

#[test]
fn a_heartbeat_is_compared_with_the_clock() {
    let lease = of(json!({"metadata": {"name": "n"}, "spec": {"renewTime": "1970-01-02T01:00:10.123456Z"}}));
    let state = |now| heartbeat(&lease, UnixSeconds(now)).state;
    assert_eq!(state(90_010), State::Good);
    assert_eq!((state(90_110), state(89_910)), (State::Warning, State::Warning));
    assert_eq!((state(91_000), state(0)), (State::Wrong, State::Wrong));
    for text in ["", "1970-01-02", "1970-01-02T01:00:10+01:00", "\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}"]
    {
        assert_eq!(seconds(text), None, "{text}");
    }
}

#[test]
fn services_volumes_and_nodes_are_judged() {
    let one = of(json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "selector": {"app": "s"},
        "ports": [{"port": 1, "nodePort": 31001}]}}));
    let slice = |ready: Value| {
        of(json!({"metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]}))
    };
    let good = service(&one, &[slice(json!(true))]).unwrap();
    assert_eq!((good.state, good.found.contains("31001")), (State::Good, true));
    assert_eq!(service(&one, &[slice(json!(false))]).unwrap().state, State::Wrong);
    let none = of(json!({"metadata": {"name": "s-1"}, "endpoints": null}));
    assert_eq!(service(&one, &[none]).unwrap().state, State::Wrong);
    for (phase, state) in [("Bound", State::Good), ("Pending", State::Wrong), ("Lost", State::Wrong)] {
        assert_eq!(claim(&of(json!({"metadata": {"name": "c"}, "status": {"phase": phase}}))).state, state);
    }
    for (status, state) in [("True", State::Good), ("Unknown", State::Wrong)] {
        let conditions = json!([{"type": "Ready", "status": status}]);
        assert_eq!(node(&of(json!({"status": {"conditions": conditions}}))).state, state);
    }
}

#[test]
fn a_secret_with_a_key_is_a_fault_except_the_simulation() {
    let state = |lines: &str| secrets(lines).iter().map(|one| one.state).collect::<Vec<_>>();
    assert_eq!(state(""), [State::Good]);
    assert_eq!(state("registry kubernetes.io/dockerconfigjson .dockerconfigjson\n"), [State::Good]);
    assert_eq!(state("model Opaque ca.crt tls.key\n"), [State::Wrong]);
    assert_eq!(state("ingress kubernetes.io/tls tls.crt tls.key\n"), [State::Warning]);
    assert_eq!(state("adytum-sim-platform Opaque root.key\n"), [State::Warning]);
}
