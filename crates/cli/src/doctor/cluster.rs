//! `adytum doctor --cluster`: what a cluster offers, and how a namespace's objects are.

use std::{collections::BTreeMap, fmt::Display};

use adytum_evidence::clock::{Clock as _, Day, SystemClock, UnixSeconds};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Finding, State,
    kubectl::{Kubectl, KubectlError},
    objects::{
        Claim, Container, Deployment, EndpointSlice, Expression, Lease, List, Names, NetworkPolicy, Node,
        Pod, RuntimeClass, Selector, Service, Version,
    },
};
use crate::failure::{Failure, Stated};

/// A lease of a node that is older or newer than these seconds is a warning.
const LATE_SECONDS: u64 = 60;
/// A lease of a node that is older or newer than these seconds is a fault.
const WRONG_SECONDS: u64 = 300;
/// The Secret of the simulated platform, which holds keys by design.
const SIMULATION: &str = "adytum-sim-platform";
/// The type of a Secret with a certificate of TLS and its key.
const TLS: &str = "kubernetes.io/tls";
/// Prints names and types alone, so that no secret's value reaches this program.
const NAMES_OF_SECRETS: &str = r#"go-template={{range .items}}{{.metadata.name}} {{.type}}{{range $name, $value := .data}} {{$name}}{{end}}{{"\n"}}{{end}}"#;

/// All checks, in the order in which one would repair.
///
/// # Errors
/// If `kubectl` can't be used, or the API server is not reachable.
pub(super) async fn findings(kubectl: &Kubectl) -> anyhow::Result<Vec<Finding>> {
    if let Some(context) = &kubectl.context {
        match kubectl.run(&["config", "get-contexts", context, "-o", "name"]).await {
            Err(KubectlError::Failed(message)) => {
                bail_input!("--kube-context {context}: {message}; see kubectl config get-contexts")
            }
            other => other.map_err(unusable)?,
        };
    }
    let version: Version = kubectl.json(&["version"]).await.map_err(unusable)?;
    let Some(server) = version.server_version else {
        return Err(Stated::new(
            Failure::Unreachable,
            "kubectl named no version of the API server; see kubectl cluster-info".to_owned(),
        )
        .into());
    };
    let mut all = vec![Finding::good("API", format!("Kubernetes {}", clean(server.git_version)))];
    let nodes: Option<Vec<Node>> = list(kubectl, &mut all, "nodes", &[]).await;
    let classes: Option<Vec<RuntimeClass>> = list(kubectl, &mut all, "runtimeclasses", &[]).await;
    let leases: Option<Vec<Lease>> =
        list(kubectl, &mut all, "leases", &["--namespace=kube-node-lease"]).await;
    let deployments: Option<Vec<Deployment>> = list(kubectl, &mut all, "deployments", &[]).await;
    let pods: Option<Vec<Pod>> = list(kubectl, &mut all, "pods", &[]).await;
    let services: Option<Vec<Service>> = list(kubectl, &mut all, "services", &[]).await;
    let slices: Option<Vec<EndpointSlice>> = list(kubectl, &mut all, "endpointslices", &[]).await;
    let claims: Option<Vec<Claim>> = list(kubectl, &mut all, "persistentvolumeclaims", &[]).await;
    let policies: Option<Vec<NetworkPolicy>> = list(kubectl, &mut all, "networkpolicies", &[]).await;

    if let (Some(nodes), Some(classes)) = (&nodes, &classes) {
        all.extend(nodes.iter().map(node));
        all.push(hardware(nodes, classes));
        for deployment in deployments.iter().flatten() {
            all.extend(demands(deployment, nodes, classes));
        }
    }
    all.extend(leases.iter().flatten().map(|one| heartbeat(one, SystemClock.now())));
    if let Some(deployments) = &deployments {
        if deployments.is_empty() {
            all.push(Finding::warning(
                "Deployment",
                "none in this namespace",
                "name the namespace of the deployment with --namespace",
            ));
        }
        all.extend(deployments.iter().map(deployment));
    }
    all.extend(pods.iter().flatten().filter_map(pod));
    if let (Some(services), Some(slices)) = (&services, &slices) {
        all.extend(services.iter().filter_map(|one| service(one, slices)));
    }
    all.extend(claims.iter().flatten().map(claim));
    if let (Some(deployments), Some(policies)) = (&deployments, &policies) {
        all.extend(deployments.iter().map(|one| network(one, policies)));
    }
    match kubectl.run(&["get", "secrets", "-o", NAMES_OF_SECRETS]).await {
        Ok(names) => all.extend(secrets(&String::from_utf8_lossy(&names))),
        Err(error) => all.push(unknown("secrets", &error)),
    }
    Ok(all)
}

