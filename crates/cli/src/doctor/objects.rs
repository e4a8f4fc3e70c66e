//! The parts of Kubernetes' objects that the checks read. Fields that are not named here are ignored.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

pub(super) type Names = BTreeMap<String, String>;

macro_rules! objects {
    ($($(#[$about:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {$(
        $(#[$about])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub(super) struct $name { $(pub(super) $field: $kind,)* }
    )*};
}

/// A list of `kubectl get`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
}

objects! {
    /// What `kubectl version` prints.
    Version { server_version: Option<ServerVersion> }
    ServerVersion { git_version: String }
    Metadata {
        name: String,
        labels: Names,
        deletion_timestamp: Option<String>,
    }
    Node { metadata: Metadata, status: NodeStatus }
    NodeStatus { allocatable: BTreeMap<String, Value>, conditions: Vec<Condition> }
    Condition { r#type: String, status: String, message: String }
    RuntimeClass { metadata: Metadata }
    Lease { metadata: Metadata, spec: LeaseSpec }
    LeaseSpec { renew_time: Option<String> }
    Deployment { metadata: Metadata, spec: DeploymentSpec, status: DeploymentStatus }
    DeploymentSpec { replicas: Option<u64>, template: PodTemplate }
    DeploymentStatus { ready_replicas: u64 }
    PodTemplate { metadata: Metadata, spec: PodSpec }
    PodSpec {
        containers: Vec<Container>,
        node_selector: Names,
        runtime_class_name: Option<String>,
    }
    Container { resources: Resources }
    Resources { limits: BTreeMap<String, Value> }
    Pod { metadata: Metadata, status: PodStatus }
    PodStatus {
        phase: String,
        reason: String,
        conditions: Vec<Condition>,
        container_statuses: Vec<ContainerStatus>,
        init_container_statuses: Vec<ContainerStatus>,
    }
    ContainerStatus {
        name: String,
        restart_count: u64,
        state: ContainerState,
        last_state: ContainerState,
    }
    ContainerState { waiting: Option<Reason>, terminated: Option<Reason> }
    Reason { reason: String, message: String, exit_code: i64 }
    Service { metadata: Metadata, spec: ServiceSpec }
    ServiceSpec { r#type: String, selector: Names, ports: Vec<ServicePort> }
    ServicePort { node_port: Option<u16> }
    EndpointSlice { metadata: Metadata, endpoints: Option<Vec<Endpoint>> }
    Endpoint { conditions: EndpointConditions }
    EndpointConditions { ready: Option<bool> }
    Claim { metadata: Metadata, status: ClaimStatus }
    ClaimStatus { phase: String }
    NetworkPolicy { spec: NetworkPolicySpec }
    NetworkPolicySpec { pod_selector: Selector }
    Selector { match_labels: Names, match_expressions: Vec<Expression> }
    Expression { key: String, operator: String, values: Vec<String> }
}
