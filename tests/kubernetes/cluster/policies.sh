# shellcheck shell=bash
# Network policies: the bridge network has no notion of them, so a controller
# turns them into the node's packet filter.

start_network_policies() {
    kubectl apply -f "$manifests/network-policies.yaml" >/dev/null || fail "the controller of network policies can't be allowed"
    start_program network-policies "$bin/network-policies" --kubeconfig "$state/kubeconfig/network-policies" \
        --node "$node_name" --service-range "$service_range"
    wait_until 60 "network policies to be enforced" policies_enforced ||
        fail "network policies are not enforced: $(tail -n 3 "$state/logs/network-policies.log")"
}

policies_enforced() { in_node iptables --wait -S FORWARD | grep KUBE-ROUTER-FORWARD >/dev/null; }