async fn list<T: DeserializeOwned>(
    kubectl: &Kubectl,
    findings: &mut Vec<Finding>,
    kind: &'static str,
    more: &[&str],
) -> Option<Vec<T>> {
    // A namespace of its own comes last, so that it wins over that of the command line.
    let narrowed = Kubectl {
        program: kubectl.program.clone(),
        context: kubectl.context.clone(),
        namespace: if more.is_empty() { kubectl.namespace.clone() } else { None },
        limit: kubectl.limit,
    };
    match narrowed.json::<List<T>>(&[&["get", kind], more].concat()).await {
        Ok(list) => Some(list.items),
        Err(error) => {
            findings.push(unknown(kind, &error));
            None
        }
    }
}

fn unusable(error: KubectlError) -> anyhow::Error {
    let failure = match &error {
        KubectlError::Start { .. } | KubectlError::Malformed(_) | KubectlError::Large => {
            Failure::Configuration
        }
        KubectlError::Slow(_) | KubectlError::Failed(_) => Failure::Unreachable,
    };
    let next = "check --kubectl, --kube-context and kubectl cluster-info";
    Stated::new(failure, format!("{}; {next}", clean(error))).into()
}

fn unknown(part: &'static str, error: &KubectlError) -> Finding {
    Finding {
        part,
        state: State::Unknown,
        found: clean(error),
        remedy: Some("ask for the right to read it, or look with kubectl get".to_owned()),
    }
}

/// A text of the cluster, without control characters and of a bounded length.
fn clean(text: impl Display) -> String {
    let text = text.to_string();
    text.chars().map(|one| if one.is_control() { ' ' } else { one }).take(300).collect()
}

fn includes(labels: &Names, wanted: &Names) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// Does a selector choose a pod with these labels? (Kubernetes API, LabelSelector)
fn selects(selector: &Selector, labels: &Names) -> bool {
    includes(labels, &selector.match_labels)
        && selector.match_expressions.iter().all(|Expression { key, operator, values }| {
            let value = labels.get(key);
            let listed = value.is_some_and(|value| values.contains(value));
            match operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                // One of a later Kubernetes: not counted as a protection.
                _ => false,
            }
        })
}

fn node(node: &Node) -> Finding {
    let name = clean(&node.metadata.name);
    let ready = node.status.conditions.iter().find(|one| one.r#type == "Ready");
    match ready.map(|one| (one.status.as_str(), &one.message)) {
        Some(("True", _)) => Finding::good("node", format!("{name} is ready")),
        found => Finding::wrong(
            "node",
            format!("{name} is not ready: {}", clean(found.map_or("", |(_, message)| message))),
            "look at the node with kubectl describe node",
        ),
    }
}

fn hardware(nodes: &[Node], classes: &[RuntimeClass]) -> Finding {
    let sgx = nodes.iter().filter(|node| offer(node, "sgx.intel.com/epc") > Some(0.0)).count();
    let classes = classes.iter().map(|class| class.metadata.name.as_str());
    let confidential: Vec<String> = classes
        .filter(|name| name.starts_with("kata-") && ["cc", "tdx", "snp"].iter().any(|end| name.contains(end)))
        .map(clean)
        .collect();
    let labels = ["cpu-security.sgx.enabled", "cpu-security.tdx.enabled", "cpu-security.sev.snp.enabled"];
    let labelled = nodes
        .iter()
        .filter(|node| {
            labels
                .iter()
                .any(|one| node.metadata.labels.contains_key(&format!("feature.node.kubernetes.io/{one}")))
        })
        .count();
    let found = format!(
        "{sgx} of {} nodes offer SGX, {labelled} have NFD's labels of a TEE; confidential runtime classes: {}",
        nodes.len(),
        if confidential.is_empty() { "none".to_owned() } else { confidential.join(", ") },
    );
    match sgx > 0 || !confidential.is_empty() {
        true => Finding::good("hardware", found),
        false => Finding::absent(
            "hardware",
            found,
            "SGX: install Intel's device plugin and NFD; TDX, SEV-SNP: install Kata's runtime classes; a simulation needs neither",
        ),
    }
}

/// What a Deployment asks of nodes and is not there.
fn demands(deployment: &Deployment, nodes: &[Node], classes: &[RuntimeClass]) -> Vec<Finding> {
    let name = clean(&deployment.metadata.name);
    let pod = &deployment.spec.template.spec;
    let mut missing = Vec::new();
    let demands = demanded(&pod.containers);
    for (resource, demand) in &demands {
        let most = nodes.iter().filter_map(|node| offer(node, resource)).fold(0.0, f64::max);
        if most < *demand {
            let (resource, asked) = (clean(resource), amount(*demand));
            missing.push(Finding::wrong(
                "demand",
                match most > 0.0 {
                    true => format!("{name} asks for {asked} of {resource}, and no node has more than {}", amount(most)),
                    false => format!("{name} asks for {asked} of {resource}, and no node offers it"),
                },
                "ask for less, install the device plugin on nodes that have it, or deploy deploy/overlays/simulation",
            ));
        }
    }
    if let Some(class) = &pod.runtime_class_name
        && !classes.iter().any(|one| one.metadata.name == *class)
    {
        missing.push(Finding::wrong(
            "demand",
            format!("{name} asks for the runtime class {}, which is not there", clean(class)),
            "install Kata Containers, or name a class of kubectl get runtimeclasses",
        ));
    }
    let labelled = |node: &&Node| includes(&node.metadata.labels, &pod.node_selector);
    if !nodes.iter().any(|node| labelled(&node)) {
        missing.push(Finding::wrong(
            "demand",
            format!("{name}: no node has the labels of its nodeSelector"),
            "label a node, or install NFD",
        ));
    }
    let fits = |node: &Node| {
        demands.iter().all(|(resource, demand)| offer(node, resource).is_some_and(|offer| offer >= *demand))
    };
    if missing.is_empty() && !nodes.iter().filter(labelled).any(fits) {
        missing.push(Finding::wrong(
            "demand",
            format!("{name}: each thing that it asks for is on some node, and no node has all of them"),
            "give one node the labels of the nodeSelector and every resource of the limits",
        ));
    }
    missing
}

/// What the containers of a pod ask for together, of the resources that device plugins offer.
fn demanded(containers: &[Container]) -> BTreeMap<&str, f64> {
    let mut demands = BTreeMap::new();
    for (resource, demand) in containers.iter().flat_map(|container| &container.resources.limits) {
        if resource.contains('/') {
            // An amount that can't be read is one that must be there.
            *demands.entry(resource.as_str()).or_insert(0.0) += quantity(demand).unwrap_or(1.0);
        }
    }
    demands
}

/// The amount that a node offers to pods; `None` if it has no such resource.
fn offer(node: &Node, resource: &str) -> Option<f64> {
    quantity(node.status.allocatable.get(resource)?)
}

/// An amount as Kubernetes writes it, such as `2`, `"512Mi"`, `"1k"` or `"1500m"`.
fn quantity(value: &Value) -> Option<f64> {
    if let Some(number) = value.as_f64() {
        return Some(number);
    }
    let text = value.as_str()?;
    let end = text.find(|one: char| !one.is_ascii_digit() && one != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let factor = match unit {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        exponent => format!("1{exponent}").parse().ok()?,
    };
    Some(number * factor)
}

/// An amount for people.
fn amount(quantity: f64) -> String {
    const MEBIBYTE: f64 = 1024.0 * 1024.0;
    match quantity >= MEBIBYTE {
        true => format!("{:.0}Mi", quantity / MEBIBYTE),
        false => format!("{quantity}"),
    }
}

fn heartbeat(lease: &Lease, now: UnixSeconds) -> Finding {
    let name = clean(&lease.metadata.name);
    let Some(at) = lease.spec.renew_time.as_deref().and_then(seconds) else {
        return Finding {
            part: "clock",
            state: State::Unknown,
            found: format!("{name}: its lease has no time"),
            remedy: Some("look at kubectl get leases -n kube-node-lease".to_owned()),
        };
    };
    let apart = at.abs_diff(now.0);
    let found = format!("{name}: its heartbeat and this machine's clock are {apart} s apart");
    let remedy = "set the clocks of the node and of this machine with NTP; or the node's kubelet is down";
    match apart {
        _ if apart <= LATE_SECONDS => Finding::good("clock", found),
        _ if apart <= WRONG_SECONDS => Finding::warning("clock", found, remedy),
        _ => Finding::wrong("clock", found, remedy),
    }
}

/// Seconds since 1970 of `2026-11-30T06:42:17.000000Z` (RFC 3339, UTC).
fn seconds(text: &str) -> Option<u64> {
    let day: Day = text.get(..10)?.parse().ok()?;
    let number = |from: usize| text.get(from..from + 2)?.parse::<u64>().ok();
    text.ends_with('Z').then_some(())?;
    Some(day.start().0 + number(11)? * 3600 + number(14)? * 60 + number(17)?)
}

fn deployment(deployment: &Deployment) -> Finding {
    let (ready, wanted) = (deployment.status.ready_replicas, deployment.spec.replicas.unwrap_or(1));
    let found = format!("{}: {ready} of {wanted} replicas are ready", clean(&deployment.metadata.name));
    match ready >= wanted {
        true => Finding::good("Deployment", found),
        false => Finding::wrong(
            "Deployment",
            found,
            "see its pods below; a broker waits for adytum provision, a replica for its secrets",
        ),
    }
}

fn pod(pod: &Pod) -> Option<Finding> {
    let status = &pod.status;
    if pod.metadata.deletion_timestamp.is_some() || status.phase == "Succeeded" {
        return None;
    }
    let name = clean(&pod.metadata.name);
    let containers = || status.init_container_statuses.iter().chain(&status.container_statuses);
    let waiting = containers().find_map(|one| Some((one, one.state.waiting.as_ref()?)));
    if let Some((container, Some(remedy), why)) = waiting.map(|(one, why)| (one, waits(&why.reason), why)) {
        let (reason, message) = (clean(&why.reason), clean(&why.message));
        return Some(Finding::wrong(
            "Pod",
            format!("{name}, {}: {reason} {message}", container.name),
            remedy,
        ));
    }
    let condition = |kind: &str| status.conditions.iter().find(|one| one.r#type == kind);
    if let Some(why) = condition("PodScheduled").filter(|one| one.status == "False") {
        return Some(Finding::wrong(
            "Pod",
            format!("{name} has no node: {}", clean(&why.message)),
            "give the cluster what the message names",
        ));
    }
    if status.phase == "Failed" {
        let found = format!("{name} failed: {}", clean(&status.reason));
        return Some(Finding::wrong("Pod", found, "look at kubectl describe pod, then delete it"));
    }
    let restarts: u64 = containers().map(|one| one.restart_count).fold(0, u64::saturating_add);
    let last = containers().find_map(|one| one.last_state.terminated.as_ref());
    let last = last.map_or_else(String::new, |last| {
        format!("; the last end: {}, exit code {}", clean(&last.reason), last.exit_code)
    });
    let found = format!("{name}: {restarts} restarts{last}");
    Some(match condition("Ready").is_some_and(|one| one.status == "True") {
        false => Finding::wrong(
            "Pod",
            format!("{found}; not ready"),
            "look at kubectl logs, and adytum broker status",
        ),
        true if restarts > 0 => Finding::warning(
            "Pod",
            found,
            "look at kubectl logs --previous; after OOMKilled give it more memory",
        ),
        true => Finding::good("Pod", found),
    })
}

/// The remedy for a container that waits for something that does not come by itself.
fn waits(reason: &str) -> Option<&'static str> {
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            Some("push or load the image, and check its name, tag and imagePullSecrets")
        }
        "CrashLoopBackOff" => Some("look at kubectl logs --previous"),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Some("look at kubectl describe pod: a Secret, a ConfigMap, a volume or a runtime is missing")
        }
        _ => None,
    }
}

fn service(service: &Service, slices: &[EndpointSlice]) -> Option<Finding> {
    if service.spec.selector.is_empty() {
        return None;
    }
    let of = |slice: &&EndpointSlice| {
        slice.metadata.labels.get("kubernetes.io/service-name") == Some(&service.metadata.name)
    };
    let endpoints = slices.iter().filter(of).flat_map(|slice| slice.endpoints.iter().flatten());
    let ready = endpoints.filter(|one| one.conditions.ready != Some(false)).count();
    let ports: Vec<String> =
        service.spec.ports.iter().filter_map(|port| port.node_port).map(|port| port.to_string()).collect();
    let ports = if ports.is_empty() { String::new() } else { format!(" on port {}", ports.join(", ")) };
    let found = format!(
        "{} ({}{ports}): {ready} endpoints",
        clean(&service.metadata.name),
        clean(&service.spec.r#type)
    );
    Some(match ready {
        0 => Finding::wrong("Service", found, "no ready pod has the labels of its selector: see the pods"),
        _ => Finding::good("Service", found),
    })
}

fn claim(claim: &Claim) -> Finding {
    let found = format!("{} is {}", clean(&claim.metadata.name), clean(&claim.status.phase));
    match claim.status.phase.as_str() {
        "Bound" => Finding::good("volume", found),
        _ => Finding::wrong(
            "volume",
            found,
            "see kubectl describe pvc: a StorageClass or a pod that uses it is missing",
        ),
    }
}

fn network(deployment: &Deployment, policies: &[NetworkPolicy]) -> Finding {
    let name = clean(&deployment.metadata.name);
    let labels = &deployment.spec.template.metadata.labels;
    match policies.iter().any(|policy| selects(&policy.spec.pod_selector, labels)) {
        true => Finding::good("network", format!("{name} has a NetworkPolicy")),
        false => Finding::warning(
            "network",
            format!("{name} has no NetworkPolicy"),
            "take those of deploy/kubernetes, which let in only what must come in",
        ),
    }
}

/// Secrets whose entries have names of private keys: a line for each, its name, its type and its entries'
/// names.
fn secrets(lines: &str) -> Vec<Finding> {
    let is_key = |entry: &str| {
        let entry = entry.to_ascii_lowercase();
        entry.ends_with(".key") || entry.ends_with("-key.pem") || entry.contains("private") || entry == "key"
    };
    let mut all = Vec::new();
    for line in lines.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(kind)) = (words.next(), words.next()) else { continue };
        if name == SIMULATION {
            all.push(Finding::warning(
                "secrets",
                format!("{SIMULATION} has the keys of a simulated platform"),
                "this deployment protects nothing: use hardware for real models and data",
            ));
        } else if kind == TLS {
            all.push(Finding::warning(
                "secrets",
                format!("{} has a certificate and its key for TLS", clean(name)),
                "fine for an ingress or a webhook; a replica's own key must come from the broker, with adytum provision",
            ));
        } else if let Some(entry) = words.find(|entry| is_key(entry)) {
            all.push(Finding::wrong(
                "secrets",
                format!("{}: {} looks like a private key", clean(name), clean(entry)),
                "the cluster's administrators can read it: give keys to the broker with adytum provision, then delete it",
            ));
        }
    }
    if all.is_empty() {
        all.push(Finding::good("secrets", "no Secret of this namespace has an entry with a key's name"));
    }
    all
}

#[cfg(test)]
mod tests;
